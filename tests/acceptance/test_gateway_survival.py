"""Jobs that are stopped, and gateways and workers that are killed: nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from botocore.exceptions import ClientError

from support.command import environment, textmill
from support.gateway import Running, gateway, is_running, job, make_model, objects, wait_for

ROWS = 20_000


@pytest.fixture(scope="module")
def rows():
    return "".join(
        json.dumps({"id": n, "text_inputs": f"text number {n}"}) + "\n" for n in range(ROWS)
    ).encode()


@pytest.fixture(scope="module")
def native(rows, tmp_path_factory):
    """What `textmill run` makes of the same rows."""
    folder = tmp_path_factory.mktemp("native")
    (folder / "in.jsonl").write_bytes(rows)
    env = environment(TEXTMILL_HOME=str(folder / "home"))
    ran = textmill(
        "run", folder / "in.jsonl", "-o", folder / "out.jsonl", "--engine", "echo", env=env
    )
    assert ran.code == 0, ran.err
    return (folder / "out.jsonl").read_bytes()


def put(running, rows):
    """The rows in the gateway's S3, and a model."""
    s3, sagemaker = running.client("s3"), running.client("sagemaker")
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="in/a.jsonl", Body=rows)
    make_model(sagemaker)
    return s3, sagemaker


def workers(state):
    """Processes of jobs, by the folder of state that they work in."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"gateway.transform.worker" in line and str(state).encode() in line:
                found.append(int(entry.name))
    return found


def until(true, seconds=30):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def served(tmp_path_factory, rows):
    """A gateway whose workers are stopped and killed, itself unharmed."""
    with gateway(tmp_path_factory.mktemp("served") / "state", "--engine", "echo") as running:
        put(running, rows)
        yield running


@pytest.mark.parametrize("moment", ["before-its-work", "in-its-work"])
def test_a_stopped_job_has_no_output(served, moment):
    s3, sagemaker = served.client("s3"), served.client("sagemaker")
    sagemaker.create_transform_job(**job(moment, "s3://data/in/", f"s3://data/{moment}"))
    if moment == "in-its-work":
        until(lambda: list((served.state / "jobs").glob("*/native.jsonl.job/parts/*")))
    sagemaker.stop_transform_job(TransformJobName=moment)
    assert wait_for(sagemaker, moment)["TransformJobStatus"] == "Stopped"
    assert objects(s3, "data", moment) == {}
    until(lambda: not workers(served.state))
    with pytest.raises(ClientError) as caught:
        sagemaker.stop_transform_job(TransformJobName=moment)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    listed = sagemaker.list_transform_jobs(StatusEquals="Stopped", NameContains=moment)
    assert [one["TransformJobName"] for one in listed["TransformJobSummaries"]] == [moment]


def test_a_worker_that_is_killed_is_followed_by_another(served, native):
    sagemaker = served.client("sagemaker")
    sagemaker.create_transform_job(**job("killed", "s3://data/in/", "s3://data/out"))
    for _ in range(2):
        until(lambda: workers(served.state))
        time.sleep(0.4)
        for pid in workers(served.state):
            os.kill(pid, signal.SIGKILL)
    assert wait_for(sagemaker, "killed")["TransformJobStatus"] == "Completed"
    assert objects(served.client("s3"), "data", "out") == {"out/a.jsonl.out": native}


def kill_and_start_again(tmp_path, rows, seeds):
    """Kill gateways at random moments of one job; the output, and how often it was published."""
    state = tmp_path / "state"
    flags = ("--engine", "echo")
    running = Running(state, *flags)
    try:
        s3, sagemaker = put(running, rows)
        sagemaker.create_transform_job(**job("job", "s3://data/in/", "s3://data/out"))
        for seed in seeds:
            time.sleep(random.Random(seed).random() * 0.8)
            running.kill()
            running = Running(state, *flags)
        s3, sagemaker = running.client("s3"), running.client("sagemaker")
        found = wait_for(sagemaker, "job", 120)
        assert found["TransformJobStatus"] == "Completed", found.get("FailureReason")
        return objects(s3, "data", "out")
    finally:
        running.stop()
        until(lambda: not workers(state))


def test_a_gateway_killed_again_and_again_finishes_its_job(tmp_path, rows, native):
    assert kill_and_start_again(tmp_path, rows, range(2)) == {"out/a.jsonl.out": native}


@pytest.mark.full
def test_fifty_kills(tmp_path, rows, native):
    for group in range(10):
        folder = tmp_path / str(group)
        folder.mkdir()
        seeds = range(100 + 5 * group, 105 + 5 * group)
        assert kill_and_start_again(folder, rows, seeds) == {"out/a.jsonl.out": native}


def test_a_gateway_that_is_ended_takes_its_workers_along_and_goes_on_later(tmp_path, rows, native):
    state = tmp_path / "state"
    running = Running(state, "--engine", "echo")
    _, sagemaker = put(running, rows)
    sagemaker.create_transform_job(**job("job", "s3://data/in/", "s3://data/out"))
    until(lambda: workers(state))
    (pid,) = workers(state)
    running.stop()
    assert not is_running(pid)
    with gateway(state, "--engine", "echo") as again:
        sagemaker = again.client("sagemaker")
        assert wait_for(sagemaker, "job")["TransformJobStatus"] == "Completed"
        assert objects(again.client("s3"), "data", "out") == {"out/a.jsonl.out": native}
