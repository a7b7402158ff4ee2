"""The openai engine against a real server on the loopback, driven by the real Loop."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from support import openai_server as serving
from support.loops import ListSink, ListSource
from support.openai_server import MODEL, reply, turned
from support.waiting import wait_for
from textmill.batching.loop import Loop
from textmill.batching.scheduler import BatchLimits, Scheduler
from textmill.core import Batch, Completion, Failure, FinishReason, Params, Request, Usage
from textmill.engines.openai_api.conversation import ServerOptions
from textmill.engines.openai_api.opening import open_server
from textmill.engines.openai_api.waiting import Retries
from textmill.errors import EngineUnavailable, ErrorCode, ModelError, ModelNotFound, UsageError

QUICK = Retries(first_delay_s=0.001, max_delay_s=0.01, patience_s=20)
PARAMS = Params()


@pytest.fixture
def server():
    with serving.running() as state:
        yield state


def opened(server, path="/v1", *, retries=QUICK, **options):
    return open_server(server.root + path, ServerOptions(retries=retries, **options))


def requests_for(texts, params=PARAMS):
    return [Request(n, 0, list(text.encode()), params) for n, text in enumerate(texts)]


def run(engine, requests, windows=1):
    """Outcomes by ordinal, through the real Loop and scheduler."""
    size = -(-len(requests) // windows)
    source = ListSource([requests[i : i + size] for i in range(0, len(requests), size)])
    limits = BatchLimits(max_batch_rows=engine.capabilities.max_batch_rows)
    sink = ListSink()
    Loop(source, Scheduler(limits, engine.group, padded=False), engine, sink).run()
    outcomes = sorted(sink.outcomes, key=lambda outcome: outcome.request.ordinal)
    assert [o.request.ordinal for o in outcomes] == [r.ordinal for r in requests]
    return outcomes


def ask(server, texts, params=PARAMS, *, path="/v1", windows=1, **options):
    with_model = opened(server, path, **options)
    try:
        return run(with_model.engine, requests_for(texts, params), windows)
    finally:
        with_model.close()


def texts_of(outcomes):
    return [[bytes(s.ids).decode() for s in o.sequences] for o in outcomes]


NAMES = [f"text number {n}" for n in range(40)]


class TestAnswers:
    def test_every_text_gets_its_own_answer(self, server):
        outcomes = ask(server, NAMES, windows=3)
        assert texts_of(outcomes) == [[turned(text)] for text in NAMES]
        assert sorted(server.texts) == sorted(NAMES)

    def test_token_counts_are_the_servers(self, server):
        (outcome,) = ask(server, ["höher"], path="/v1/completions")
        assert outcome.usage == Usage(5, 5)  # six bytes, five of the server's tokens
        assert outcome.sequences[0].ids == list("rehöh".encode())

    def test_the_url_chooses_the_route(self, server):
        for path, route in [
            ("/v1", "/v1/chat/completions"),
            ("/v1/", "/v1/chat/completions"),
            ("/v1/chat/completions", "/v1/chat/completions"),
            ("/v1/completions", "/v1/completions"),
            (f"/v1/completions#{MODEL}", "/v1/completions"),
        ]:
            assert texts_of(ask(server, ["ab"], path=path)) == [["ba"]]
            assert server.asked[-1].path == route

    def test_greedy_is_temperature_zero_and_a_length_limit(self, server):
        (outcome,) = ask(server, ["abcdef"], Params(max_new_tokens=4, stop=("e",)))
        assert texts_of([outcome]) == [["f"]]
        assert server.asked[0].body == {
            "model": MODEL,
            "messages": [{"role": "user", "content": "abcdef"}],
            "max_tokens": 4,
            "temperature": 0,
            "stop": ["e"],
        }
        (outcome,) = ask(server, ["abcdef"], Params(max_new_tokens=4))
        assert outcome.sequences[0].finish is FinishReason.LENGTH
        assert texts_of([outcome]) == [["fedc"]]

    def test_samples_depend_on_seed_and_place_alone(self, server):
        params = Params(do_sample=True, temperature=0.7, top_p=0.9, num_return_sequences=3)
        texts = ["abcdefghijklmnop"] * 6
        first = texts_of(ask(server, texts, params, concurrency=1))
        assert texts_of(ask(server, texts, params, concurrency=6)) == first
        assert len({tuple(some) for some in first}) == 6  # each place has numbers of its own
        assert all(len(some) == 3 for some in first)
        assert texts_of(ask(server, texts, params, seed=1)) != first
        body = server.asked[0].body
        assert (body["temperature"], body["top_p"], body["n"]) == (0.7, 0.9, 3)

    def test_records_with_different_parameters_are_in_flight_together(self, server):
        server.gather = 4
        with_model = opened(server, concurrency=4)
        requests = [Request(n, 0, list(b"abcdef"), Params(max_new_tokens=n + 1)) for n in range(4)]
        assert texts_of(run(with_model.engine, requests)) == [["f"], ["fe"], ["fed"], ["fedc"]]
        with_model.close()
        assert server.peak == 4


class TestConcurrency:
    def test_it_is_used_and_never_passed(self, server):
        server.gather = 5
        server.delay_s = 0.002
        ask(server, NAMES, concurrency=5)
        assert server.peak == 5

    def test_connections_are_kept(self, server):
        ask(server, NAMES, concurrency=3)
        assert len({seen.connection for seen in server.asked}) <= 3

    def test_a_batch_of_more_texts_than_may_be_in_flight_waits_for_its_turn(self, server):
        with_model = opened(server, concurrency=2)
        with_model.engine.add(Batch(0, tuple(requests_for(NAMES[:8]))))
        assert with_model.engine.room() == 0
        answered = []
        while len(answered) < 8:
            answered += with_model.engine.step()
        assert with_model.engine.room() == 2
        assert with_model.engine.step() == ()
        assert server.peak <= 2
        with_model.close()


RETRIED = ("500: status 500", "504: nothing more", "the connection broke")


class TestOneBadRecord:
    @pytest.mark.parametrize(
        ("fault", "code", "said"),
        [
            (reply(400), ErrorCode.ENGINE_ERROR, "400: status 400"),
            (reply(422, {"detail": "no"}), ErrorCode.ENGINE_ERROR, "422: no"),
            (reply(413, b"<html>big</html>"), ErrorCode.TOO_LONG, "big"),
            (reply(200, b"no json"), ErrorCode.ENGINE_ERROR, "not a completion"),
            (reply(200, b""), ErrorCode.ENGINE_ERROR, "not a completion"),
            (reply(200, b"[" * 10**6), ErrorCode.ENGINE_ERROR, "not a completion"),
            (reply(200, {"choices": None}), ErrorCode.ENGINE_ERROR, "not a completion"),
            (reply(200, {"choices": []}), ErrorCode.ENGINE_ERROR, "1 texts were asked for, 0"),
            (
                reply(200, b"\x1f\x8b", Content_Encoding="gzip"),
                ErrorCode.ENGINE_ERROR,
                "not a completion",
            ),
            (serving.huge, ErrorCode.ENGINE_ERROR, "larger than any answer"),
            (reply(500), ErrorCode.ENGINE_ERROR, "500: status 500"),
            (reply(504, b""), ErrorCode.TIMEOUT, "504: nothing more"),
            (serving.reset, ErrorCode.ENGINE_ERROR, "the connection broke"),
            (serving.half, ErrorCode.ENGINE_ERROR, "the connection broke"),
            (serving.half_unannounced, ErrorCode.ENGINE_ERROR, "the connection broke"),
            (
                reply(200, {"error": {"message": "no room"}}),
                ErrorCode.ENGINE_ERROR,
                "not a completion: no room",
            ),
        ],
        ids=lambda value: getattr(value, "__name__", str(value)[:30]),
    )
    def test_fails_alone_and_says_why(self, server, fault, code, said):
        server.fault_of = serving.by_text({NAMES[3]: fault})
        outcomes = ask(server, NAMES[:10], concurrency=4)
        bad = outcomes.pop(3)
        assert isinstance(bad, Failure)
        assert bad.code is code
        assert said in bad.message
        assert bad.attempts == server.texts.count(NAMES[3]) == (8 if said in RETRIED else 1)
        assert texts_of(outcomes) == [[turned(text)] for text in NAMES[:10] if text != NAMES[3]]

    def test_a_refused_text_is_not_sent_again(self, server):
        poison, long, good = ask(server, ["a POISON", "a LONG", "good"])
        assert (poison.code, long.code) == (ErrorCode.ENGINE_ERROR, ErrorCode.TOO_LONG)
        assert isinstance(good, Completion)
        assert len(server.asked) == 3
        assert "poison" in poison.message
        assert poison.message.isprintable()
        assert len(poison.message) < 400

    @pytest.mark.parametrize("fault", [serving.hang, serving.drip])
    def test_a_text_that_never_ends_is_tried_twice(self, server, fault):
        server.fault_of = serving.by_text({NAMES[1]: fault})
        outcomes = ask(server, NAMES[:6], concurrency=2, timeout_s=1.0)
        assert [type(outcome) for outcome in outcomes].count(Failure) == 1
        assert outcomes[1].code is ErrorCode.TIMEOUT
        assert server.texts.count(NAMES[1]) == 2

    def test_ids_that_are_no_text_are_refused_here(self, server):
        with_model = opened(server)
        (outcome,) = run(with_model.engine, [Request(0, 0, [0xFF], PARAMS)])
        with_model.close()
        assert outcome.code is ErrorCode.BAD_RECORD
        assert server.asked == []


class TestRetries:
    def test_what_passes_is_retried_and_nobody_notices(self, server):
        server.faults = [
            reply(500),
            reply(502),
            reply(503),
            reply(408),
            reply(409),
            reply(429),
            serving.reset,
            serving.half,
        ]
        assert texts_of(ask(server, NAMES, concurrency=3)) == [[turned(t)] for t in NAMES]
        assert len(server.asked) == len(NAMES) + 8

    def test_retry_after_in_seconds_holds_every_request(self, server):
        server.faults = [reply(429, Retry_After="0.4")]
        ask(server, NAMES[:6], concurrency=1)
        refused, *later = server.asked
        assert min(seen.at for seen in later) >= refused.at + 0.4

    def test_a_429_holds_requests_that_had_nothing_to_do_with_it(self, server):
        """Two are in flight; while one is refused the other is answered: its place stays empty."""
        slow = "the longest texts go first"
        server.gather = 2
        server.fault_of = serving.by_text({slow: slow_answer})
        server.faults = [reply(429, Retry_After="0.5")]
        ask(server, [slow, slow, *NAMES[:6]], concurrency=2)
        (refused, other), later = server.asked[:2], server.asked[2:]
        assert refused.text == other.text == slow
        assert len(later) == 7
        assert min(seen.at for seen in later) >= refused.at + 0.5

    def test_retry_after_as_a_date_is_read_by_the_servers_clock(self, server):
        now = datetime(2001, 1, 1, tzinfo=UTC)
        until = format_datetime(now + timedelta(seconds=1), usegmt=True)
        dated = reply(503, Retry_After=until)
        server.faults = [with_date(dated, format_datetime(now, usegmt=True))]
        ask(server, NAMES[:3], concurrency=1)
        refused, *later = server.asked
        assert min(seen.at for seen in later) >= refused.at + 1

    def test_a_used_up_rate_limit_holds_new_requests_until_its_reset(self, server):
        server.faults = [
            serving.with_headers(
                x_ratelimit_remaining_requests="0",
                x_ratelimit_reset_requests="400ms",
                x_ratelimit_remaining_tokens="7",
                x_ratelimit_reset_tokens="1h",
            )
        ]
        outcomes = ask(server, NAMES[:6], concurrency=1)
        assert texts_of(outcomes) == [[turned(text)] for text in NAMES[:6]]
        first, *later = server.asked
        assert min(seen.at for seen in later) >= first.at + 0.4
        assert len(later) == 5

    def test_after_a_hold_requests_come_back_one_by_one(self, server):
        """All of the first burst are refused; then one goes first, alone."""
        server.gather = 8
        server.faults = [reply(429, Retry_After="0.2")] * 8
        server.delay_s = 0.02
        ask(server, NAMES[:20], concurrency=8)
        burst, later = server.asked[:8], server.asked[8:]
        assert later[0].at >= max(seen.at for seen in burst) + 0.2
        assert later[1].at >= later[0].at + 0.02  # the first was answered
        assert len(later) == 20

    def test_a_record_that_is_always_refused_for_its_rate_fails_after_its_attempts(self, server):
        server.fault_of = serving.by_text({NAMES[2]: reply(429)})
        outcomes = ask(server, NAMES[:5], concurrency=2)
        assert [type(o) for o in outcomes].count(Failure) == 1
        assert outcomes[2].message == "the server answers 429: status 429"
        assert outcomes[2].attempts == 8
        assert server.texts.count(NAMES[2]) == 8

    def test_a_server_that_is_away_for_a_while_costs_no_record(self, server):
        """It dies with requests in flight, longer than any request's attempts, and comes back."""
        server.fault_of = lambda seen: serving.hang if len(server.asked) == 10 else None
        with_model = opened(server, concurrency=4)
        thread = threading.Thread(target=restart_after, args=(server, 10))
        thread.start()
        outcomes = run(with_model.engine, requests_for(NAMES))
        thread.join()
        with_model.close()
        assert texts_of(outcomes) == [[turned(text)] for text in NAMES]


