"""`textmill run --model http://…` as a process: what arrives at the server, what is written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from support import openai_server as serving
from support.command import environment, read_lines, textmill, write_lines
from support.openai_server import MODEL, reply, turned
from support.waiting import wait_for
from textmill import UsageError, load, preview, run
from textmill.errors import EngineError

KEY = "sk-Never-To-Be-Seen-0123456789"
RECORDS = [{"id": n, "text_inputs": f"text number {n}"} for n in range(30)]


@pytest.fixture
def server():
    with serving.running() as state:
        yield state


def ask(server, tmp_path, *flags, rows=RECORDS, env=None, **kwargs):
    source = write_lines(tmp_path / "in.jsonl", *rows)
    return textmill(
        *("run", source, "-o", tmp_path / "out.jsonl", "--model", server.url, *flags),
        env=environment(**(env or {})),
        **kwargs,
    )


def manifest(tmp_path):
    return json.loads((tmp_path / "out.manifest.json").read_bytes())


def expected(rows=RECORDS):
    return [{"id": r["id"], "generated_texts": [turned(r["text_inputs"])]} for r in rows]


def no_file_holds(tmp_path, secret):
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "key"]
    assert files
    for path in files:
        assert secret.encode() not in path.read_bytes(), path
    return True


def test_one_result_per_record_in_input_order(server, tmp_path):
    ran = ask(server, tmp_path)
    assert (ran.code, ran.err.count("\n")) == (0, 1), ran.err
    assert "rows 30 = ok 30 + failed 0 + invalid 0" in ran.out
    assert read_lines(tmp_path / "out.jsonl") == expected()
    found = manifest(tmp_path)
    characters = sum(len(row["text_inputs"]) for row in RECORDS)
    assert found["model"]["name"] == MODEL
    assert found["model"]["source"] == f"{server.url}/chat/completions"
    assert found["engine"]["name"] == "openai"
    assert any("not promised to be the same" in note for note in found["engine"]["notes"])
    assert found["counts"]["input_tokens"] == found["counts"]["output_tokens"] == characters


def test_prompts_lists_and_parameters_of_records_reach_the_server(server, tmp_path):
    rows = [
        {"id": "a", "text_inputs": ["one", "two"]},
        {"id": "b", "text_inputs": "abcdef", "max_new_tokens": 3},
        {"id": "c", "text_inputs": "abcdef", "stop": "c"},
        {"id": "d", "text_inputs": "x", "num_beams": 4},
        {"id": "e", "text_inputs": "x", "top_k": 5, "do_sample": True},
    ]
    ran = ask(server, tmp_path, rows=rows)
    assert ran.code == 3
    assert [row["generated_texts"] for row in read_lines(tmp_path / "out.jsonl")] == [
        ["eno", "owt"],
        ["fed"],
        ["fed"],
    ]
    errors = read_lines(tmp_path / "out.errors.jsonl")
    assert [(e["id"], e["code"]) for e in errors] == [
        ("d", "bad_parameter"),
        ("e", "bad_parameter"),
    ]
    assert "num_beams" in errors[0]["message"]
    assert "top_k" in errors[1]["message"]
    assert manifest(tmp_path)["counts"]["hit_length_limit"] == 1


def test_a_bad_record_fails_alone_and_the_counts_add_up(server, tmp_path):
    rows = [
        *RECORDS[:10],
        {"id": "p", "text_inputs": "this is POISON"},
        {"id": "l", "text_inputs": "this is LONG"},
        b"{",
        *RECORDS[10:],
    ]
    ran = ask(server, tmp_path, "--concurrency", "3", rows=rows)
    assert ran.code == 3
    assert "rows 33 = ok 30 + failed 2 + invalid 1" in ran.out
    assert read_lines(tmp_path / "out.jsonl") == expected()
    errors = read_lines(tmp_path / "out.errors.jsonl")
    assert [e["code"] for e in errors] == ["engine_error", "too_long", "bad_json"]
    assert server.peak <= 3
    assert len(server.asked) == 32


def test_equal_records_are_asked_for_once(server, tmp_path):
    rows = [{"id": n, "text_inputs": "the same"} for n in range(9)]
    assert ask(server, tmp_path, rows=rows).code == 0
    assert read_lines(tmp_path / "out.jsonl") == expected(rows)
    assert len(server.asked) == 1


def test_copies_of_a_record_that_failed_fail_as_it_did(server, tmp_path):
    texts = ["a LONG one", "a POISON", "good"] * 2
    rows = [{"id": n, "text_inputs": text} for n, text in enumerate(texts)]
    ran = ask(server, tmp_path, rows=rows)
    assert "rows 6 = ok 2 + failed 4 + invalid 0" in ran.out
    errors = read_lines(tmp_path / "out.errors.jsonl")
    assert [error["code"] for error in errors] == ["too_long", "engine_error"] * 2
    assert errors[0]["message"] == errors[2]["message"]
    assert len(server.asked) == 3


def test_sampling_is_the_same_whatever_the_concurrency(server, tmp_path):
    flags = ("--set", "do_sample=true", "--set", "num_return_sequences=2", "--seed", "7")
    assert ask(server, tmp_path, *flags, "--concurrency", "1").code == 0
    first = (tmp_path / "out.jsonl").read_bytes()
    assert ask(server, tmp_path, *flags, "--concurrency", "30", "--fresh").code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == first
    assert ask(server, tmp_path, *flags[:-1], "8", "--fresh").code == 0
    assert (tmp_path / "out.jsonl").read_bytes() != first


def start(server, tmp_path, *flags, env=None):
    source = write_lines(tmp_path / "in.jsonl", *RECORDS)
    line = ("run", source, "-o", tmp_path / "out.jsonl", "--model", server.url, *flags)
    return subprocess.Popen(
        [sys.executable, "-m", "textmill", *map(str, line)],
        env=environment(**(env or {})),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )


def part_rows(tmp_path):
    """Ordinals of the rows that are safe in the job's folder."""
    lines = [
        json.loads(line)
        for part in (tmp_path / "out.jsonl.job" / "parts").iterdir()
        for line in part.read_bytes().split(b"\n")[:-1]
    ]
    return {line["n"] for line in lines if "n" in line}


