"""Whole jobs on S3, with real processes: what they write, refuse, keep, and leave behind."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import textmill as python
from support import openai_server
from support.command import environment, read_lines, textmill, write_lines
from support.openai_server import reply
from support.s3_jobs import OUTPUTS, Prefix
from support.s3_server import Answer, always

ROWS = [{"id": n, "text_inputs": f"text number {n}"} for n in range(600)]
BAD = [{"id": 600, "text_inputs": 5}, b"{"]


@pytest.fixture
def place(s3_url, credentials, request):
    return Prefix(s3_url, f"run/{zlib.crc32(request.node.name.encode()):08x}")


@pytest.fixture
def source(tmp_path):
    return write_lines(tmp_path / "in.jsonl", *ROWS, *BAD)


def run(place, *words, endpoint=None, **kwargs):
    return textmill(
        *("run", *words, "--engine", "echo", "--endpoint-url", endpoint or place.s3_url), **kwargs
    )


def status(place, *words):
    return textmill("status", *words, "--endpoint-url", place.s3_url)


def here(folder, *inputs, **options):
    """What a run on this machine makes of the same input: results and errors."""
    output = folder / "whole.jsonl"
    python.run(list(inputs), output, engine="echo", fresh=True, **options)
    return output.read_bytes(), (folder / "whole.errors.jsonl").read_bytes()


def from_object(place, source):
    return [place.put("in.jsonl", source.read_bytes())], {}


def from_here(place, source):
    return [source], {}


def from_standard_input(place, source):
    return ["-"], {"stdin": source.read_bytes()}


def from_gzip(place, source):
    return [place.put("in", gzip.compress(source.read_bytes()))], {}


@pytest.mark.parametrize(
    "way",
    [
        from_object,
        from_standard_input,
        *(pytest.param(way, marks=pytest.mark.full) for way in (from_here, from_gzip)),
    ],
)
def test_a_job_in_a_bucket_gives_the_bytes_of_one_on_a_disk(place, source, tmp_path, way):
    inputs, kwargs = way(place, source)
    ran = run(place, *inputs, "-o", place.url("out.jsonl"), **kwargs)
    assert (ran.code, ran.err.count("\n")) == (3, 1), ran.err
    assert "rows 602 = ok 600 + failed 0 + invalid 2" in ran.out
    assert f"results   {place.url('out.jsonl')}" in ran.out
    assert (place.get("out.jsonl"), place.get("out.errors.jsonl")) == here(tmp_path, source)
    assert [name for name in place.names() if not name.startswith("in")] == list(OUTPUTS)
    counts = place.json("out.manifest.json")["counts"]
    assert (counts["rows"], counts["ok"], counts["invalid"]) == (602, 600, 2)


def test_from_a_bucket_to_a_disk(place, source, tmp_path):
    url = place.put("in.jsonl", source.read_bytes())
    assert run(place, url, "-o", tmp_path / "out.jsonl").code == 3
    found = ((tmp_path / name).read_bytes() for name in ("out.jsonl", "out.errors.jsonl"))
    assert tuple(found) == here(tmp_path, source)
    assert place.names() == ["in.jsonl"]


def test_objects_below_a_prefix_and_of_a_manifest_are_one_input_each(place, tmp_path):
    lines = [json.dumps(row).encode() + b"\n" for row in ROWS]
    place.put("in/b.jsonl", b"".join(lines[200:400]))
    place.put("in/a/a.jsonl.gz", gzip.compress(b"".join(lines[:200])))
    place.put("in/c", b"".join([*lines[400:], b"{\n"]))
    place.put("in/folder/", b"")
    listed = [{"prefix": place.url("in/")}, "a/a.jsonl.gz", "b.jsonl", "c"]
    manifest = place.put("list.manifest", json.dumps(listed).encode())
    expected, _ = here(tmp_path, write_lines(tmp_path / "all.jsonl", *ROWS, b"{"))
    for name, source in (("p", place.url("in/")), ("m", manifest)):
        assert run(place, source, "-o", place.url(f"{name}.jsonl")).code == 3
        assert place.get(f"{name}.jsonl") == expected
        (error,) = map(json.loads, place.get(f"{name}.errors.jsonl").splitlines())
        assert (error["file"], error["line"]) == (place.url("in/c"), 201)
        inputs = place.json(f"{name}.manifest.json")["inputs"]
        assert [one["name"] for one in inputs] == [
            place.url(f"in/{n}") for n in ("a/a.jsonl.gz", "b.jsonl", "c")
        ]


def test_parquet_is_read_by_ranges_and_written_whole(place, proxy, tmp_path):
    rows = [{"id": n, "text": f"text {n}", "note": f"{n * n:01000d}"} for n in range(10_000)]
    path = tmp_path / "in.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2000, compression="none")
    url = place.put("in.parquet", path.read_bytes())
    flags = ("--prompt", "{text}")
    ran = run(place, url, "-o", place.url("out.parquet"), *flags, endpoint=proxy.url)
    assert ran.code == 0
    python.run(path, tmp_path / "whole.parquet", engine="echo", prompt="{text}")
    assert place.get("out.parquet") == (tmp_path / "whole.parquet").read_bytes()
    gets = [c for c, _ in proxy.seen if c.method == "GET" and "in.parquet" in c.path]
    assert all("range" in call.headers for call in gets)
    spans = (call.headers["range"].removeprefix("bytes=").split("-") for call in gets)
    read = sum(int(last) - int(first) + 1 for first, last in spans)
    assert read < path.stat().st_size / 3, "the note column was read, which nobody asked for"


def test_shards_of_an_object_are_its_rows_each_once(place, proxy):
    rows = [{"id": n, "text_inputs": f"{n} " + "x" * 1000} for n in range(6000)]
    url = place.put("in.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    flags = ("--shard", "2/3")
    assert run(place, url, "-o", place.url("2.jsonl"), *flags, endpoint=proxy.url).code == 0
    gets = [c for c, _ in proxy.seen if c.method == "GET" and c.path.endswith("in.jsonl")]
    starts = [int(c.headers["range"].removeprefix("bytes=").partition("-")[0]) for c in gets]
    assert sum(start > 0 for start in starts) >= 2
    for number in (1, 3):
        shard = {"shard": f"{number}/3", "endpoint_url": place.s3_url}
        python.run(url, place.url(f"{number}.jsonl"), engine="echo", **shard)
    whole = b"".join(place.get(f"{number}.jsonl") for number in (1, 2, 3))
    assert [json.loads(line)["id"] for line in whole.splitlines()] == list(range(6000))
    assert len(place.get("2.jsonl")) > len(whole) / 4


def test_the_life_of_a_job(place, source):
    url = place.put("in.jsonl", source.read_bytes())
    line = (url, "-o", place.url("out.jsonl"))
    assert run(place, *line).code == 3
    first = place.json("out.manifest.json")
    assert first["inputs"][0]["rows"] is None

    again = run(place, *line)
    assert (again.code, again.out.splitlines()[0][:17]) == (3, "already complete:")
    assert place.json("out.manifest.json") == first

    other = run(place, *line, "--set", "max_new_tokens=3")
    assert other.code == 2
    assert "parameter max_new_tokens: was 256, is 3" in other.err
    place.put("in.jsonl", source.read_bytes() + b'{"id": 7000, "text_inputs": "new"}\n')
    other = run(place, *line)
    assert other.code == 2
    assert "input 1: was" in other.err
    assert place.json("out.manifest.json") == first

    place.put("in.jsonl", b'{"id": 0, "text_inputs": "new"}\n')
    assert run(place, *line, "--fresh").code == 0
    assert place.get("out.jsonl") == b'{"id": 0, "generated_texts": ["new"]}\n'
    assert place.names() == ["in.jsonl", "out.jsonl", "out.manifest.json"]


def test_objects_that_are_no_job_are_never_replaced_silently(place, source):
    for name in OUTPUTS:
        place.put(name, b"precious")
        ran = run(place, source, "-o", place.url("out.jsonl"))
        assert (ran.code, place.get(name)) == (2, b"precious")
        assert place.names() == [name]
        place._client.delete_object(Bucket="bucket", Key=f"{place._name}{name}")


def test_an_output_is_never_its_own_input(place, source):
    url = place.put("out.jsonl", source.read_bytes())
    ran = run(place, url, "-o", url)
    assert ran.code == 2
    assert "would be overwritten" in ran.err
    assert place.names() == ["out.jsonl"]


def test_a_share_of_errors_without_a_total_stops_the_job_once_it_can_be_told(place, tmp_path):
    rows = [b"{" if n % 20 == 7 else {"id": n, "text_inputs": f"{n}"} for n in range(5000)]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    line = (place.put("in.jsonl", source.read_bytes()), "-o", place.url("out.jsonl"))
    ran = run(place, *line, "--max-errors", "4%")
    assert ran.code == 4
    assert "rows failed (bad_json" in ran.err
    found = status(place, place.url("out.jsonl"))
    assert (found.code, found.out.split()[1]) == (0, "stopped")
    ran = run(place, *line, "--max-errors", "6%")
    assert (ran.code, "rows 5,000 = ok 4,750" in ran.out) == (3, True), ran.err
    assert place.json("out.manifest.json")["run"]["resumed_rows"] >= 1000
    assert place.get("out.jsonl") == here(tmp_path, source)[0]


def test_a_share_of_errors_of_a_small_input_counts_at_its_end(place):
    bad = b'{"id": 1, "text_inputs": 5}\n' * 9
    line = (place.put("in.jsonl", bad), "-o", place.url("out.jsonl"))
    assert run(place, *line, "--max-errors", "99%").code == 4
    assert run(place, *line, "--max-errors", "100%").code == 3


@pytest.mark.full
def test_progress_knows_no_total_that_only_reading_would_tell(place, source, monkeypatch):
    url = place.put("in.jsonl", source.read_bytes())
    seen = []
    job = python.run(
        url,
        place.url("out.jsonl"),
        engine="echo",
        endpoint_url=place.s3_url,
        on_progress=lambda progress: seen.append((progress.rows, progress.total)),
    )
    assert seen[-1] == (602, None)
    assert len(list(job.failures)) == 2
    assert len(list(job.results)) == 600
    ran = run(place, url, "-o", place.url("other.jsonl"), "--dry-run")
    assert "an unknown number of rows" in ran.out
    assert place.names() == ["in.jsonl", *OUTPUTS]


@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_failed_rows_are_computed_again_and_all_others_stay(place, tmp_path, finished):
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:30], b"{")
    with openai_server.running() as server:
        line = ("run", source, "-o", place.url("out.jsonl"), "--model", server.url)
        line = (*line, "--endpoint-url", place.s3_url)
        server.fault_of = lambda seen: reply(400) if seen.text == "text number 7" else None
        ran = textmill(*line) if finished else textmill(*line, "--max-errors", "0")
        assert ran.code == (3 if finished else 4), ran.err
        parts = [name for name in place.names("out.jsonl.job/") if "/parts/" in name]
        assert len(parts) == (0 if finished else 1)
        server.fault_of, asked = lambda seen: None, len(server.asked)
        ran = textmill(*line, "--retry-failed")
        assert "rows 31 = ok 30 + failed 0 + invalid 1" in ran.out, ran.err
        texts = [seen.text for seen in server.asked[asked:]]
        assert "text number 7" in texts
        assert len(texts) == len(set(texts))
        assert texts == ["text number 7"] or not finished
    assert [json.loads(line)["id"] for line in place.get("out.jsonl").splitlines()] == [*range(30)]
    assert place.names() == list(OUTPUTS)


def test_status_of_jobs_in_a_bucket(place, source):
    for name in ("a", "b"):
        run(place, source, "-o", place.url(f"{name}.jsonl"), "--quiet")
    found = status(place, place.url(), "--json")
    jobs = [json.loads(line) for line in found.out.splitlines()]
    assert found.code == 3
    assert [(job["output"], job["state"]) for job in jobs] == [
        (place.url("a.jsonl"), "complete"),
        (place.url("b.jsonl"), "complete"),
    ]
    verified = status(place, place.url("a.jsonl"), "--verify")
    assert (verified.code, "verified: " in verified.out) == (3, True)
    place.put("a.jsonl", b"changed")
    damaged = status(place, place.url("a.manifest.json"))
    assert (damaged.code, "damaged" in damaged.out) == (70, True)
    assert status(place, place.url("c.jsonl")).code == 2


# What cannot work, in words.

TRAPPED = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AWS_S3_ENDPOINT")


@pytest.mark.parametrize(
    "flag",
    [True, pytest.param(False, marks=pytest.mark.full)],  # nobody answers for ten seconds
    ids=["with the flag", "without it"],
)
def test_only_the_flag_names_an_endpoint(place, proxy, source, flag):
    """Endpoints of the environment see nothing."""
    trap = dict.fromkeys(TRAPPED, proxy.url)
    env = environment(**trap, AWS_ALLOW_HTTP="true", AWS_REGION="nowhere-1")
    line = ("run", source, "-o", place.url("out.jsonl"), "--engine", "echo")
    ran = textmill(*line, *(("--endpoint-url", place.s3_url) if flag else ()), env=env)
    assert ran.code == (3 if flag else 2)
    assert ("it cannot be reached" in ran.err) is not flag
    assert proxy.seen == []


@pytest.mark.parametrize(
    ("names", "region"),
    [
        pytest.param({}, "us-east-1", marks=pytest.mark.full),
        pytest.param({"AWS_DEFAULT_REGION": "eu-west-3"}, "eu-west-3", marks=pytest.mark.full),
        ({"AWS_REGION": "ap-east-1", "AWS_DEFAULT_REGION": "eu-west-3"}, "ap-east-1"),
    ],
)
def test_the_region_is_the_environments(place, proxy, source, names, region):
    url = place.put("in.jsonl", source.read_bytes())
    ran = run(place, url, "-o", "x", "--dry-run", endpoint=proxy.url, env=environment(**names))
    assert ran.code == 0
    assert all(f"/{region}/s3/" in call.headers["authorization"] for call, _ in proxy.seen)


def test_a_region_cannot_name_another_host(place, source):
    env = environment(AWS_REGION="host.example/")
    ran = textmill("run", source, "-o", place.url("out.jsonl"), "--engine", "echo", env=env)
    assert (ran.code, 'AWS_REGION="host.example/"' in ran.err) == (2, True)


def test_a_bucket_that_is_not_there_is_named(place, source):
    ran = run(place, source, "-o", "s3://no-such-bucket/out.jsonl")
    assert ran.code == 2
    assert ran.err.startswith("error: s3://no-such-bucket/")
    assert "there is no such bucket" in ran.err
    ran = run(place, "s3://no-such-bucket/in.jsonl", "-o", place.url("out.jsonl"))
    assert ran.code == 2
    assert ran.err.startswith("error: s3://no-such-bucket/in.jsonl")
    assert "there is no such bucket" in ran.err
    assert place.names() == []


def test_an_object_that_is_not_there_is_named(place):
    ran = run(place, place.url("in.jsonl"), "-o", place.url("out.jsonl"))
    assert (ran.code, place.names()) == (2, [])
    assert ran.err.startswith(f"error: there is no object {place.url('in.jsonl')}")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(403, "InvalidAccessKeyId"), "the credentials are not valid"),
        pytest.param(Answer(403, "AccessDenied"), "access is denied", marks=pytest.mark.full),
        pytest.param(
            Answer(400, "ExpiredToken"), "the credentials have expired", marks=pytest.mark.full
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Answer) else "",
)
def test_what_the_store_refuses_is_said_in_words(place, proxy, source, answer, reason):
    proxy.rule = always(answer)
    ran = run(place, source, "-o", place.url("out.jsonl"), endpoint=proxy.url)
    assert (ran.code, reason in ran.err) == (2, True), ran.err
    assert "\n  " in ran.err, "it says what to do"
    assert answer.code not in ran.err


@pytest.mark.full
def test_without_credentials_the_message_says_which_to_set(place, source, tmp_path):
    env = {k: v for k, v in environment().items() if not k.startswith("AWS_")}
    env |= {"AWS_METADATA_ENDPOINT": "http://127.0.0.1:9"}
    ran = run(place, source, "-o", place.url("out.jsonl"), env=env)
    assert (ran.code, "AWS_ACCESS_KEY_ID" in ran.err) == (2, True), ran.err


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("az://container@account/in.jsonl", "AZURE_STORAGE_ACCOUNT_KEY"),
        pytest.param(
            "gs://bucket/in.jsonl", "GOOGLE_APPLICATION_CREDENTIALS", marks=pytest.mark.full
        ),
    ],
)
def test_without_a_login_the_message_is_about_the_cloud_that_was_asked(url, expected, tmp_path):
    env = environment(HOME=str(tmp_path))
    env = {name: value for name, value in env.items() if not name.startswith(("AWS_", "AZURE_"))}
    ran = textmill("run", url, "-o", tmp_path / "out.jsonl", "--engine", "echo", env=env)
    assert (ran.code, expected in ran.err, "AWS" in ran.err) == (2, True, False), ran.err


def test_without_the_extra_the_message_says_how_to_install_it(place, source, tmp_path):
    missing = tmp_path / "missing" / "obstore"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ImportError('not installed')")
    env = environment()
    env["PYTHONPATH"] = f"{missing.parent}:{env['PYTHONPATH']}"
    ran = run(place, source, "-o", place.url("out.jsonl"), env=env)
    assert (ran.code, "pip install 'textmill[s3]'" in ran.err) == (2, True), ran.err
    local = textmill("run", source, "-o", tmp_path / "out.jsonl", "--engine", "echo", env=env)
    assert local.code == 3
    assert len(read_lines(Path(tmp_path / "out.jsonl"))) == 600


@pytest.mark.parametrize("url", ["127.0.0.1:9000", "s3://bucket", "ftp://host", "http://", "", "x"])
def test_an_endpoint_that_is_no_address_is_refused(tmp_path, url):
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:1])
    ran = textmill(
        *("run", source, "-o", "s3://bucket/out.jsonl", "--engine", "echo"),
        *("--endpoint-url", url),
    )
    assert ran.code == 2
    assert f'--endpoint-url "{url}": not the address of an object store' in ran.err


def test_what_is_wrong_with_the_name_of_an_input_is_said(place):
    place.put("in/a.jsonl", b'{"id": 1, "text_inputs": "a"}\n')

    def said(url):
        ran = textmill(
            *("run", url, "-o", place.url("out.jsonl"), "--engine", "echo"),
            *("--endpoint-url", place.s3_url),
        )
        assert ran.code == 2
        return ran.err

    assert f"write {place.url('in')}/" in said(place.url("in"))
    assert "check the name" in said(place.url("other"))


def test_an_endpoint_that_nothing_would_use_is_refused(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:1])
    endpoint = ("--endpoint-url", "http://127.0.0.1:9")
    ran = textmill("run", source, "-o", tmp_path / "out.jsonl", "--engine", "echo", *endpoint)
    assert (ran.code, "no input or output is in one" in ran.err) == (2, True)
    assert textmill("status", tmp_path / "out.jsonl", *endpoint).code == 2


def test_credentials_that_obstore_cannot_stand_are_no_traceback(tmp_path):
    """A token file that ends with a new line, as most editors write it."""
    (tmp_path / "token").write_text("secret\n")
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:1])
    env = environment(
        AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:9/login",
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "token"),
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        env.pop(name, None)
    ran = textmill("run", source, "-o", "s3://bucket/out.jsonl", "--engine", "echo", env=env)
    assert (ran.code, "s3://bucket/out.jsonl" in ran.err) == (2, True), ran.err
