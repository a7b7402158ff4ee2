"""The pure parts of the openai engine: addresses, parameters, JSON, verdicts, waits."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.core import Completion, Failure, Outcome, Params, Request
from textmill.engines.openai_api.address import is_address, parse_address
from textmill.engines.openai_api.conversation import ServerOptions, printable
from textmill.engines.openai_api.opening import open_server
from textmill.engines.openai_api.verdicts import Fate, Reply, Trouble, judge
from textmill.engines.openai_api.waiting import Retries, exhausted_s, retry_after_s
from textmill.engines.openai_api.wire import (
    check_params,
    read_answer,
    read_complaint,
    request_body,
    request_seed,
)
from textmill.errors import ErrorCode, UnsupportedParameter, UsageError
from textmill.storage.keys import read_key_file

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class TestAddress:
    @pytest.mark.parametrize(
        ("text", "url", "model"),
        [
            ("http://h:8000/v1", "http://h:8000/v1/chat/completions", None),
            ("HTTPS://h/v1/#m", "https://h/v1/chat/completions", "m"),
            ("http://h/a/v1/completions#o/m", "http://h/a/v1/completions", "o/m"),
            ("http://h/v1/chat/completions", "http://h/v1/chat/completions", None),
            ("http://[::1]:80/v1#a%23b%20c", "http://[::1]:80/v1/chat/completions", "a#b c"),
            ("http://h", "http://h/chat/completions", None),
        ],
    )
    def test_route_and_model_are_parts_of_it(self, text, url, model):
        assert is_address(text)
        address = parse_address(text)
        assert (address.url, address.model) == (url, model)

    @pytest.mark.parametrize(
        "text",
        [
            "http://",
            "http:///v1",
            "http://h:port/v1",
            "http://h:99999/v1",
            "http://h:0/v1",
            "http://[::1/v1",
            "http://h/v1?api-version=1",
            "http://h/v 1",
            "http://h/v1\n",
        ],
    )
    def test_what_is_none_is_refused(self, text):
        with pytest.raises(UsageError):
            parse_address(text)

    @pytest.mark.parametrize("text", ["https://user:hunter2@h/v1", "https://hunter2@h/v1"])
    def test_credentials_are_refused_and_not_repeated(self, text):
        with pytest.raises(UsageError) as error:
            parse_address(text)
        assert "hunter2" not in str(error.value)

    @pytest.mark.parametrize("name", ["demo", "org/http", "/tmp/http://x", "ftp://h"])
    def test_other_models_are_no_addresses(self, name):
        assert not is_address(name)

    @pytest.mark.parametrize(
        ("host", "loopback"),
        [
            ("127.0.0.1", True),
            ("127.9.9.9", True),
            ("[::1]", True),
            ("localhost", True),
            ("10.0.0.1", False),
            ("localhost.example.com", False),
            ("127.0.0.1.example.com", False),
        ],
    )
    def test_loopback_is_this_machine_alone(self, host, loopback):
        assert parse_address(f"http://{host}:1/v1").loopback is loopback

    def test_a_key_travels_unencrypted_only_on_this_machine(self):
        options = ServerOptions(api_key="k")
        with pytest.raises(UsageError, match="--api-key-over-http"):
            open_server("http://192.0.2.1/v1", options)
        with pytest.raises(UsageError, match="no key has"):
            open_server("http://127.0.0.1:1/v1", ServerOptions(api_key="k\r\nX: y"))


class TestParameters:
    @pytest.mark.parametrize(
        "params",
        [
            Params(),
            Params(do_sample=True),
            Params(do_sample=True, top_k=0, top_p=0.5, temperature=2.0, num_return_sequences=4),
            Params(stop=("a", "b"), max_new_tokens=7, seed=3),
        ],
    )
    def test_what_the_api_can_say_is_accepted(self, params):
        check_params(params)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("num_beams", 4),
            ("no_repeat_ngram_size", 3),
            ("repetition_penalty", 1.2),
            ("min_new_tokens", 5),
            ("max_time", 1.0),
            ("bad_words_ids", ((1,),)),
            ("suppress_tokens", (1,)),
            ("forced_bos_token_id", 1),
            ("forced_eos_token_id", 1),
            ("batch_size", 8),
            ("src_lang", "en"),
            ("top_k", 10),
        ],
    )
    def test_what_it_has_no_word_for_is_refused_by_name(self, name, value):
        with pytest.raises(UnsupportedParameter) as error:
            check_params(Params(**{"do_sample": name == "top_k", name: value}))
        assert error.value.name == name

    def test_every_parameter_is_sent_refused_or_the_models_own(self):
        """A parameter that is added to the table has to be thought of here."""
        sent = {
            "max_new_tokens",
            "num_return_sequences",
            "do_sample",
            "temperature",
            "top_p",
            "seed",
            "stop",
        }
        refused = {
            "num_beams",
            "no_repeat_ngram_size",
            "repetition_penalty",
            "min_new_tokens",
            "max_time",
            "bad_words_ids",
            "suppress_tokens",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "batch_size",
            "src_lang",
            "top_k",
        }
        only_with_beams = {"length_penalty", "early_stopping", "renormalize_logits"}
        models_own = {"decoder_start_token_id", "eos_token_ids"}
        known = sent | refused | only_with_beams | models_own
        assert set(Params.__struct_fields__) == known


def request(text="t", ordinal=0, **params):
    return Request(ordinal, 0, list(text.encode()), Params(**params))


class TestRequests:
    @given(st.text(), st.booleans())
    def test_a_text_arrives_as_it_is(self, text, chat):
        route = "chat/completions" if chat else "completions"
        body = json.loads(request_body(request(text), route=route, model="m", seed=0))
        sent = body["messages"][0]["content"] if chat else body["prompt"]
        assert sent == text

    def test_a_seed_of_ones_own_beats_the_jobs(self):
        own = request(do_sample=True, seed=5)
        assert request_seed(own, 1) == request_seed(own, 2)
        assert request_seed(request(), 1) != request_seed(request(), 2)
        assert request_seed(request(), 1) != request_seed(request(ordinal=1), 1)

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**40))
    def test_seeds_fit_every_server(self, seed, ordinal):
        assert 0 <= request_seed(request(ordinal=ordinal), seed) < 2**31


def answer(*choices, **rest):
    return json.dumps({"choices": list(choices), **rest}).encode()


def choice(content="x", finish="stop", **rest):
    return {"message": {"content": content}, "finish_reason": finish, **rest}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


class TestAnswers:
    @given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
    def test_any_bytes_are_an_outcome_never_an_exception(self, body):
        for route in ("chat/completions", "completions"):
            assert isinstance(read_answer(body, request(), route=route), Outcome)
        assert isinstance(read_complaint(body).message, str)

    @given(
        json_values,
        st.sampled_from(["choices", "usage", "message", "finish_reason", "index", "content"]),
    )
    def test_any_value_in_any_place_is_an_outcome(self, value, place):
        one = choice()
        if place == "content":
            one["message"][place] = value
        elif place in {"message", "finish_reason", "index"}:
            one[place] = value
        body = answer(one) if place not in {"choices", "usage"} else b""
        if not body:
            body = json.dumps({"choices": [one], place: value}).encode()
        outcome = read_answer(body, request(), route="chat/completions")
        assert isinstance(outcome, Outcome)
        if isinstance(outcome, Failure):
            assert outcome.code is ErrorCode.ENGINE_ERROR

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (answer(choice(finish="content_filter")), "content_filter"),
            (answer(choice(finish=None)), "null"),
            (answer(choice(content=None, finish="tool_calls")), "tool_calls"),
            (answer(choice(content=None, finish="length")), "holds no text"),
            (answer({"text": "x", "finish_reason": "stop"}), "holds no text"),
            (answer(choice(), choice()), "2 came"),
            (answer(choice(content="\ud800")), "surrogate"),
            (answer(choice(), usage={"prompt_tokens": -1}), "prompt_tokens"),
            (answer(choice(), usage={"prompt_tokens": 10**30}), ""),
        ],
    )
    def test_an_answer_without_a_whole_text_is_a_failure(self, body, said):
        outcome = read_answer(body, request(), route="chat/completions")
        assert isinstance(outcome, Failure)
        assert said in outcome.message

    def test_texts_come_in_the_order_of_their_index(self):
        body = answer(choice("b", index=1), choice("a", index=0))
        wanted = request(do_sample=True, num_return_sequences=2)
        outcome = read_answer(body, wanted, route="chat/completions")
        assert [bytes(sequence.ids) for sequence in outcome.sequences] == [b"a", b"b"]

    def test_an_answer_without_usage_counts_no_tokens(self):
        outcome = read_answer(answer(choice("")), request(), route="chat/completions")
        assert isinstance(outcome, Completion)
        assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (0, 0)

    @pytest.mark.parametrize(
        ("body", "message", "code"),
        [
            ({"error": {"message": "m", "code": "c", "type": "t"}}, "m", "c"),
            ({"error": {"message": "m", "code": 400, "type": "t"}}, "m", "t"),
            ({"object": "error", "message": "m", "type": "t"}, "m", "t"),
            ({"error": "m", "error_type": "t"}, "m", ""),
            ({"detail": [{"loc": 1}]}, "[{'loc': 1}]", ""),
            ("m", "m", ""),
        ],
    )
    def test_complaints_are_understood_in_all_usual_shapes(self, body, message, code):
        found = read_complaint(json.dumps(body).encode())
        assert (found.message, found.code) == (message, code)


class TestVerdicts:
    @pytest.mark.parametrize(
        ("statuses", "fate"),
        [
            ([200, 201], Fate.READ),
            ([400, 409 + 1, 413, 422], Fate.FAIL),
            ([408, 409, 425, 500, 504, 599], Fate.AGAIN),
            ([429, 502, 503, 529], Fate.HOLD),
            ([301, 302, 307, 304, 101, 401, 402, 403, 404, 405], Fate.STOP),
        ],
    )
    def test_statuses(self, statuses, fate):
        for status in statuses:
            assert judge(Reply(status, {}, b"")).fate is fate, status

    @pytest.mark.parametrize("code", ["context_length_exceeded", "exceed_context_size_error"])
    def test_a_text_over_the_models_length_is_too_long(self, code):
        body = json.dumps({"error": {"message": "m", "type": code}}).encode()
        verdict = judge(Reply(400, {}, body))
        assert (verdict.fate, verdict.code) == (Fate.FAIL, ErrorCode.TOO_LONG)

    def test_only_what_never_reached_the_server_is_no_attempt(self):
        assert [trouble for trouble in Trouble if not judge(trouble).counts] == [
            Trouble.UNREACHABLE
        ]


class TestWaits:
    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"retry-after": "3"}, 3.0),
            ({"retry-after": " 0.5 "}, 0.5),
            ({"retry-after": "Thu, 01 Jan 2026 00:00:07 GMT"}, 7.0),
            ({"retry-after": "Thu, 01 Jan 2026 00:00:07"}, 7.0),
            ({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, 0.0),
            (
                {
                    "retry-after": "Sat, 01 Jan 2000 00:00:09 GMT",
                    "date": "Sat, 01 Jan 2000 00:00:05 GMT",
                },
                4.0,
            ),
            ({"retry-after": "-1"}, None),
            ({"retry-after": "nan"}, None),
            ({"retry-after": "1e999"}, None),
            ({"retry-after": "soon"}, None),
            ({}, None),
        ],
    )
    def test_retry_after(self, headers, seconds):
        assert retry_after_s(headers, NOW) == seconds

    @pytest.mark.parametrize(
        ("reset", "seconds"),
        [
            ("20ms", 0.02),
            ("1s", 1.0),
            ("6m0s", 360.0),
            ("1h2m3.5s", 3723.5),
            ("1d", 86400.0),
            ("12.5", 12.5),
            (str(int(NOW.timestamp()) + 9), 9.0),
            (str(int(NOW.timestamp() + 9) * 1000), 9.0),
            ("", 0.0),
            ("soon", 0.0),
            ("1s!", 0.0),
        ],
    )
    def test_resets_of_a_used_up_limit(self, reset, seconds):
        headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": reset}
        assert exhausted_s(headers, NOW) == pytest.approx(seconds)

    def test_limits_that_are_not_used_up_do_not_wait(self):
        headers = {
            "x-ratelimit-remaining-requests": "1",
            "x-ratelimit-reset-requests": "1h",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "2s",
            "x-ratelimit-remaining-other": "0",
        }
        assert exhausted_s(headers, NOW) == 2.0

    @given(st.dictionaries(st.sampled_from(["retry-after", "date"]), st.text()))
    def test_any_header_is_a_wait_or_none(self, headers):
        assert (retry_after_s(headers, NOW) or 0) >= 0

    @given(st.text())
    def test_any_reset_is_a_wait(self, reset):
        headers = {"x-ratelimit-remaining-x": "0", "x-ratelimit-reset-x": reset}
        assert exhausted_s(headers, NOW) >= 0

    @given(st.integers(1, 10**6), st.integers())
    def test_delays_double_up_to_a_limit_and_are_the_same_in_every_run(self, failures, key):
        retries = Retries(first_delay_s=0.5, max_delay_s=30)
        longest = min(0.5 * 2 ** min(failures - 1, 50), 30)
        delay = retries.delay_s(failures, key)
        assert longest / 2 <= delay <= longest
        assert delay == retries.delay_s(failures, key)


class TestKeys:
    def test_a_key_file_holds_one_line(self, tmp_path):
        (tmp_path / "key").write_text("  sk-1\n")
        assert read_key_file(tmp_path / "key") == "sk-1"

    @pytest.mark.parametrize("content", [b"", b"\n", b"x" * 5000, b"xxx xxx", b"xxx\xff"])
    def test_a_file_without_a_key_is_refused_and_not_shown(self, tmp_path, content):
        (tmp_path / "key").write_bytes(content)
        with pytest.raises(UsageError, match="holds no key") as error:
            read_key_file(tmp_path / "key")
        assert "xxx" not in str(error.value)

    def test_of_several_lines_none_is_guessed_to_be_the_key(self, tmp_path):
        (tmp_path / "key").write_text("xxx\nyyy\n")
        with pytest.raises(UsageError, match="2 lines; which is the key") as error:
            read_key_file(tmp_path / "key")
        assert "xxx" not in str(error.value)

    def test_a_file_that_is_not_there_is_named(self, tmp_path):
        with pytest.raises(UsageError, match="nowhere"):
            read_key_file(tmp_path / "nowhere")

    def test_messages_are_one_short_line_without_the_key(self):
        said = printable("\x1b[2Jno:\nBearer sk-1" + "x" * 1000, "sk-1")
        assert said.startswith("[2Jno: Bearer [the API key]xxx")
        assert said.isprintable()
        assert len(said) <= 301

    def test_options_do_not_show_it(self):
        assert "sk-1" not in repr(ServerOptions(api_key="sk-1"))
