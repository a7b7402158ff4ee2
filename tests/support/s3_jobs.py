"""Whole jobs on S3 as a test sees them: its own prefix of the bucket, through Amazon's client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.command import SOURCE, Ran, environment
from support.s3_server import Call, s3_client
from support.stores import BUCKET

OUTPUTS = ("out.errors.jsonl", "out.jsonl", "out.manifest.json")
"""What a job with rows without a result leaves, and nothing else."""


class Prefix:
    """All objects whose keys begin with the same name."""

    def __init__(self, s3_url: str, name: str) -> None:
        self.s3_url, self._name = s3_url, f"{name}/"
        self._client = s3_client(s3_url)

    def url(self, name: str = "") -> str:
        """The object as textmill calls it."""
        return f"s3://{BUCKET}/{self._name}{name}"

    def put(self, name: str, data: bytes) -> str:
        """Write an object; returns its URL."""
        self._client.put_object(Bucket=BUCKET, Key=self._name + name, Body=data)
        return self.url(name)

    def get(self, name: str) -> bytes:
        """An object's bytes."""
        found = self._client.get_object(Bucket=BUCKET, Key=self._name + name)
        return bytes(found["Body"].read())

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._client.delete_object(Bucket=BUCKET, Key=self._name + name)

    def json(self, name: str) -> Any:
        """A JSON object."""
        return json.loads(self.get(name))

    def names(self, below: str = "") -> list[str]:
        """All objects there are."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Prefix=self._name + below
        )
        keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
        return [key.removeprefix(self._name) for key in keys]

    def uploads(self) -> list[str]:
        """Multipart uploads that were begun and neither completed nor aborted."""
        found = self._client.list_multipart_uploads(Bucket=BUCKET, Prefix=self._name)
        return [upload["Key"] for upload in found.get("Uploads", ())]


def begin(source: str, output: str, endpoint_url: str, *flags: str) -> subprocess.Popen[bytes]:
    """A run that leases for seconds and syncs every frame, as a process."""
    words = (source, output, "--endpoint-url", endpoint_url, *flags)
    path = os.pathsep.join((str(SOURCE), str(Path(__file__).parents[1])))
    return subprocess.Popen(
        [sys.executable, "-m", "support.s3_run", *words],
        env=environment(PYTHONPATH=path, PYTHONWARNINGS="default::UserWarning"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def end(process: subprocess.Popen[bytes], seconds: float = 120) -> Ran:
    """Wait for it so long; fails the test if it printed a traceback."""
    out, err = process.communicate(timeout=seconds)
    assert b"Traceback" not in err, err.decode()
    return Ran(process.returncode, out.decode(), err.decode())


def rows_in_parts(place: Prefix, job: str = "out.jsonl.job/") -> tuple[set[int], set[str]]:
    """The rows that stand in parts, and the parts that are complete; read without textmill.

    Only for a job with one writer so far: of several, not all segments count.
    """
    rows: set[int] = set()
    complete: set[str] = set()
    for name in (name for name in place.names(job) if "/parts/" in name):
        for line in map(json.loads, place.get(name).splitlines()):
            if "n" in line:
                rows.add(line["n"])
            elif line["rows"] is not None:
                complete.add(name.rpartition("/")[0])
    return rows, complete


def changes(call: Call) -> bool:
    """Whether the request changes something, renewals of the lease left out: their number is a
    matter of time."""
    renewal = "/lock" in call.path and "if-match" in call.headers
    return call.method in {"PUT", "POST", "DELETE"} and not renewal
