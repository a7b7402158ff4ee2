"""A gateway as a user runs it, a process of its own, and Amazon's own clients for it."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from support.command import environment

ROLE = "arn:aws:iam::000000000000:role/textmill"
CREDENTIALS = {"aws_access_key_id": "anybody", "aws_secret_access_key": "anything"}
ENDED = {"Completed", "Failed", "Stopped"}


class Running:
    """A gateway that answers."""

    def __init__(self, state: Path, *flags: str, **extra: str) -> None:
        self.state = state
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "textmill", "gateway"),
                *("--port", "0", "--state", str(state), *flags),
            ],
            env=environment(TEXTMILL_HOME=str(state.parent / "home"), **extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._said: queue.Queue[str] = queue.Queue()
        self.lines: list[str] = []
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()
        self.url = self._url()

    def _listen(self) -> None:
        with self._process.stdout as output:
            for line in output:
                self._said.put(line)
                self.lines.append(line)
        self._said.put("")

    def _url(self) -> str:
        line = self._said.get(timeout=60)
        assert " at http" in line, line + "".join(self.lines)
        return line.split()[-1]

    @property
    def pid(self) -> int:
        return self._process.pid

    def client(self, service: str, **more: Any) -> Any:
        said = {"region_name": "us-east-1", "endpoint_url": self.url, **CREDENTIALS, **more}
        return boto3.client(service, config=Config(retries={"max_attempts": 1}), **said)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._listener.join()

    def stop(self) -> int:
        self._process.terminate()
        status = self._process.wait(30)
        self._listener.join()
        assert "Traceback" not in "".join(self.lines), "".join(self.lines)
        return status


@contextmanager
def gateway(state: Path, *flags: str, **extra: str) -> Iterator[Running]:
    running = Running(state, *flags, **extra)
    try:
        yield running
    finally:
        running.stop()


def make_model(sagemaker: Any, name: str = "model", **variables: str) -> None:
    sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "any", "Environment": {"TEXTMILL_MODEL": "demo", **variables}},
    )


def job(name: str, source: str, output: str, **changed: Any) -> dict[str, Any]:
    """The request of a job as the article's notebook makes it."""
    data = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}}
    said: dict[str, Any] = {
        "TransformJobName": name,
        "ModelName": "model",
        "TransformInput": {
            "DataSource": data,
            "ContentType": "application/jsonlines",
            "SplitType": "Line",
        },
        "TransformOutput": {
            "S3OutputPath": output,
            "AssembleWith": "Line",
            "Accept": "application/jsonlines",
        },
        "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.p3.2xlarge"},
    }
    for key, value in changed.items():
        is_part = key in ("TransformInput", "TransformOutput")
        said[key] = {**said[key], **value} if is_part else value
    return said


def wait_for(sagemaker: Any, name: str, seconds: float = 60) -> dict[str, Any]:
    """How a job ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = sagemaker.describe_transform_job(TransformJobName=name)
        if found["TransformJobStatus"] in ENDED:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{name} did not end: {found}")


def objects(s3: Any, bucket: str, prefix: str = "") -> dict[str, bytes]:
    """The objects of a bucket by key."""
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return {
        one["Key"]: s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in listed
    }


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
