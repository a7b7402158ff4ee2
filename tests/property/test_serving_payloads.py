"""Whatever is sent: a call that was read or a refusal with a code, never another exception."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.batching.clock import ManualClock
from textmill.core import FinishReason, Record, Rejected
from textmill.errors import ErrorCode, UsageError
from textmill.params import KNOWN_NAMES, USER_NAMES
from textmill.records.shape import Shape
from textmill.serving import kserve, openai
from textmill.serving.access import Keys, RateLimiter, key_in, parse_rate, read_keys
from textmill.serving.answers import Generated
from textmill.serving.asked import row_results
from textmill.serving.health import FRESH_SECONDS, Health, State
from textmill.serving.invocations import Invocations
from textmill.serving.limits import Limits
from textmill.serving.media import CSV, JSON, LINES, accepted
from textmill.serving.reading import Reader, check_nesting
from textmill.serving.refusals import STATUS, Code, Refused, code_of
from textmill.serving.replay import Replays

LIMITS = Limits(max_texts=6)
SHAPE = Shape(parameters=KNOWN_NAMES)
NAMES = st.sampled_from([*sorted(USER_NAMES)[:8], "text_inputs", "inputs", "parameters", "id", "x"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(NAMES, v, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES, VALUES | st.lists(st.text(max_size=5), max_size=8), max_size=6)
BODIES = (
    st.binary(max_size=200)
    | OBJECTS.map(lambda o: json.dumps(o).encode())
    | st.lists(OBJECTS, max_size=8).map(
        lambda rows: b"\n".join(json.dumps(r).encode() for r in rows)
    )
)
TYPES = st.sampled_from(
    [
        "application/json",
        "application/jsonlines",
        "application/x-text",
        "text/plain",
        "",
        None,
        "x/y",
    ]
) | st.text(max_size=20)
ACCEPTS = st.sampled_from(
    [None, "*/*", "text/csv", "application/jsonlines;verbose", "a/b;q=z"]
) | st.text(max_size=30)


def reader():
    return Reader(SHAPE, LIMITS)


def check_refusal(refused, body):
    assert refused.code in STATUS
    assert len(refused.message) < 3000
    assert refused.code.value in json.dumps(body)


def generated(text="t", n=1):
    return Generated((text,) * n, (FinishReason.EOS,) * n, 1, n)


def results_of(asked):
    """Made-up answers for every row that can have them."""
    return [
        [generated(text) for text in row.texts]
        if isinstance(row, Record)
        else Refused(code_of(row.code), row.message)
        for row in asked.rows
    ]


@given(body=BODIES, kind=TYPES, accept=ACCEPTS)
def test_an_invocation_is_read_and_answered_or_refused(body, kind, accept):
    invocations = Invocations(reader(), LIMITS, line_params=True)
    try:
        read = invocations.read(body, kind, accept)
        reply = invocations.write(read, results_of(read.asked))
    except Refused as refused:
        check_refusal(refused, {"code": refused.code})
        return
    assert [row.ordinal for row in read.asked.rows] == list(range(len(read.asked.rows)))
    if reply.content_type == JSON:
        json.loads(reply.body)
    elif reply.content_type == LINES:
        assert all(json.loads(line) is not None for line in reply.body.splitlines())
    else:
        assert reply.content_type == CSV


@given(body=BODIES)
def test_a_completion_is_read_and_answered_or_refused(body):
    try:
        read = openai.read(body, reader(), "m")
        reply = openai.write(read, results_of(read.asked), model="m", id_="1", created=1)
    except Refused as refused:
        check_refusal(refused, openai.error_body(refused))
        return
    assert json.loads(reply.body)["choices"]


@given(body=BODIES)
def test_an_inference_is_read_and_answered_or_refused(body):
    try:
        read = kserve.read(body, reader())
        reply = kserve.write(read, results_of(read.asked), model="m")
    except Refused as refused:
        check_refusal(refused, kserve.error_body(refused))
        return
    assert json.loads(reply.body)["outputs"]


@given(
    tensor=st.fixed_dictionaries(
        {
            "name": st.text(max_size=3),
            "shape": st.lists(st.integers(-1, 5), max_size=3),
            "datatype": st.sampled_from(["BYTES", "FP32"]),
            "data": st.recursive(
                st.text(max_size=3) | st.integers(), lambda v: st.lists(v, max_size=3), max_leaves=8
            ).filter(lambda v: isinstance(v, list)),
        }
    )
)
def test_a_tensor_is_read_or_refused(tensor):
    try:
        read = kserve.read(json.dumps({"inputs": [tensor]}).encode(), reader())
    except Refused:
        return
    assert 1 <= len(read.asked.rows) <= LIMITS.max_texts


@given(depth=st.integers(0, 60), most=st.integers(1, 50))
def test_nesting_is_counted_outside_of_strings_only(depth, most):
    body = b"[" * depth + b'"[[[[{{{{\\"[["' + b"]" * depth
    try:
        check_nesting(body, most)
    except Refused:
        assert depth > most
    else:
        assert depth <= most


@given(header=st.text(max_size=60))
def test_accept_gives_a_type_or_a_refusal(header):
    try:
        found = accepted(header)
    except Refused as refused:
        found = refused.code
    assert found in (JSON, LINES, CSV, Code.NOT_ACCEPTABLE)


def test_every_code_has_a_status_and_every_code_of_a_record_is_one():
    assert set(STATUS) == set(Code)
    for code in ErrorCode:
        assert code_of(code) in STATUS


def test_a_row_of_which_one_text_has_failed_has_failed_and_says_which():
    from textmill.core import Failure, Params, Request

    rows = [Record(ordinal=0, id=b"0", texts=("a", "b")), Record(ordinal=1, id=b"0", texts=("c",))]
    rejected = [
        Rejected(ordinal=1, id=b"0", file="", line=1, code=ErrorCode.TOO_LONG, message="long")
    ]
    requests = [Request(0, n, [1], Params()) for n in range(2)]
    answers = [generated(), Failure(requests[1], ErrorCode.OOM, "no memory")]
    first, second = row_results(rows, rejected, requests, answers)
    assert (first.code, first.message) == (
        Code.OOM,
        "text 1: there is not enough memory for this text",
    )
    assert second.code is Code.TOO_LONG


# Access


@given(
    keys=st.dictionaries(st.text("ab", min_size=1, max_size=4), st.text(min_size=16), max_size=5)
)
def test_a_key_is_known_by_its_name_and_no_other_is(keys):
    found = Keys(keys)
    for key in keys.values():
        assert keys[found.name_of(key)] == key
    assert found.name_of(None) is None
    assert found.name_of("not one of them") is None or "not one of them" in keys.values()


@given(value=st.text(max_size=40))
def test_no_authorization_header_breaks_the_reading_of_keys(value):
    key_in({"authorization": value})
    key_in({"authorization": f"Basic {value}"})


def test_key_files_are_checked(tmp_path):
    path = tmp_path / "keys"
    for text, words in (
        ("", "no key"),
        ("short\n", "line 1"),
        ("a b c\n", "line 1"),
        ("n aaaaaaaaaaaaaaaaaaaa\nn bbbbbbbbbbbbbbbbbbbb\n", "twice"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=words):
            read_keys(path)
    path.write_text("# c\n\nann aaaaaaaaaaaaaaaaaaaa\nbbbbbbbbbbbbbbbbbbbb\n")
    keys = read_keys(path)
    assert keys.name_of("a" * 20) == "ann"
    assert keys.name_of("b" * 20) == "key-4"


@given(rate=st.floats(0.1, 100), gaps=st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_a_client_gets_its_rate_and_its_burst_and_no_more(rate, gaps):
    clock = ManualClock()
    limiter = RateLimiter(parse_rate(f"{rate}/s"), clock)
    burst = max(1.0, rate)
    taken, now = 0, 0.0
    for gap in gaps:
        clock.advance(gap)
        now += gap
        taken += limiter.wait("a") == 0.0
        assert taken <= burst + now * rate + 1e-6
    assert limiter.wait("b") == 0.0


def test_waiting_as_long_as_told_is_enough():
    clock = ManualClock()
    limiter = RateLimiter(parse_rate("2/m"), clock)
    assert [limiter.wait("a"), limiter.wait("a")] == [0.0, 0.0]
    wait = limiter.wait("a")
    assert wait > 0
    clock.advance(wait + 1e-9)
    assert limiter.wait("a") == 0.0


# Replays and health, on a clock of their own


def test_replays_forget_by_time_number_and_size():
    clock = ManualClock()
    replays = Replays(clock, keep_seconds=10.0, most_bytes=100)
    replays.keep("a", 1)
    assert replays.find("a") == 1
    clock.advance(10.1)
    assert replays.find("a") is None
    for name in "bcd":
        replays.keep(name, name)
        replays.answered(name, 40)
    assert [replays.find(name) for name in "bcd"] == [None, "c", "d"]
    replays.drop("c")
    replays.answered("c", 5)
    assert replays.find("c") is None


def test_readiness_follows_batches_and_not_words():
    clock = ManualClock()
    health = Health(clock, stall_seconds=30.0)
    assert health.state is State.STARTING
    assert health.wants_probe
    health.work_waits()
    clock.advance(5)
    health.batch_done(work_left=True)
    assert health.state is State.READY
    clock.advance(31)
    assert health.state is State.STALLED
    health.batch_done(work_left=False)
    assert health.state is State.READY
    clock.advance(FRESH_SECONDS + 1)
    assert health.state is State.READY
    assert health.wants_probe
    health.work_waits()
    assert not health.wants_probe
    clock.advance(29)
    health.work_waits()
    clock.advance(2)
    assert health.state is State.STALLED
    health.nothing_waits()
    assert health.state is State.READY
    health.drain()
    assert health.state is State.DRAINING
