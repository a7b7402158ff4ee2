"""Transform jobs through boto3: SageMaker's semantics on real runs of the echo engine."""

from __future__ import annotations

import ast
import gzip
import json

import pytest

pytest.importorskip("uvicorn")

from support.gateway import gateway, job, make_model, objects, wait_for

MIB = 1 << 20


def lines(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def record(id_, text, **more):
    return {"id": id_, "text_inputs": text, **more}


LONG = "x" * (MIB // 3)
"""Three of these and their ids are over one megabyte, two are not."""

INPUTS = {
    "plain/a.jsonl": lines(*[record(n, f"text {n}") for n in range(5)]),
    "plain/sub/b.jsonl": lines(record({"k": [1.50]}, "quotes ' \" and\nlines"), record("x", "é")),
    "plain/folder/": b"",
    "plainer.jsonl": lines(record("other", "prefix")),
    "batches/a.jsonl": lines(*[record(n, LONG) for n in range(5)]),
    "bad/good.jsonl": lines(record(1, "one")),
    "bad/torn.jsonl": lines(record(1, "one")) + b'\n{"id": 7, "text_inputs": 5}\n{"id": 3\n',
    "bad/empty.jsonl": b"",
    "other/a.json": b'[{"id": 1, "text_inputs": "one"},\n {"id": 2, "text_inputs": "two"}]',
    "other/b.csv": b"id,text_inputs\n1,one\n",
    "other/deep.jsonl": b'{"id": ' + b"[" * 200_000 + b'\n{"id": 2, "text_inputs": 5}\n',
    "other/c.parquet": b"PAR1" + bytes(range(256)),
    "other/d.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "other/good.jsonl": lines(record(1, "one")),
    "lacking/a.jsonl": lines({"id": 5, "text": "one"}),
    "hot/a.jsonl": lines(record(9, "one", temperature="hot")),
    "whole/deep.json": b'{"text_inputs": "x", "id": ' + b"[" * 200_000,
    "large/a.jsonl": lines(record(0, "small"), record(1, "y" * (MIB + 1)), record(2, "small")),
    "gz/a.jsonl.gz": gzip.compress(lines(record(0, "zipped"))),
    "gz/twice.jsonl.gz": gzip.compress(gzip.compress(lines(record(0, "zipped")))),
    "gz/not.jsonl": lines(record(0, "plain")),
    "whole/one.json": b'{\n "text_inputs": "one",\n "id": 4\n}',
    "whole/list.json": b'{"text_inputs": ["a", "b"], "max_new_tokens": 9}',
    "whole/bad.json": b'{"text_inputs": ',
    "texts/a.txt": "first line\r\nzweite Zeile ü\n\nlast".encode(),
    "listed/m.manifest.json": b'[{"prefix": "s3://data/plain/"}, "sub/b.jsonl"]',
    "nested/a.jsonl": lines(
        {"id": 1, "meta": {"n": 1}, "body": {"text_inputs": "one"}},
        {"id": 2, "body": {"text_inputs": "two"}, "SageMakerOutput": 0},
    ),
    "params/a.jsonl": lines(record(0, "abcdefgh", max_new_tokens=3), record(1, "abcdefgh")),
    "same/a.jsonl": lines(record(0, "twice"), record(0, "twice")),
}
CSV = {"Accept": "text/csv"}
FAIL_FREE = {"bad/torn.jsonl", "bad/good.jsonl"}


def asked(name, **changed):
    """A job over the folder of its own name, or over `source`."""
    source = changed.pop("source", f"s3://data/{name}/")
    return job(name.replace("_", "-"), source, f"s3://data/out/{name}", **changed)


JOBS = [
    asked("plain", TransformOutput=CSV),
    asked("batches", TransformOutput=CSV, MaxPayloadInMB=1),
    asked("single", source="s3://data/plain/a", TransformOutput=CSV, BatchStrategy="SingleRecord"),
    asked(
        "spread",
        source="s3://data/plain/",
        TransformOutput=CSV,
        MaxConcurrentTransforms=8,
        TransformResources={"InstanceCount": 4, "InstanceType": "ml.m5.24xlarge"},
    ),
    asked("prefix", source="s3://data/plain"),
    asked("bad"),
    asked(
        "bad_placeholder", source="s3://data/bad/", Environment={"TEXTMILL_ON_ERROR": "placeholder"}
    ),
    asked("bad_letters", source="s3://data/bad/", Environment={"TEXTMILL_ON_ERROR": "dead-letter"}),
    asked("other"),
    asked("lacking"),
    asked(
        "lacking_placeholder",
        source="s3://data/lacking/",
        TransformOutput=CSV,
        Environment={"TEXTMILL_ON_ERROR": "placeholder"},
    ),
    asked("lacking_filtered", source="s3://data/lacking/", DataProcessing={"InputFilter": "$.x"}),
    asked("hot"),
    asked("large", MaxPayloadInMB=1),
    asked("gz", TransformInput={"CompressionType": "Gzip"}),
    asked("zipped_as_plain", source="s3://data/gz/a"),
    asked(
        "whole",
        TransformInput={"ContentType": "application/json", "SplitType": "None"},
        TransformOutput={"AssembleWith": "None", "Accept": "application/json"},
    ),
    asked("texts", TransformInput={"ContentType": "application/x-text"}),
    asked(
        "listed",
        TransformInput={
            "DataSource": {
                "S3DataSource": {
                    "S3DataType": "ManifestFile",
                    "S3Uri": "s3://data/listed/m.manifest.json",
                }
            }
        },
    ),
    asked(
        "nested",
        DataProcessing={
            "InputFilter": "$.body",
            "JoinSource": "Input",
            "OutputFilter": "$['id','SageMakerOutput']",
        },
    ),
    asked("joined", source="s3://data/plain/sub/", DataProcessing={"JoinSource": "Input"}),
    asked("params"),
    asked(
        "params_of_the_job",
        source="s3://data/params/",
        Environment={"HYPER_PARAMS": "{'max_new_tokens': 2, 'batch_size': 4}"},
    ),
    asked("same"),
    asked("nothing", source="s3://data/there-is-nothing/"),
    asked("no_bucket", source="s3://no-such-bucket/x"),
]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """All jobs at once; what came of each, and the objects of its output."""
    state = tmp_path_factory.mktemp("transform") / "state"
    with gateway(state, "--engine", "echo", "--jobs", "2") as running:
        s3, sagemaker = running.client("s3"), running.client("sagemaker")
        s3.create_bucket(Bucket="data")
        for key, body in INPUTS.items():
            s3.put_object(Bucket="data", Key=key, Body=body)
        make_model(sagemaker)
        for one in JOBS:
            sagemaker.create_transform_job(**one)
        found = {}
        for one in JOBS:
            name = one["TransformJobName"].replace("-", "_")
            prefix = f"out/{name}/"
            how = wait_for(sagemaker, one["TransformJobName"], 120)
            how["outputs"] = {
                key.removeprefix(prefix): body for key, body in objects(s3, "data", prefix).items()
            }
            found[name] = how
        found["logs"] = running.client("logs")
        yield found


def ok(job):
    assert job["TransformJobStatus"] == "Completed", job.get("FailureReason")
    return job["outputs"]


def failed(job):
    assert job["TransformJobStatus"] == "Failed"
    return job["FailureReason"]


def rows(body):
    return [json.loads(line) for line in body.splitlines()]


def test_csv_is_pythons_repr_of_each_record_and_ids_are_echoed(done):
    outputs = ok(done["plain"])
    assert outputs.keys() == {"a.jsonl.out", "sub/b.jsonl.out"}
    assert outputs["a.jsonl.out"] == (
        b"".join(b"{'id': %d, 'generated_texts': ['text %d']}\n" % (n, n) for n in range(5)) + b"\n"
    )
    found = [ast.literal_eval(line) for line in outputs["sub/b.jsonl.out"].decode().split("\n")[:2]]
    assert found == [
        {"id": {"k": [1.5]}, "generated_texts": ["quotes ' \" and\nlines"]},
        {"id": "x", "generated_texts": ["é"]},
    ]


def test_each_request_of_many_records_ends_with_an_empty_line(done):
    """As many whole records as fit in MaxPayloadInMB: two, two, one."""
    text = ok(done["batches"])["a.jsonl.out"].decode()
    requests = [part.split("\n") for part in text.split("\n\n")]
    assert [[ast.literal_eval(line)["id"] for line in one if line] for one in requests] == [
        [0, 1],
        [2, 3],
        [4],
        [],
    ]


def test_single_records_each_end_with_an_empty_line(done):
    assert ok(done["single"])["a.jsonl.out"].count(b"\n\n") == 5


def test_instances_and_concurrency_change_no_result_and_the_log_says_so(done):
    assert ok(done["spread"]) == ok(done["plain"])
    said = "InstanceCount and MaxConcurrentTransforms change neither results nor speed"
    assert said in log_of(done, "spread")
    assert said not in log_of(done, "plain")


def test_a_prefix_takes_every_key_that_begins_with_it(done):
    """The output's key is what follows the prefix's last slash; folder markers are no input."""
    outputs = ok(done["prefix"])
    assert outputs.keys() == {
        "plain/a.jsonl.out",
        "plain/sub/b.jsonl.out",
        "plainer.jsonl.out",
    }
    assert rows(outputs["plainer.jsonl.out"]) == [{"id": "other", "generated_texts": ["prefix"]}]


def test_json_lines_are_real_json_lines(done):
    assert ok(done["prefix"])["plain/a.jsonl.out"] == b"".join(
        b'{"id": %d, "generated_texts": ["text %d"]}\n' % (n, n) for n in range(5)
    )


def test_a_bad_record_costs_its_object_and_no_other(done):
    reason = failed(done["bad"])
    assert done["bad"]["outputs"] == {
        "good.jsonl.out": b'{"id": 1, "generated_texts": ["one"]}\n',
        "empty.jsonl.out": b"",
    }
    assert reason.startswith("ClientError: s3://data/bad/torn.jsonl: line 3 (id 7): bad_record")
    assert "2 without a result in 1 objects" in reason


def test_an_object_of_another_format_costs_itself_and_no_other(done):
    reason = failed(done["other"])
    assert done["other"]["outputs"].keys() == {"good.jsonl.out"}
    assert reason.startswith("ClientError: s3://data/other/a.json: line 1: bad_json")
    text = log_of(done, "other")
    assert "other/b.csv: line 1: bad_json" in text
    assert "other/c.parquet is a Parquet file" in text
    assert "other/d.png is an image" in text
    assert "other/deep.jsonl: line 1: bad_json: nested deeper than" in text
    assert "other/deep.jsonl: line 2 (id 2): bad_record" in text


def test_records_that_all_lack_their_text_are_named(done):
    for name in ("lacking", "lacking_filtered"):
        assert "s3://data/lacking/a.jsonl: line 1 (id 5): missing_field" in failed(done[name])
    text = ok(done["lacking_placeholder"])["a.jsonl.out"].decode()
    shown = ast.literal_eval(text.splitlines()[0])
    assert (shown["id"], shown["error"]["code"]) == (5, "missing_field")


def test_a_reason_is_one_line(done):
    reason = failed(done["hot"])
    assert "line 1 (id 9): bad_parameter: temperature=" in reason
    assert "\n" not in reason


def test_bad_records_may_have_placeholders(done):
    found = rows(ok(done["bad_placeholder"])["torn.jsonl.out"])
    assert found[0] == {"id": 1, "generated_texts": ["one"]}
    assert (found[1]["id"], found[1]["error"]["code"]) == (7, "bad_record")
    assert (found[2].get("id"), found[2]["error"]["code"]) == (None, "bad_json")


def test_bad_records_may_go_to_an_object_of_their_own(done):
    outputs = ok(done["bad_letters"])
    assert rows(outputs["torn.jsonl.out"]) == [{"id": 1, "generated_texts": ["one"]}]
    letters = rows(outputs["torn.jsonl.out.errors.jsonl"])
    assert [(one["id"], one["line"], one["code"]) for one in letters] == [
        (7, 3, "bad_record"),
        (None, 4, "bad_json"),
    ]
    assert "good.jsonl.out.errors.jsonl" not in outputs


def test_a_record_over_the_payload_fails_its_object(done):
    assert "line 2: too_long" in failed(done["large"])
    assert "MaxPayloadInMB=1" in done["large"]["FailureReason"]
    assert done["large"]["outputs"] == {}


def test_compression_is_what_the_request_says(done):
    reason = failed(done["gz"])
    assert rows(done["gz"]["outputs"]["a.jsonl.gz.out"]) == [
        {"id": 0, "generated_texts": ["zipped"]}
    ]
    assert "not.jsonl is not gzipped" in reason
    assert "twice.jsonl.gz is compressed twice" in log_of(done, "gz")
    assert "compressed, though CompressionType is None" in failed(done["zipped_as_plain"])


def test_whole_objects_are_one_payload(done):
    reason = failed(done["whole"])
    assert done["whole"]["outputs"] == {
        "one.json.out": b'{"id": 4, "generated_texts": ["one"]}',
        "list.json.out": b'[{"generated_texts": ["a"]}, {"generated_texts": ["b"]}]',
    }
    assert "whole/bad.json: line 1: bad_json" in reason
    assert "whole/deep.json: line 1: bad_json" in log_of(done, "whole")


def test_lines_of_text(done):
    assert rows(ok(done["texts"])["a.txt.out"]) == [
        {"generated_text": "first line"},
        {"generated_text": "zweite Zeile ü"},
        {"generated_text": "last"},
    ]


def test_a_manifest_names_its_objects(done):
    assert ok(done["listed"]).keys() == {"sub/b.jsonl.out"}


def test_filters_and_joins(done):
    assert rows(ok(done["nested"])["a.jsonl.out"]) == [
        {"id": 1, "SageMakerOutput": {"id": 1, "generated_texts": ["one"]}},
        {"id": 2, "SageMakerOutput": {"id": 2, "generated_texts": ["two"]}},
    ]
    joined = rows(ok(done["joined"])["b.jsonl.out"])
    assert joined[1] == {
        "id": "x",
        "text_inputs": "é",
        "SageMakerOutput": {"id": "x", "generated_texts": ["é"]},
    }


def test_records_have_their_own_parameters_unless_the_job_has_hyper_params(done):
    own = rows(ok(done["params"])["a.jsonl.out"])
    assert [one["generated_texts"] for one in own] == [["abc"], ["abcdefgh"]]
    ruled = rows(ok(done["params_of_the_job"])["a.jsonl.out"])
    assert [one["generated_texts"] for one in ruled] == [["ab"], ["ab"]]
    shown = done["params_of_the_job"]
    assert shown["Environment"]["HYPER_PARAMS"] == "{'max_new_tokens': 2, 'batch_size': 4}"
    assert "records' own parameters were ignored" in log_of(done, "params-of-the-job")


def test_equal_ids_are_no_error(done):
    assert len(rows(ok(done["same"])["a.jsonl.out"])) == 2


def test_an_input_that_is_not_there(done):
    assert "no object's key begins with" in failed(done["nothing"])
    assert "there is no such bucket" in failed(done["no_bucket"])


def log_of(done, name):
    """As the SageMaker SDK reads a log: from the last event's time on, skipping what it has."""
    logs, group = done["logs"], "/aws/sagemaker/TransformJobs"
    (stream,) = logs.describe_log_streams(
        logGroupName=group, logStreamNamePrefix=f"{name}/", orderBy="LogStreamName", limit=1
    )["logStreams"]
    found, start, skip = [], 0, 0
    while True:
        page = logs.get_log_events(
            logGroupName=group,
            logStreamName=stream["logStreamName"],
            startTime=start,
            startFromHead=True,
            limit=3 + skip,
        )
        new = page["events"][skip:]
        if not new:
            return "\n".join(event["message"] for event in found)
        found += new
        start = found[-1]["timestamp"]
        skip = sum(event["timestamp"] == start for event in found)


def test_the_log_says_what_became_of_each_record(done):
    text = log_of(done, "bad")
    assert "MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD" in text
    assert "3 objects, 4 records in 2 requests" in text
    assert text.count("s3://data/bad/torn.jsonl: line") == 3
    assert ":[sagemaker logs]: " in text


@pytest.mark.full
def test_a_batch_has_its_time_and_its_tries(tmp_path):
    """ModelClientConfig: a record that takes longer is tried again, and then fails its object."""
    with gateway(tmp_path / "state") as running:
        s3, sagemaker = running.client("s3"), running.client("sagemaker")
        s3.create_bucket(Bucket="data")
        s3.put_object(Bucket="data", Key="slow/a.jsonl", Body=lines(record(1, "word " * 400)))
        make_model(sagemaker)
        slow = {"HYPER_PARAMS": "{'max_new_tokens': 9000, 'min_new_tokens': 8999, 'num_beams': 8}"}
        limits = {"InvocationsTimeoutInSeconds": 1, "InvocationsMaxRetries": 2}
        asked_for = asked("slow", ModelClientConfig=limits, Environment=slow)
        sagemaker.create_transform_job(**asked_for)
        found = wait_for(sagemaker, "slow", 120)
        assert "AlgorithmError: s3://data/slow/a.jsonl: line 1 (id 1): timeout" in failed(found)
        assert "allow more with ModelClientConfig's InvocationsTimeoutInSeconds" in failed(found)
        assert "--timeout" not in failed(found)
        assert found["ModelClientConfig"] == limits
        text = log_of({"logs": running.client("logs")}, "slow")
        assert text.count("1 records are tried again") == 2


def test_times_and_states(done):
    for name in ("plain", "bad"):
        one = done[name]
        assert one["CreationTime"] <= one["TransformStartTime"] <= one["TransformEndTime"]
        assert one["TransformResources"]["InstanceType"] == "ml.p3.2xlarge"