def when_safe(tmp_path, rows):
    """Return when so many rows are safe in the job's folder."""
    parts = tmp_path / "out.jsonl.job" / "parts"
    wait_for(lambda: parts.exists() and len(part_rows(tmp_path)) >= rows)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_job_that_was_ended_asks_only_for_what_is_missing(server, tmp_path, how):
    server.fault_of = lambda seen: serving.hang if len(server.asked) > 12 else None
    process = start(server, tmp_path, "--concurrency", "4")
    server.wait_for(16)  # 12 answered, four never will be
    when_safe(tmp_path, 12)
    process.send_signal(how)
    err = process.communicate(timeout=120)[1]  # the requests would hang for ten minutes
    assert b"Traceback" not in err
    done = {RECORDS[n]["text_inputs"] for n in part_rows(tmp_path)}
    assert len(done) == 12
    server.fault_of = lambda seen: None
    before = len(server.asked)
    assert ask(server, tmp_path, "--concurrency", "7").code == 0
    again = server.texts[before:]
    assert sorted(again) == sorted({r["text_inputs"] for r in RECORDS} - done)
    assert read_lines(tmp_path / "out.jsonl") == expected()
    assert manifest(tmp_path)["run"]["resumed_rows"] == 12


def test_another_model_or_server_is_another_job(server, tmp_path):
    server.fault_of = lambda seen: reply(401) if len(server.asked) > 12 else None
    assert ask(server, tmp_path, "--concurrency", "1").code == 2
    assert len(part_rows(tmp_path)) == 12
    server.fault_of = lambda seen: None
    server.models = ["other"]
    ran = ask(server, tmp_path)
    assert ran.code == 2
    assert f'model: was "{MODEL} at' in ran.err
    assert '"other at' in ran.err


