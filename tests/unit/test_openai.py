"""Requests in OpenAI's batch format: what they become, what is refused, what is answered."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from support.formats import SHAPE, only_record, only_rejected, reader_of, rows_of
from textmill.core import FinishReason, Record, Rejected
from textmill.errors import ErrorCode, UsageError
from textmill.params.precedence import Layer, Resolver
from textmill.params.schema import USER_NAMES
from textmill.records.builder import RecordBuilder
from textmill.records.openai import OpenAIReader, OpenAIWriter
from textmill.records.openai_request import ANSWER_COLUMN
from textmill.records.prompt import parse_prompt
from textmill.records.results import Details, result_line
from textmill.records.shape import Shape

USER = {"role": "user", "content": "Hello"}
ANSWERED = Shape(parameters=USER_NAMES, keep=(ANSWER_COLUMN,))


def line(body: Any = None, **envelope: Any) -> bytes:
    """A request for a chat completion, with other keys where they are given."""
    request = {
        "custom_id": "request-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [USER]} if body is None else body,
    } | envelope
    return json.dumps({k: v for k, v in request.items() if v != "left out"}).encode()


def chat(*messages: Any, **keys: Any) -> bytes:
    return line({"model": "m", "messages": list(messages), **keys})


def asked(**keys: Any) -> bytes:
    return chat(USER, **keys)


def completion(prompt: Any, **keys: Any) -> bytes:
    return line({"model": "m", "prompt": prompt, **keys}, url="/v1/completions")


class TestTexts:
    def test_the_text_is_the_user_message_and_the_id_custom_id(self) -> None:
        row = only_record("openai", line())
        assert (row.id, row.texts, row.params) == (b'"request-1"', ("Hello",), None)

    @pytest.mark.parametrize("role", ["system", "developer"])
    def test_system_messages_come_before_it_with_a_blank_line_between(self, role: str) -> None:
        row = only_record("openai", chat({"role": role, "content": "Summarize."}, USER))
        assert row.texts == ("Summarize.\n\nHello",)

    def test_parts_of_text_are_lines(self) -> None:
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
        row = only_record("openai", chat({"role": "user", "content": parts, "name": None}))
        assert row.texts == ("a\nb",)

    @pytest.mark.parametrize(("prompt", "texts"), [("a", ("a",)), (["a", "b"], ("a", "b"))])
    def test_a_prompt_or_several_are_the_texts_of_a_completion(
        self, prompt: Any, texts: tuple[str, ...]
    ) -> None:
        assert only_record("openai", completion(prompt)).texts == texts

    def test_a_line_of_custom_id_and_body_is_enough(self) -> None:
        envelope = {"method": "left out", "url": "left out"}
        assert only_record("openai", line(**envelope)).texts == ("Hello",)
        assert only_record("openai", line({"prompt": "a"}, **envelope)).texts == ("a",)

    def test_a_prompt_template_reads_the_text_and_what_is_beside_it(self) -> None:
        shape = Shape(prompt=parse_prompt("{metadata.lang}: {text_inputs}"), parameters=USER_NAMES)
        assert only_record("openai", asked(metadata={"lang": "fr"}), shape).texts == ("fr: Hello",)

    @pytest.mark.parametrize(
        ("messages", "message"),
        [
            ([], "(here: none)"),
            ([{"role": "system", "content": "a"}], "(here: system)"),
            ([USER, USER], "(here: user, user)"),
            ([USER, {"role": "assistant", "content": "a"}, USER], "user, assistant, user"),
            ([USER, {"role": "system", "content": "a"}], "(here: user, system)"),
            ([{"role": "tool", "content": "a"}, USER], "(here: tool, user)"),
            ([{"role": "user"}], 'no "content" in messages[0]'),
            ([{"content": "a"}], 'no "role" in messages[0]'),
            ([{"role": "user", "content": None}], "messages[0].content is not a string"),
            ([{"role": "user", "content": 5}], "messages[0].content is not a string"),
            ([{**USER, "name": "Ann"}], "messages[0].name cannot be honoured"),
            (["Hello"], "messages[0] is not an object"),
            (
                [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
                'messages[0].content[0] is of type "image_url": the model reads text only',
            ),
            (
                [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}],
                "messages[0].content[0].x cannot be honoured",
            ),
        ],
    )
    def test_what_is_no_single_turn_of_text_is_refused(
        self, messages: list[Any], message: str
    ) -> None:
        row = only_rejected("openai", chat(*messages))
        assert row.code in (ErrorCode.BAD_RECORD, ErrorCode.MISSING_FIELD)
        assert row.id == b'"request-1"'
        assert message in row.message

    @pytest.mark.parametrize("prompt", [[1, 2], [[1]], 5, None, {"a": 1}])
    def test_token_ids_are_refused(self, prompt: Any) -> None:
        row = only_rejected("openai", completion(prompt))
        assert (row.code, row.id) == (ErrorCode.BAD_RECORD, b'"request-1"')

    @pytest.mark.parametrize("text", ["", " \n"])
    def test_a_message_without_text_is_empty(self, text: str) -> None:
        assert only_rejected("openai", chat({**USER, "content": text})).code is ErrorCode.EMPTY


class TestEnvelope:
    @pytest.mark.parametrize(
        ("envelope", "code", "message"),
        [
            ({"url": "/v1/responses"}, ErrorCode.BAD_RECORD, 'url "/v1/responses" cannot'),
            ({"url": "/v1/embeddings"}, ErrorCode.BAD_RECORD, "/v1/chat/completions"),
            ({"url": 5}, ErrorCode.BAD_RECORD, "url is not a string"),
            ({"method": "GET"}, ErrorCode.BAD_RECORD, 'method is not "POST"'),
            ({"temperature": 0}, ErrorCode.BAD_RECORD, '"temperature" is unknown beside'),
            ({"body": []}, ErrorCode.BAD_RECORD, "body is not an object"),
            ({"body": {"prompt": "a"}}, ErrorCode.MISSING_FIELD, 'no "messages" in body'),
            ({"body": "left out"}, ErrorCode.MISSING_FIELD, 'no "body" in the request'),
        ],
    )
    def test_what_is_no_request_is_refused_with_its_id(
        self, envelope: dict[str, Any], code: ErrorCode, message: str
    ) -> None:
        row = only_rejected("openai", line(**envelope))
        assert (row.code, row.id) == (code, b'"request-1"')
        assert message in row.message

    def test_custom_id_is_a_string_and_there(self) -> None:
        assert only_rejected("openai", line(custom_id=5)).message == "custom_id is not a string"
        for empty in (None, ""):
            assert only_rejected("openai", line(custom_id=empty)).code is ErrorCode.MISSING_FIELD
        row = only_rejected("openai", line(custom_id="left out"))
        assert (row.code, row.id) == (ErrorCode.MISSING_FIELD, None)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b'{"custom_id": "a", "body": {"n": 1, "n": 2}}', '"n" appears twice in body'),
            (b'{"custom_id": "a", "body": {}, "body": {}}', '"body" appears twice'),
            (
                b'{"custom_id":"a","body":{"messages":[{"role":"user","content":"a","content":"b"}]}}',
                '"content" appears twice in messages[0]',
            ),
            (b'{"custom_id": "a", "body": NaN}', "NaN is not a JSON value"),
        ],
    )
    def test_keys_said_twice_and_broken_lines_are_bad_json(self, text: bytes, message: str) -> None:
        row = only_rejected("openai", text)
        assert (row.code, row.id) == (ErrorCode.BAD_JSON, b'"a"')
        assert message in row.message

    def test_the_id_is_custom_id_and_nothing_else(self) -> None:
        assert only_record("openai", line(), Shape(id_field="custom_id")).id == b'"request-1"'
        for id_field in ("@ordinal", "key"):
            with pytest.raises(UsageError, match="custom_id"):
                reader_of("openai", Shape(id_field=id_field))


SAMPLING = {"do_sample": True, "num_beams": 1, "top_k": 0}


class TestParameters:
    @pytest.mark.parametrize(
        ("keys", "params"),
        [
            ({"max_tokens": 5}, {"max_new_tokens": 5}),
            ({"max_completion_tokens": 5}, {"max_new_tokens": 5}),
            ({"max_tokens": 5, "max_completion_tokens": 5}, {"max_new_tokens": 5}),
            ({"temperature": 0}, {"do_sample": False}),
            ({"temperature": 0.0, "top_p": 1}, {"do_sample": False}),
            ({"top_p": 0}, {"do_sample": False}),
            ({"temperature": 0.7}, SAMPLING | {"temperature": 0.7}),
            ({"top_p": 0.9}, SAMPLING | {"top_p": 0.9}),
            ({"temperature": 1, "top_k": 40}, SAMPLING | {"temperature": 1, "top_k": 40}),
            ({"temperature": 1, "do_sample": False}, {"temperature": 1, "do_sample": False}),
            (
                {"n": 3, "temperature": 1},
                SAMPLING | {"num_return_sequences": 3, "temperature": 1},
            ),
            ({"seed": 7}, {"seed": 7}),
            ({"stop": "END"}, {"stop": ["END"]}),
            ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
            ({"stop": []}, None),
            (
                {"num_beams": 4, "no_repeat_ngram_size": 3},
                {"num_beams": 4} | {"no_repeat_ngram_size": 3},
            ),
            (dict.fromkeys(["max_tokens", "temperature", "top_p", "n", "seed", "stop"]), None),
        ],
    )
    def test_they_get_the_names_of_transformers(
        self, keys: dict[str, Any], params: dict[str, Any] | None
    ) -> None:
        found = only_record("openai", asked(**keys)).params
        assert found == params
        Resolver([]).for_record(found)  # each of them is one that can be resolved

    @pytest.mark.parametrize(
        ("keys", "message"),
        [
            ({"max_tokens": 5, "max_completion_tokens": 6}, "disagree"),
            ({"max_tokens": 5, "max_new_tokens": 6}, '"max_new_tokens" is said twice'),
            ({"n": 2, "num_return_sequences": 3}, '"num_return_sequences" is said twice'),
            ({"stop": 5}, "stop is not a string"),
            ({"stop": ["a", 5]}, "stop is not a string"),
            ({"tools": [{"type": "function"}]}, 'tools: [{"type": "function"}] cannot be honoured'),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
            ({"stream": True}, "stream: true cannot be honoured"),
            ({"logprobs": True}, "logprobs"),
            ({"logprobs": 0}, "logprobs"),
            ({"top_logprobs": 2}, "top_logprobs"),
            ({"logit_bias": {"5": 1}}, "logit_bias"),
            ({"presence_penalty": 0.5}, "presence_penalty"),
            ({"frequency_penalty": -1}, "frequency_penalty"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"modalities": ["text", "audio"]}, "modalities"),
            ({"best_of": 3}, "best_of"),
            ({"echo": True}, "echo"),
            ({"suffix": "x"}, "suffix"),
            ({"reasoning_effort": "high"}, "reasoning_effort"),
            ({"web_search_options": {}}, "web_search_options"),
            ({"max_token": 5}, '"max_token" is not a parameter: did you mean max_tokens?'),
            ({"prompt": "x"}, '"prompt" is not a parameter'),
            ({"guided_json": {}}, '"guided_json" is not a parameter'),
        ],
    )
    def test_what_cannot_be_honoured_refuses_the_request(
        self, keys: dict[str, Any], message: str
    ) -> None:
        row = only_rejected("openai", asked(**keys))
        assert (row.code, row.id) == (ErrorCode.BAD_PARAMETER, b'"request-1"')
        assert message in row.message

    def test_a_number_out_of_range_is_refused(self) -> None:
        for key in (b"temperature", b"presence_penalty", b"n"):
            text = (
                b'{"custom_id":"a","body":{"messages":[{"role":"user","content":"b"}],"%b":1e999}}'
            )
            assert only_rejected("openai", text % key).code is ErrorCode.BAD_PARAMETER

    @pytest.mark.parametrize(
        "keys",
        [
            {"stream": False, "logprobs": False, "top_logprobs": 0, "logit_bias": {}},
            {"presence_penalty": 0, "frequency_penalty": 0.0, "best_of": 1, "suffix": ""},
            {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": []},
            {"response_format": {"type": "text"}, "modalities": ["text"], "echo": False},
            dict.fromkeys(["stream", "tools", "response_format", "audio", "unheard_of"]),
        ],
    )
    def test_what_asks_for_nothing_is_let_pass(self, keys: dict[str, Any]) -> None:
        assert only_record("openai", asked(**keys)).params is None

    def test_what_cannot_change_the_text_is_reported_as_unused_and_can_be_kept(self) -> None:
        builder = RecordBuilder(Shape(parameters=USER_NAMES, keep=("metadata",)))
        data = asked(user="ann", metadata={"a": "b"}, store=True, service_tier="flex")
        ((row,),) = OpenAIReader(builder).read(io.BytesIO(data), "in")
        assert isinstance(row, Record)
        assert row.kept == ((b'"metadata"', b'{"a": "b"}'),)
        assert builder.unused_columns == ("model", "user", "store", "service_tier")

    def test_a_job_that_does_not_let_records_decide_resolves_without_them(self) -> None:
        shape = Shape(parameters=USER_NAMES, record_params=False)
        assert only_record("openai", asked(temperature=1), shape).params is None


def answer(
    data: bytes, texts: list[str], *reasons: FinishReason, details: bool = True
) -> dict[str, Any]:
    """What is answered to a request."""
    record = only_record("openai", data, ANSWERED)
    more = Details(reasons or (FinishReason.EOS,) * len(texts), 12, 30) if details else None
    written = OpenAIWriter("google/flan-t5-small").encode(
        [result_line(record, texts, details=more)[:-1]]
    )
    found: dict[str, Any] = json.loads(written)
    return found


class TestAnswers:
    def test_a_chat_is_answered_by_a_chat_completion(self) -> None:
        found = answer(line(), ["Hi"])
        key = found["response"]["request_id"].removeprefix("req_")
        assert found == {
            "id": f"batch_req_{key}",
            "custom_id": "request-1",
            "response": {
                "status_code": 200,
                "request_id": f"req_{key}",
                "body": {
                    "id": f"chatcmpl-{key}",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "google/flan-t5-small",
                    "choices": [
                        {
                            "index": 0,
                            "message": {"role": "assistant", "content": "Hi", "refusal": None},
                            "logprobs": None,
                            "finish_reason": "stop",
                        }
                    ],
                    "usage": {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42},
                },
            },
            "error": None,
        }

    def test_a_prompt_is_answered_by_a_completion(self) -> None:
        body = answer(completion(["a", "b"]), ["A", "B"])["response"]["body"]
        assert body["id"].startswith("cmpl-")
        assert body["object"] == "text_completion"
        assert body["choices"] == [
            {"index": 0, "text": "A", "logprobs": None, "finish_reason": "stop"},
            {"index": 1, "text": "B", "logprobs": None, "finish_reason": "stop"},
        ]

    def test_every_choice_says_why_it_ended(self) -> None:
        choices = answer(line(), ["a", "b", "c", "d"], *FinishReason)["response"]["body"]["choices"]
        found = [choice["finish_reason"] for choice in choices]
        assert found == ["stop", "length", "stop", "length"]
        assert [choice["index"] for choice in choices] == [0, 1, 2, 3]

    def test_without_details_nothing_is_made_up(self) -> None:
        body = answer(line(), ["a"], details=False)["response"]["body"]
        assert body["choices"][0]["finish_reason"] is None
        assert "usage" not in body

    @pytest.mark.parametrize(
        ("text", "reason", "expected"),
        [
            ("one. two", FinishReason.STOP, "one"),
            ("one END. two", FinishReason.STOP, "one "),
            ("one. two", FinishReason.EOS, "one. two"),
            ("one", FinishReason.STOP, "one"),  # by a stop string of the job, not of the request
        ],
    )
    def test_a_stop_string_of_the_request_is_not_part_of_the_text(
        self, text: str, reason: FinishReason, expected: str
    ) -> None:
        body = answer(asked(stop=[".", "END"]), [text], reason)["response"]["body"]
        assert body["choices"][0]["message"]["content"] == expected

    def test_the_same_request_gets_the_same_bytes_and_another_id_other_ones(self) -> None:
        assert answer(line(), ["a"]) == answer(line(), ["a"])
        assert answer(line(), ["a"])["id"] != answer(line(custom_id="request-2"), ["a"])["id"]

    def test_a_result_of_another_format_is_answered_as_a_chat(self) -> None:
        written = OpenAIWriter("m").encode([b'{"id": [1, "a"], "generated_texts": ["x\\u2028"]}'])
        assert len(written.splitlines()) == 1
        found = json.loads(written)
        assert found["custom_id"] == '[1, "a"]'
        assert found["response"]["body"]["choices"][0]["message"]["content"] == "x\u2028"


def test_the_whole_of_a_file_keeps_its_order_and_counts() -> None:
    data = b"\n".join([line(custom_id="a"), b"", b"x", line(custom_id="b")])
    rows = rows_of("openai", data, SHAPE)
    assert [(row.ordinal, row.line) for row in rows] == [(0, 1), (1, 3), (2, 4)]
    assert [type(row) for row in rows] == [Record, Rejected, Record]
    assert reader_of("openai").count(io.BytesIO(data)) == 3


def test_the_layers_of_a_job_still_apply_below_a_request() -> None:
    """A request that says nothing about sampling leaves it to the command line."""
    resolver = Resolver([Layer("command", {"num_beams": 4, "max_new_tokens": 9})])
    params = resolver.for_record(only_record("openai", asked(max_tokens=5)).params)
    assert (params.num_beams, params.max_new_tokens, params.do_sample) == (4, 5, False)
