"""`textmill bench` against servers: ours in every dialect, and one that misbehaves."""

from __future__ import annotations

import asyncio

import pytest

import textmill
from support.command import textmill as run_command
from support.raw_http import answering, read_call, reply
from support.serving import serving
from textmill.serving.load.arrivals import Sweep


@pytest.fixture(scope="module")
def served():
    with serving("--engine", "echo", "--quiet") as found:
        yield found


@pytest.mark.parametrize("path", ["", "/invocations", "/v1/completions", "/v2/models/echo/infer"])
def test_every_dialect_of_a_server_can_be_loaded(served, path):
    found = textmill.bench(
        served.url + path, rate=30, duration=0.5, parameters={"max_new_tokens": 9}
    )
    (stage,) = found.stages
    assert stage.sent == stage.ok > 0
    assert stage.failed == stage.refused == 0
    assert found.alone > 0


def test_the_command_prints_its_stages_and_writes_a_report(served, tmp_path):
    report = tmp_path / "bench.html"
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text_inputs": "hello"}\n')
    ran = run_command(
        *("bench", served.url, "--rate", "20", "--duration", "0.5", "--slo", "5s"),
        *("--data", data, "--report", report),
    )
    assert ran.code == 0, ran.err
    assert "keeps p95 within 5.00 s: 20.0 calls per second" in ran.out
    assert "<svg" in report.read_text()


def test_a_server_with_a_key_is_loaded_with_the_same_key_file(tmp_path):
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    with serving("--engine", "echo", "--quiet", "--api-key-file", str(key)) as found:
        (stage,) = textmill.bench(found.url, rate=20, duration=0.3, api_key_file=key).stages
        assert stage.ok == stage.sent > 0
        with pytest.raises(textmill.UsageError, match="key"):
            textmill.bench(found.url, rate=20, duration=0.3)
    with pytest.raises(textmill.UsageError, match="the key file nowhere cannot be read"):
        textmill.bench("http://127.0.0.1:9", rate=1, api_key_file="nowhere")


def test_a_stall_of_the_server_shows_in_the_latencies_of_all_that_were_due_meanwhile():
    """Coordinated omission: a client that waits its turn would see one slow call."""
    calls = 0

    async def handle(reader, writer):
        nonlocal calls
        try:
            while True:
                await read_call(reader)
                calls += 1
                if calls > 30:  # from now on everything stands still for a while
                    await asyncio.sleep(
                        max(0.0, stall_until[0] - asyncio.get_running_loop().time())
                    )
                elif calls == 30:
                    stall_until[0] = asyncio.get_running_loop().time() + 1.0
                writer.write(reply(200))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    stall_until = [0.0]
    with answering(handle) as url:
        (stage,) = textmill.bench(url, rate=50, duration=2.0).stages
    slow = [seconds for seconds in stage.seconds if seconds > 0.2]
    assert len(slow) > 20


def test_refusals_failures_and_broken_connections_are_counted_apart():
    calls = 0

    async def handle(reader, writer):
        nonlocal calls
        try:
            while True:
                await read_call(reader)
                calls += 1
                kind = calls % 4 if calls > 8 else 0
                if kind == 1:
                    writer.write(reply(429))
                elif kind == 2:
                    writer.write(reply(500))
                elif kind == 3:
                    writer.close()
                    return
                else:
                    writer.write(
                        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
                    )
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    with answering(handle) as url:
        (stage,) = textmill.bench(url, rate=100, duration=1.0).stages
    assert stage.sent == stage.ok + stage.refused + stage.failed
    assert min(stage.ok, stage.refused, stage.failed) > 0


def test_a_server_that_is_not_there_is_a_sentence():
    with pytest.raises(textmill.UsageError, match="does not answer"):
        textmill.bench("http://127.0.0.1:9/invocations", rate=1, duration=0.5)
    ran = run_command("bench", "http://127.0.0.1:9", "--rate", "1")
    assert ran.code == 2
    with pytest.raises(textmill.UsageError, match="how to ask"):
        textmill.bench("http://127.0.0.1:9/nothing", rate=1)


def test_an_address_without_its_scheme_is_told_apart_from_a_model():
    with pytest.raises(textmill.UsageError, match="localhost:8080 is no model") as caught:
        textmill.bench("localhost:8080")
    assert caught.value.hint == "the address of a server is http://localhost:8080"


@pytest.mark.parametrize("timeout", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_no_answer_could_keep_is_refused(timeout):
    with pytest.raises(textmill.UsageError, match="timeout="):
        textmill.bench("http://127.0.0.1:9", rate=1, timeout=timeout)


def test_a_report_that_cannot_be_written_is_told_before_any_call(served, tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text('{"text_inputs": "hello"}\n')
    for place in (data, tmp_path / "nowhere" / "bench.html"):
        ran = run_command("bench", served.url, "--rate", "20", "--report", place)
        assert (ran.code, ran.out) == (2, "")
    assert data.read_text() == '{"text_inputs": "hello"}\n'


def test_a_sweep_is_driven_until_the_server_does_not_keep_up(served):
    seen = []
    found = textmill.bench(served.url, slo="1ms", duration=0.3, on_stage=seen.append)
    assert list(found.stages) == seen
    assert len(seen) >= 1
    assert isinstance(Sweep(1.0, None), Sweep)


@pytest.mark.full
def test_a_model_is_served_for_the_test():
    found = textmill.bench("demo", slo="5s", rate=5, duration=2.0)
    assert found.best is not None
    assert found.best.batch_tokens
    assert any("budget" in sentence for sentence in found.sentences)