class TestBadServers:
    def test_a_refused_key_stops_the_job_which_then_goes_on(self, server, tmp_path):
        server.fault_of = lambda seen: reply(403) if len(server.asked) > 10 else None
        ran = ask(server, tmp_path, "--concurrency", "2")
        assert ran.code == 2
        assert "answers 403" in ran.err
        safe = len(part_rows(tmp_path))
        assert safe >= 8
        server.fault_of = lambda seen: None
        before = len(server.asked)
        assert ask(server, tmp_path).code == 0
        assert len(server.asked) - before == 30 - safe
        assert read_lines(tmp_path / "out.jsonl") == expected()

    def test_a_server_that_wants_to_be_left_alone_is_exit_75_and_loses_nothing(
        self, server, tmp_path
    ):
        server.faults = [None] * 9 + [reply(429, Retry_After="86400")]
        ran = ask(server, tmp_path, "--concurrency", "1")
        assert ran.code == 75
        assert "86,400 s" in ran.err
        assert len(part_rows(tmp_path)) == 9
        assert ask(server, tmp_path).code == 0
        assert len(server.asked) == 31
        assert read_lines(tmp_path / "out.jsonl") == expected()

    def test_a_server_that_is_not_there_leaves_nothing_behind(self, server, tmp_path):
        server.stop()
        ran = ask(server, tmp_path)
        assert ran.code == 75
        assert "cannot be reached" in ran.err
        assert "run the same line again" in ran.err
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]

    def test_a_server_that_is_away_when_a_job_goes_on_is_exit_75_and_loses_nothing(
        self, server, tmp_path
    ):
        server.faults = [None] * 9 + [reply(429, Retry_After="86400")]
        assert ask(server, tmp_path, "--concurrency", "1").code == 75
        port = server.port
        server.stop()
        ran = ask(server, tmp_path)
        assert (ran.code, len(part_rows(tmp_path))) == (75, 9)
        with serving.running(port=port) as again:
            assert ask(again, tmp_path).code == 0
        assert read_lines(tmp_path / "out.jsonl") == expected()

    def test_several_models_are_listed(self, server, tmp_path):
        server.models = ["a", "b"]
        ran = ask(server, tmp_path)
        assert ran.code == 2
        assert "several models: a, b" in ran.err

    def test_a_hanging_record_times_out_alone(self, server, tmp_path):
        server.fault_of = serving.by_text({"text number 3": serving.hang})
        ran = ask(server, tmp_path, "--timeout", "0.5")
        assert ran.code == 3
        (error,) = read_lines(tmp_path / "out.errors.jsonl")
        assert (error["id"], error["code"], error["attempts"]) == (3, "timeout", 2)
        server.fault_of = lambda seen: None
        before = len(server.asked)
        assert ask(server, tmp_path, "--timeout", "20", "--retry-failed").code == 0
        assert server.texts[before:] == ["text number 3"]
        assert read_lines(tmp_path / "out.jsonl") == expected()


class TestKeys:
    def test_the_environments_key_is_sent_and_written_nowhere(self, server, tmp_path):
        server.key = KEY
        ran = ask(server, tmp_path, env={"OPENAI_API_KEY": f" {KEY}\n"})
        assert ran.code == 0, ran.err
        assert {seen.headers["authorization"] for seen in server.seen} == {f"Bearer {KEY}"}
        assert no_file_holds(tmp_path, KEY)
        assert KEY not in ran.out + ran.err

    def test_a_key_files_key_beats_the_environments(self, server, tmp_path):
        server.key = KEY
        (tmp_path / "key").write_text(KEY + "\n")
        env = {"OPENAI_API_KEY": "another"}
        ran = ask(server, tmp_path, "--api-key-file", tmp_path / "key", env=env)
        assert ran.code == 0, ran.err
        assert no_file_holds(tmp_path, KEY)

    def test_a_server_that_repeats_the_key_does_not_get_it_into_our_files(self, server, tmp_path):
        said = {"error": {"message": f"what is {KEY} supposed to be?"}}
        server.fault_of = serving.by_text({"text number 3": reply(400, said)})
        ran = ask(server, tmp_path, env={"OPENAI_API_KEY": KEY})
        assert ran.code == 3
        assert "what is [the API key] supposed" in (tmp_path / "out.errors.jsonl").read_text()
        server.fault_of = lambda seen: reply(401, said)
        stopped = ask(server, tmp_path, "--fresh", env={"OPENAI_API_KEY": KEY})
        assert stopped.code == 2
        assert no_file_holds(tmp_path, KEY)
        assert KEY not in ran.out + ran.err + stopped.out + stopped.err

    def test_it_is_in_no_file_of_a_killed_job(self, server, tmp_path):
        server.fault_of = lambda seen: serving.hang if len(server.asked) > 12 else None
        process = start(server, tmp_path, "--concurrency", "4", env={"OPENAI_API_KEY": KEY})
        server.wait_for(16)
        process.kill()
        process.communicate()
        assert no_file_holds(tmp_path, KEY)

    @pytest.mark.parametrize(
        ("model", "said"),
        [
            ("http://192.0.2.1:8000/v1", "not encrypted"),
            (f"https://user:{KEY}@192.0.2.1/v1", "user name or password"),
        ],
    )
    def test_what_would_give_it_away_is_refused(self, tmp_path, model, said):
        source = write_lines(tmp_path / "in.jsonl", *RECORDS)
        ran = textmill(
            *("run", source, "-o", tmp_path / "out.jsonl", "--model", model),
            env=environment(OPENAI_API_KEY=KEY),
        )
        assert ran.code == 2
        assert said in ran.err
        assert KEY not in ran.err
        assert no_file_holds(tmp_path, KEY)


