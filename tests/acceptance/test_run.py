"""`textmill run` as a process, on the echo engine: files in, files out, exit codes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys

import pytest
import zstandard

from support.articles import ARTICLES, echo, expected
from support.command import (
    environment,
    read_lines,
    textmill,
    write_lines,
)


def test_one_result_per_record_in_input_order(tmp_path):
    ran = echo(write_lines(tmp_path / "in.jsonl", *ARTICLES), tmp_path)
    assert (ran.code, ran.err.count("\n")) == (0, 1)
    assert "rows 50 = ok 50 + failed 0 + invalid 0" in ran.out
    assert read_lines(tmp_path / "out.jsonl") == expected()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "in.jsonl",
        "out.jsonl",
        "out.manifest.json",
    ]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_compressed_input_is_recognised_by_content(tmp_path, pack):
    plain = write_lines(tmp_path / "plain.jsonl", *ARTICLES).read_bytes()
    (tmp_path / "in").write_bytes(pack(plain))
    assert echo(tmp_path / "in", tmp_path).code == 0
    assert read_lines(tmp_path / "out.jsonl") == expected()


def test_several_files_and_a_glob_are_read_in_order(tmp_path):
    write_lines(tmp_path / "b.jsonl", *ARTICLES[10:20])
    write_lines(tmp_path / "a.jsonl", *ARTICLES[:10])
    write_lines(tmp_path / "z.jsonl", *ARTICLES[20:])
    ran = textmill(
        *("run", f"{tmp_path}/[ab].jsonl", tmp_path / "z.jsonl"),
        *("-o", tmp_path / "out.jsonl", "--engine", "echo"),
    )
    assert ran.code == 0
    assert read_lines(tmp_path / "out.jsonl") == expected()


def test_standard_input(tmp_path):
    plain = write_lines(tmp_path / "plain.jsonl", *ARTICLES).read_bytes()
    assert echo("-", tmp_path, stdin=plain).code == 0
    assert read_lines(tmp_path / "out.jsonl") == expected()


def test_ids_and_kept_columns_come_back_byte_for_byte(tmp_path):
    ids = [
        b"1e2",
        b"1.0",
        b'"\\u0061"',
        b'{"b": 1,"a":[ ]}',
        b"12345678901234567890123",
        b"-0",
    ]
    lines = [b'{"id": %b, "text_inputs": "t", "n": 1.50}' % id for id in ids]
    assert echo(write_lines(tmp_path / "in.jsonl", *lines), tmp_path, "--keep", "n").code == 0
    out = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert out == [b'{"id": %b, "n": 1.50, "generated_texts": ["t"]}' % id for id in ids]


def test_a_list_of_texts_gives_a_list_of_results(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"id": "x", "text_inputs": ["b", "a", "c" * 300]})
    assert echo(source, tmp_path, "--set", "max_new_tokens=400").code == 0
    (row,) = read_lines(tmp_path / "out.jsonl")
    assert row["generated_texts"] == ["b", "a", "c" * 300]


def test_prompt_and_id_take_any_shape(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"key": "k", "title": "T", "body": "B" * 9})
    flags = ("--prompt", "{title}: {body|truncate:3}", "--id", "key")
    assert echo(source, tmp_path, *flags).code == 0
    assert read_lines(tmp_path / "out.jsonl") == [{"id": "k", "generated_texts": ["T: BBB"]}]


def test_records_without_ids_can_be_numbered(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"text_inputs": "a"}, {"text_inputs": "b"})
    assert echo(source, tmp_path, "--id", "@ordinal").code == 0
    assert [row["id"] for row in read_lines(tmp_path / "out.jsonl")] == [0, 1]


BAD_ROWS = {
    b"{": "bad_json",
    b"[1]": "bad_json",
    b'{"id": 1, "text_inputs": "\xff"}': "bad_json",
    b'{"id": 1, "text_inputs": "\\ud800"}': "bad_json",
    b'{"id": 1, "text_inputs": NaN}': "bad_json",
    b'{"id": 1, "id": 2, "text_inputs": "t"}': "bad_json",
    b'{"id": 1, "text_inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}": "bad_json",
    b'{"id": 1, "text_inputs": 5}': "bad_record",
    b'{"text_inputs": "t"}': "missing_field",
    b'{"id": null, "text_inputs": "t"}': "missing_field",
    b'{"id": "", "text_inputs": "t"}': "missing_field",
    b'{"id": 1}': "missing_field",
    b'{"id": 0, "text_inputs": "again"}': "duplicate_id",
    b'{"id": 1, "text_inputs": ""}': "empty",
    b'{"id": 1, "text_inputs": " "}': "empty",
    b'{"id": 1, "text_inputs": []}': "empty",
    b'{"id": 1, "text_inputs": "t", "max_lenght": 5}': "bad_parameter",
    b'{"id": 1, "text_inputs": "t", "max_length": "5"}': "bad_parameter",
    b'{"id": 1, "text_inputs": "t", "num_beams": 0}': "bad_parameter",
    b'{"id": 1, "text_inputs": "t", "do_sample": true}': "bad_parameter",
}


@pytest.mark.parametrize(("line", "code"), BAD_ROWS.items(), ids=lambda v: str(v)[:40])
def test_a_bad_row_is_an_error_line_and_hurts_nobody(tmp_path, line, code):
    good = b'{"id": 0, "text_inputs": "good"}'
    ran = echo(write_lines(tmp_path / "in.jsonl", good, line), tmp_path)
    assert ran.code == 3
    assert "rows 2 = ok 1 + failed 0 + invalid 1" in ran.out
    assert read_lines(tmp_path / "out.jsonl") == [{"id": 0, "generated_texts": ["good"]}]
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert (error["code"], error["line"]) == (code, 2)
    assert error["message"]


HUGE_ROWS = [
    b'{"id": 1e400, "text_inputs": "t"}',
    b'{"id": 1, "text_inputs": "t", "k": -1E+400}',
    b'{"id": 1, "text_inputs": "t", "k": {"deep": ["1e400", 1%s]}}' % (b"0" * 400),
]

LARGE_ROW = b'{"id": 1.5e308, "text_inputs": "t", "k": ["1e400", 1e-400, 0e999]}'


@pytest.mark.parametrize("flags", [("--keep", "k"), ("--join", "input")], ids=lambda f: f[0])
def test_a_number_that_no_float_holds_is_never_written(tmp_path, flags):
    output = tmp_path / "out.jsonl"
    for line in HUGE_ROWS:
        ran = echo(write_lines(tmp_path / "in.jsonl", line, LARGE_ROW), tmp_path, *flags, "--fresh")
        assert (ran.code, "rows 2 = ok 1 + failed 0 + invalid 1" in ran.out) == (3, True)
        (error,) = read_lines(tmp_path / "out.errors.jsonl")
        assert (error["code"], error["line"]) == ("bad_record", 1)
        assert "holds the number" in error["message"]
        assert textmill("status", output, "--verify").code == 3
        assert b"1.5e308" in output.read_bytes()


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b"", 0),
        (b"\n\n  \n", 0),
        (b'\xef\xbb\xbf{"id": 0, "text_inputs": "t"}\n', 1),
        (b'{"id": 0, "text_inputs": "t"}\r\n{"id": 1, "text_inputs": "t"}\r\n', 2),
        (b'{"id": 0, "text_inputs": "t"}\n\n{"id": 1, "text_inputs": "t"}', 2),
    ],
    ids=["empty", "blank lines", "BOM", "CRLF", "no final newline"],
)
def test_files_of_every_kind_are_read(tmp_path, data, rows):
    (tmp_path / "in.jsonl").write_bytes(data)
    ran = echo(tmp_path / "in.jsonl", tmp_path)
    assert ran.code == 0
    assert f"rows {rows} = ok {rows} + failed 0 + invalid 0" in ran.out
    assert len(read_lines(tmp_path / "out.jsonl")) == rows


def test_a_line_of_100_mb_is_an_error_and_is_never_held(tmp_path):
    source = tmp_path / "in.jsonl"
    with source.open("wb") as file:
        file.write(b'{"id": 0, "text_inputs": "')
        for _ in range(100):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n')
        file.write(b'{"id": 1, "text_inputs": "short"}\n')
    program = (
        "import re, textmill;"
        f"job = textmill.run({str(source)!r}, {str(tmp_path / 'out.jsonl')!r}, engine='echo');"
        "print(job.counts.ok, job.counts.invalid, next(job.failures).code,"
        " re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, check=True
    )
    ok, invalid, code, peak_kb = done.stdout.split()
    assert (ok, invalid, code) == (b"1", b"1", b"too_long")
    assert int(peak_kb) < 150_000


USAGE_ERRORS = {
    "no input": ("run", "-o", "out.jsonl", "--engine", "echo"),
    "missing input": ("run", "nope.jsonl", "-o", "out.jsonl", "--engine", "echo"),
    "no output flag": ("run", "in.jsonl", "--engine", "echo"),
    "no model": ("run", "in.jsonl", "-o", "out.jsonl"),
    "unknown flag": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "echo", "--frsh"),
    "unknown parameter": (
        "run",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "--engine",
        "echo",
        "--set",
        "beams=4",
    ),
    "bad value": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "echo", "--set", "num_beams=x"),
    "refused": (
        "run",
        "in.jsonl",
        "-o",
        "out.jsonl",
        "--engine",
        "echo",
        "--set",
        "do_sample=true",
    ),
    "bad prompt": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "echo", "--prompt", "{a"),
    "output is input": ("run", "in.jsonl", "-o", "in.jsonl", "--engine", "echo"),
    "output is a folder": ("run", "in.jsonl", "-o", ".", "--engine", "echo"),
    "output in no folder": ("run", "in.jsonl", "-o", "no/out.jsonl", "--engine", "echo"),
    "bad budget": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "echo", "--max-errors", "x"),
    "bad sample": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "echo", "--sample", "0"),
    "bad threads": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "echo", "--threads", "0"),
    "half a row": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "echo", "--sample", "1.5"),
    "unknown engine": ("run", "in.jsonl", "-o", "out.jsonl", "--engine", "eco"),
    "unknown command": ("rnu",),
}


@pytest.mark.parametrize("arguments", USAGE_ERRORS.values(), ids=USAGE_ERRORS)
def test_what_cannot_work_is_refused_before_any_work(tmp_path, arguments):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    before = source.read_bytes()
    ran = textmill(*arguments, cwd=tmp_path)
    assert ran.code == 2
    assert ran.err.startswith("error: ")
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]
    assert source.read_bytes() == before


def test_a_second_parameter_after_one_set_is_told_from_an_input(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    ran = echo(source, tmp_path, "--set", "seed=1", "max_new_tokens=3")
    assert ran.code == 2
    assert "--set max_new_tokens=3" in ran.err
    named_so = write_lines(tmp_path / "seed=1", *ARTICLES)
    assert echo(named_so, tmp_path).code == 0


def test_unreadable_input_is_refused(tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    source.chmod(0)
    assert echo(source, tmp_path).code == 2


def test_max_errors_stops_and_keeps_what_is_done(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES, b"{", b"{", b"{")
    ran = echo(source, tmp_path, "--max-errors", "2")
    assert ran.code == 4
    assert "3 of" in ran.err
    assert not (tmp_path / "out.jsonl").exists()
    assert echo(source, tmp_path, "--max-errors", "6%").code == 3
    assert read_lines(tmp_path / "out.jsonl") == expected()


def test_a_stale_error_file_goes_when_there_are_no_errors(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES[:2], b"{")
    assert echo(source, tmp_path).code == 3
    write_lines(source, *ARTICLES[:2])
    assert echo(source, tmp_path, "--fresh").code == 0
    assert not (tmp_path / "out.errors.jsonl").exists()


def test_error_lines_name_the_file_when_there_are_several(tmp_path):
    one = write_lines(tmp_path / "one.jsonl", *ARTICLES[:2])
    two = write_lines(tmp_path / "two.jsonl", b"{")
    textmill("run", one, two, "-o", tmp_path / "out.jsonl", "--engine", "echo")
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert (error["file"], error["line"]) == (str(two), 1)


def test_hyper_params_rule_over_the_records_and_say_so(tmp_path):
    rows = [{"id": 0, "text_inputs": "abcdef", "max_length": 3}]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    env = environment(HYPER_PARAMS=str({"max_length": 5, "batch_size": 4}))
    ran = echo(source, tmp_path, env=env)
    assert ran.code == 0
    assert "HYPER_PARAMS" in ran.out
    assert read_lines(tmp_path / "out.jsonl")[0]["generated_texts"] == ["abcd"]


def test_record_parameters_beat_the_command(tmp_path):
    rows = [
        {"id": 0, "text_inputs": "abcdef", "max_new_tokens": 2},
        {"id": 1, "text_inputs": "abcdef"},
    ]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    assert echo(source, tmp_path, "--set", "max_new_tokens=4").code == 0
    texts = [row["generated_texts"][0] for row in read_lines(tmp_path / "out.jsonl")]
    assert texts == ["ab", "abcd"]


def test_dry_run_writes_nothing(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES, ARTICLES[0], b"{")
    ran = echo(source, tmp_path, "--dry-run", "--max-input-tokens", "13")
    assert ran.code == 0
    assert "text number 0" in ran.out
    assert "40 texts are longer and would be refused (too_long)" in ran.out
    assert "1 row would fail with bad_json" in ran.out
    assert "1 row would fail with duplicate_id" in ran.out
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_too_long_inputs_are_refused_or_cut_and_counted(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"id": 0, "text_inputs": "abcdef"})
    assert echo(source, tmp_path, "--max-input-tokens", "4").code == 3
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert error["code"] == "too_long"
    ran = echo(source, tmp_path, "--max-input-tokens", "4", "--truncate", "--fresh")
    assert ran.code == 0
    assert read_lines(tmp_path / "out.jsonl")[0]["generated_texts"] == ["abcd"]
    assert json.loads((tmp_path / "out.manifest.json").read_text())["counts"]["truncated"] == 1


def test_results_at_the_length_limit_are_counted_and_said(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", {"id": 0, "text_inputs": "abcdef"})
    ran = echo(source, tmp_path, "--set", "max_new_tokens=3")
    assert "1 result met its length limit and may be cut" in ran.out


@pytest.mark.parametrize(
    "extra",
    [
        {"min_p": 0.1},
        {"num_beam_groups": 2},
        {"eos_token_id": 5},
        {"src_lang": "en"},
        {"tgt_lang": "de"},
    ],
    ids=lambda extra: next(iter(extra)),
)
def test_what_cannot_be_honoured_fails_its_record_only(tmp_path, extra):
    rows = [{"id": 0, "text_inputs": "good"}, {"id": 1, "text_inputs": "bad", **extra}]
    assert echo(write_lines(tmp_path / "in.jsonl", *rows), tmp_path).code == 3
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert (error["id"], error["code"]) == (1, "bad_parameter")


def test_seeds_are_said_once(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    assert echo(source, tmp_path, "--seed", "1", "--set", "seed=2").code == 2
    ran = echo(source, tmp_path, env=environment(HYPER_PARAMS='{"seed": 7}'))
    assert ran.code == 0
    assert json.loads((tmp_path / "out.manifest.json").read_text())["seed"] == 7


def test_nobody_reading_the_progress_is_no_reason_to_stop(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    command = (
        f"exec {sys.executable} -m textmill run {source} -o {tmp_path}/out.jsonl --engine echo"
    )
    for closed in ("2>&-", ">&-"):
        done = subprocess.run(
            ["sh", "-c", f"{command} --fresh {closed}"],
            env=environment(),
            check=False,
            capture_output=True,
        )
        assert b"error" not in done.stdout + done.stderr
        assert done.returncode == 0, closed
        assert read_lines(tmp_path / "out.jsonl") == expected()


@pytest.mark.parametrize(
    ("module", "number"),
    [("signal", signal.SIGINT), ("cyclopts", signal.SIGINT), ("numpy", signal.SIGTERM)],
)
def test_a_score_that_is_interrupted_does_not_promise_to_go_on(tmp_path, module, number):
    (tmp_path / f"{module}.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {number:d})\ntime.sleep(60)\n"
    )
    rows = write_lines(tmp_path / "rows.jsonl", {"id": 1, "text": "a"})
    path = f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}"
    ran = textmill("score", rows, rows, env=environment(PYTHONPATH=path))
    assert (ran.code, ran.out, ran.err) == (130, "", "interrupted: nothing was written\n")


@pytest.mark.parametrize("module", ["signal", "cyclopts"])
def test_an_interrupt_while_modules_are_imported_is_one_line(tmp_path, module):
    (tmp_path / f"{module}.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {signal.SIGINT:d})\ntime.sleep(60)\n"
    )
    path = f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}"
    ran = textmill("run", "in.jsonl", "-o", "out.jsonl", env=environment(PYTHONPATH=path))
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == "interrupted: the same command goes on where this one stopped\n"


def test_names_that_are_no_utf8_are_written_all_the_same(tmp_path):
    source = tmp_path / os.fsdecode(b"caf\xe9.jsonl")
    write_lines(source, *ARTICLES[:2], b"{")
    assert echo(source, tmp_path).code == 3
    assert r"caf\\udce9.jsonl" in (tmp_path / "out.manifest.json").read_text()


def test_a_model_that_the_engine_would_not_use_is_refused(tmp_path):
    ran = echo(write_lines(tmp_path / "in.jsonl", *ARTICLES), tmp_path, "--model", "demo")
    assert (ran.code, "cannot use the model demo" in ran.err) == (2, True)


def test_standard_output_is_no_output(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    ran = textmill("run", source, "-o", "-", "--engine", "echo", cwd=tmp_path)
    assert (ran.code, "needs the name of a file" in ran.err) == (2, True)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/dev/null", "pipe"])
def test_what_is_no_file_is_no_output(tmp_path, name):
    """Even where standard output leads to a file: its name in /dev would be replaced."""
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    os.mkfifo(tmp_path / "pipe")
    ran = textmill("run", source, "-o", name, "--engine", "echo", cwd=tmp_path)
    assert (ran.code, f"{name} is not an ordinary file" in ran.err) == (2, True)


def test_an_input_without_rows_is_told(tmp_path):
    ran = echo(write_lines(tmp_path / "in.jsonl"), tmp_path)
    assert (ran.code, "note: the input has no rows" in ran.out) == (0, True)


def test_equal_texts_are_computed_once_and_counted(tmp_path):
    rows = [
        {"id": n, "text_inputs": f"text {n % 7}", **({"max_new_tokens": 3} if n % 2 else {})}
        for n in range(1000)
    ]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    ran = echo(source, tmp_path)
    assert ran.code == 0, ran.err
    made = [row["generated_texts"][0] for row in read_lines(tmp_path / "out.jsonl")]
    assert made == [f"text {n % 7}"[: 3 if n % 2 else None] for n in range(1000)]
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert manifest["counts"]["copied"] == 1000 - 14
    assert manifest["run"]["requests"] == 14


def test_a_list_of_texts_is_never_a_copy(tmp_path):
    row = {"text_inputs": ["a", "b"]}
    source = write_lines(tmp_path / "in.jsonl", {"id": 0, **row}, {"id": 1, **row})
    assert echo(source, tmp_path).code == 0
    assert [r["generated_texts"] for r in read_lines(tmp_path / "out.jsonl")] == [["a", "b"]] * 2