def slow_answer(handler):
    time.sleep(0.1)
    handler.send_answer({})


def with_date(fault, date):
    def dated(handler):
        handler.date_time_string = lambda timestamp=None: date
        fault(handler)

    return dated


def restart_after(server, requests):
    server.wait_for(requests)
    server.stop()
    time.sleep(0.5)
    server.start()


class TestEndOfTheJob:
    @pytest.mark.parametrize("status", [301, 401, 402, 403, 404, 405])
    def test_what_every_request_would_be_told_ends_it_at_once(self, server, status):
        server.fault_of = lambda seen: reply(status, Location="http://127.0.0.1:1/v1")
        with pytest.raises(ModelError, match=f"answers {status}"):
            ask(server, NAMES, concurrency=2)
        assert len(server.asked) <= 4

    def test_an_account_without_money_ends_it_at_once(self, server):
        spent = {"error": {"message": "pay", "code": "insufficient_quota"}}
        server.fault_of = lambda seen: reply(429, spent)
        with pytest.raises(ModelError, match="pay"):
            ask(server, NAMES, concurrency=1)
        assert len(server.asked) == 1

    def test_a_server_that_stays_away_ends_it(self, server):
        with_model = opened(server, retries=Retries(first_delay_s=0.01, patience_s=0.3))
        server.stop()
        with pytest.raises(EngineUnavailable, match="cannot be reached; nothing else for") as error:
            run(with_model.engine, requests_for(NAMES))
        assert error.value.exit_code == 75
        with_model.close()

    def test_a_server_that_refuses_everybody_for_long_ends_it(self, server):
        server.fault_of = lambda seen: reply(429)
        patient = Retries(attempts=10**6, first_delay_s=0.01, max_delay_s=0.02, patience_s=0.3)
        with pytest.raises(EngineUnavailable, match="429"):
            ask(server, NAMES, retries=patient)

    def test_a_server_that_answers_now_and_then_does_not(self, server):
        server.delay_s = 0.02
        server.fault_of = lambda seen: reply(429) if len(server.asked) % 2 else None
        quick = Retries(first_delay_s=0.001, max_delay_s=0.001, patience_s=0.3)
        assert texts_of(ask(server, NAMES, retries=quick, concurrency=1)) == [
            [turned(text)] for text in NAMES
        ]
        assert server.asked[-1].at - server.asked[0].at > 0.6

    def test_waiting_as_the_server_asked_is_not_held_against_it(self, server):
        server.faults = [reply(429, Retry_After="0.5"), reply(429), reply(429)]
        quick = Retries(first_delay_s=0.001, patience_s=0.3)
        assert texts_of(ask(server, ["ab"], retries=quick)) == [["ba"]]

    def test_a_server_that_asks_to_wait_for_hours_ends_it(self, server):
        server.faults = [reply(429, Retry_After="7200")]
        with pytest.raises(EngineUnavailable, match="7,200 s"):
            ask(server, NAMES, concurrency=1)

    def test_an_engine_that_was_stopped_can_be_used_again(self, server):
        with_model = opened(server, concurrency=2)
        server.faults = [reply(401)]
        with pytest.raises(ModelError):
            run(with_model.engine, requests_for(NAMES))
        assert with_model.engine.room() == 2
        outcomes = run(with_model.engine, requests_for(NAMES))
        assert texts_of(outcomes) == [[turned(text)] for text in NAMES]
        with_model.close()

    def test_abandoned_requests_hang_up_and_never_answer(self, server):
        server.fault_of = serving.by_text({"hang": serving.hang})
        with_model = opened(server, concurrency=3)
        engine = with_model.engine
        for request in requests_for(["hang"] * 3):
            engine.add(Batch(request.ordinal, (request,)))
        server.wait_for(3)
        engine.abandon()
        assert engine.step() == ()
        wait_for(lambda: all(seen.done for seen in server.asked))  # it saw the connections end
        assert texts_of(run(engine, requests_for(["ab"]))) == [["ba"]]
        with_model.close()
        with_model.close()

    def test_closing_leaves_no_thread(self, server):
        before = threading.active_count()
        with_model = opened(server)
        run(with_model.engine, requests_for(["ab"]))
        names = {thread.name for thread in threading.enumerate()}
        assert "textmill-openai" in names
        with_model.close()
        assert "textmill-openai" not in {thread.name for thread in threading.enumerate()}
        assert threading.active_count() <= before + 1  # the server's, for a connection