class TestFlags:
    """Flags have the names of arguments, so these need no process."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"threads": 2}, "--threads is for models on this machine"),
            ({"precision": "int8"}, "--precision is for models on this machine"),
            ({"truncate": True}, "--truncate is for models on this machine"),
            ({"max_input_tokens": 9}, "--max-input-tokens is for models on this machine"),
            ({"max_batch_tokens": 9}, "--max-batch-tokens is for models on this machine"),
            ({"engine": "ct2"}, "ct2 engine cannot use a server"),
            ({"concurrency": 0}, "concurrency=0"),
            ({"concurrency": 5000}, "at most 1,024"),
            ({"timeout": -1}, "timeout=-1"),
            ({"num_beams": 2}, "num_beams"),
            ({"tgt_lang": "de"}, "tgt_lang"),
            ({"api_key_file": "nowhere"}, "nowhere"),
        ],
        ids=str,
    )
    def test_what_a_server_cannot_honour_is_refused_before_any_request(
        self, server, tmp_path, arguments, said
    ):
        with pytest.raises(UsageError, match=said):
            run(RECORDS, tmp_path / "out.jsonl", model=server.url, **arguments)
        assert server.asked == []
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "arguments",
        [
            {"model": "demo", "concurrency": 2},
            {"engine": "echo", "api_key_file": "key"},
            {"model": "demo", "api_key_over_http": True},
            {"model": "demo", "engine": "openai"},
        ],
        ids=str,
    )
    def test_flags_for_servers_need_one(self, tmp_path, arguments):
        with pytest.raises(UsageError, match="server"):
            run(RECORDS, tmp_path / "out.jsonl", **arguments)

    def test_a_dry_run_writes_nothing(self, server, tmp_path):
        found = preview(RECORDS, model=server.url)
        assert (found.model, found.engine, found.probe_records) == (MODEL, "openai", 30)
        assert list(tmp_path.iterdir()) == []

    def test_a_server_can_be_loaded(self, server):
        server.key = KEY
        with load(server.url, api_key=KEY, concurrency=2) as model:
            assert model.generate(["ab", "cd"]) == ["ba", "dc"]
            with pytest.raises(EngineError, match=r"text 1: .*poison"):
                model.generate(["ab", "POISON"])
            assert model.generate("ef", max_new_tokens=1) == ["f"]


def test_waiting_for_a_busy_server_is_told_as_it_happens_and_counted(server, tmp_path):
    server.faults = [None, reply(503)]
    ran = ask(server, tmp_path)
    assert ran.code == 0
    (line,) = [line for line in ran.err.splitlines() if line.startswith("note: ")]
    assert "503" in line
    assert "waiting 0." in line
    assert manifest(tmp_path)["run"]["events"]["waited"] >= 1
    assert "note: the server was waited for 1 time" in ran.out


def test_rows_that_failed_come_with_the_line_that_retries_them(server, tmp_path):
    server.fault_of = serving.by_text({"text number 3": reply(400)})
    ran = ask(server, tmp_path)
    (line,) = [line for line in ran.out.splitlines() if line.startswith("retry ")]
    assert line.startswith(f"retry     textmill run {tmp_path}/in.jsonl")
    assert line.endswith(" --retry-failed")
    shown = textmill("status", tmp_path / "out.jsonl").out
    assert f"to compute failed rows again:  {line.removeprefix('retry     ')}" in shown
