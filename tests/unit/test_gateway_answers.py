"""What the log and the reason of a transform job say of a record without a result."""

from __future__ import annotations

import json

import pytest

from support.orders import order
from textmill.gateway.transform.answers import Assembler, Problem, Results
from textmill.gateway.transform.staging import Staged


@pytest.mark.parametrize(
    ("code", "native", "says"),
    [
        ("timeout", "not done after 9 s; allow more with --timeout, or less", "InvocationsTimeout"),
        ("too_long", "9 input tokens, the limit is 8; --truncate cuts them", "shorten the text"),
        ("crashed", "it has died on it; --retry-failed tries it once more", "create the job again"),
    ],
)
def test_advice_is_given_in_a_requests_words(code, native, says):
    message = problem(code, native).message
    assert message.startswith(native.partition(";")[0])
    assert says in message
    assert "--" not in message


@pytest.mark.parametrize("message", ["no; --way", "the engine's process was killed; less work", ""])
def test_other_messages_are_passed_on_as_they_are(message):
    code = "crashed" if "--" not in message else "bad_record"
    assert problem(code, message).message == message


def problem(code, message):
    """What becomes of the one record of an object, on which the native job failed so."""
    error = json.dumps({"line": 1, "code": code, "message": message}).encode()
    staged = Staged(url="s3://b/k", relative="k", name="n", requests=[1])
    assembler = Assembler(order(), Results([], [error]))
    (found, *_) = assembler.output_of(staged, "n", [b'{"text_inputs": "a"}'])
    assert isinstance(found, Problem)
    return found