class TestOpening:
    def test_the_only_model_is_taken(self, server):
        with_model = opened(server)
        assert (with_model.name, with_model.source) == (MODEL, f"{server.url}/chat/completions")
        with_model.close()

    def test_several_models_are_listed(self, server):
        server.models = ["a", "b"]
        with pytest.raises(UsageError, match=r"several models: a, b(.|\n)*#model-name"):
            opened(server)

    def test_one_of_several_is_named(self, server):
        server.models = ["a", "org/b c"]
        with_model = opened(server, "/v1#org/b%20c")
        assert with_model.name == "org/b c"
        assert texts_of(run(with_model.engine, requests_for(["ab"]))) == [["ba"]]
        with_model.close()

    def test_no_model_is_an_error(self, server):
        server.models = []
        with pytest.raises(ModelNotFound):
            opened(server)

    def test_a_name_that_could_command_a_terminal_is_refused(self, server):
        server.models = ["\x1b[31m"]
        with pytest.raises(ModelError, match="cannot be used"):
            opened(server)

    def test_a_forgotten_v1_is_recognised(self, server):
        with pytest.raises(ModelError, match=r"404(.|\n)*/v1"):
            opened(server, "")

    def test_nobody_there_is_said_at_once(self, server):
        server.stop()
        with pytest.raises(EngineUnavailable, match="cannot be reached") as error:
            opened(server, "/v1#named")
        assert error.value.exit_code == 75

    def test_a_server_that_is_too_busy_to_say_its_models_is_away(self, server):
        server.models_status = 503
        with pytest.raises(EngineUnavailable, match="answers 503"):
            opened(server)

    def test_a_wrong_key_is_said_at_once_and_not_repeated(self, server):
        server.key = "right"
        with pytest.raises(ModelError, match=r"401(.|\n)*OPENAI_API_KEY") as error:
            opened(server, "/v1#named", api_key="sk-wrong-key")
        assert "sk-wrong-key" not in str(error.value)

    def test_the_right_key_is_sent(self, server):
        server.key = "right"
        assert texts_of(ask(server, ["ab"], api_key="right")) == [["ba"]]

    def test_no_key_is_sent_unencrypted_to_another_machine(self):
        with pytest.raises(UsageError, match="not encrypted"):
            open_server("http://192.0.2.1:8000/v1", ServerOptions(api_key="k"))

    def test_unless_that_was_allowed(self, server):
        """0.0.0.0 is this machine to Linux, and another one to textmill."""
        elsewhere = server.url.replace("127.0.0.1", "0.0.0.0")
        with pytest.raises(UsageError, match="not encrypted"):
            open_server(elsewhere, ServerOptions(api_key="k"))
        assert server.seen == []
        open_server(elsewhere, ServerOptions(api_key="k"), key_over_http=True).close()
        assert server.seen[0].headers["authorization"] == "Bearer k"

    def test_offline_allows_this_machine_only(self, server):
        open_server(server.url, ServerOptions(), offline=True).close()
        with pytest.raises(UsageError, match="offline"):
            open_server("https://192.0.2.1/v1", ServerOptions(), offline=True)

    def test_proxies_are_not_used_for_this_machine(self, server, monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert texts_of(ask(server, ["ab"])) == [["ba"]]


class TestTls:
    def test_a_certificate_that_nobody_vouches_for_ends_it(self, tmp_path):
        certificate = serving.self_signed(tmp_path / "pem")
        with (
            serving.running(certificate=certificate) as server,
            pytest.raises(ModelError, match=r"certificate cannot be verified(.|\n)*SSL_CERT_FILE"),
        ):
            opened(server, f"/v1#{MODEL}", api_key="k")
        assert server.seen == []

    def test_one_that_was_declared_good_is_good(self, tmp_path, monkeypatch):
        certificate = serving.self_signed(tmp_path / "pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with serving.running(certificate=certificate) as server:
            assert texts_of(ask(server, NAMES, api_key="k")) == [[turned(text)] for text in NAMES]
