"""CloudWatch Logs of transform jobs: one stream for each, `JOB/textmill/data-log`.

The SDK reads a stream again and again from the time of its last event, that event included, and
skips what it has: so events never change place, and an empty page is the end.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from textmill.gateway.plane import Call, Operation, Plane
from textmill.gateway.registry import Kind, Resource
from textmill.gateway.transform.log import Event, read_log
from textmill.gateway.wire.faults import AwsError

TRANSFORM_JOBS = "/aws/sagemaker/TransformJobs"
_STREAM_END = "/textmill/data-log"
_DEFAULT_EVENTS, _DEFAULT_STREAMS = 10_000, 50


def describe_log_groups(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """There is one."""
    prefix = asked.get("logGroupNamePrefix", "")
    shown = TRANSFORM_JOBS.startswith(prefix) and asked.get("logGroupNamePattern", "") in (
        TRANSFORM_JOBS
    )
    return {"logGroups": [{"logGroupName": TRANSFORM_JOBS}] if shown else []}


def describe_log_streams(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Those of a group, by name. SDKs never ask for a second page of a job's streams."""
    _check_group(asked)
    prefix = asked.get("logStreamNamePrefix", "")
    streams = [(stream, job) for stream, job in _streams(plane, call) if stream.startswith(prefix)]
    start, size = _offset(asked), asked.get("limit", _DEFAULT_STREAMS)
    page = streams[start : start + size]
    more = start + len(page) < len(streams)
    return {
        "logStreams": [
            {"logStreamName": stream, "creationTime": int(job.created * 1000)}
            for stream, job in page
        ],
        "nextToken": _token(start + len(page)) if more else None,
    }


def get_log_events(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Events of one stream from a token or a time on. The last token is given again at the end."""
    _check_group(asked)
    stream = asked["logStreamName"]
    job = next((job for name, job in _streams(plane, call) if name == stream), None)
    if job is None:
        raise _missing("stream")
    events = _between(read_log(plane.jobs.folder(job)), asked)
    size = asked.get("limit", _DEFAULT_EVENTS)
    first = 0 if asked.get("startFromHead") else max(0, len(events) - size)
    start = _offset(asked) if "nextToken" in asked else first
    page = events[start : start + size]
    return {
        "events": [_event(one) for one in page],
        "nextForwardToken": _token(start + len(page)),
        "nextBackwardToken": _token(max(0, start - size)),
    }


def filter_log_events(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Events of several streams, by time. A pattern is a text that they contain."""
    _check_group(asked)
    prefix, names = asked.get("logStreamNamePrefix", ""), asked.get("logStreamNames")
    found = [
        (one.at, stream, number, one)
        for stream, job in _streams(plane, call)
        if stream.startswith(prefix) and (names is None or stream in names)
        for number, one in enumerate(_between(read_log(plane.jobs.folder(job)), asked))
        if asked.get("filterPattern", "").strip('" ') in one.message
    ]
    found.sort(key=lambda item: item[:3])
    start, size = _offset(asked), asked.get("limit", _DEFAULT_EVENTS)
    page = found[start : start + size]
    events = [
        {**_event(one), "logStreamName": stream, "eventId": f"{stream}/{number}"}
        for _, stream, number, one in page
    ]
    more = start + len(page) < len(found)
    return {"events": events, "nextToken": _token(start + len(page)) if more else None}


def _streams(plane: Plane, call: Call) -> list[tuple[str, Resource]]:
    """Of all jobs that have begun."""
    jobs = plane.registry.all(Kind.TRANSFORM_JOB, call.region)
    return sorted((f"{job.name}{_STREAM_END}", job) for job in jobs if job.started is not None)


def _check_group(asked: dict[str, Any]) -> None:
    if asked.get("logGroupName", asked.get("logGroupIdentifier")) != TRANSFORM_JOBS:
        raise _missing("group")


def _missing(what: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"The specified log {what} does not exist.")


def _between(events: Iterable[Event], asked: dict[str, Any]) -> Sequence[Event]:
    start, end = asked.get("startTime", 0), asked.get("endTime", 1 << 62)
    return [one for one in events if start <= one.at < end]


def _event(one: Event) -> dict[str, Any]:
    return {"timestamp": one.at, "message": one.message, "ingestionTime": one.at}


def _token(offset: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % offset).decode()


def _offset(asked: dict[str, Any]) -> int:
    if "nextToken" not in asked:
        return 0
    try:
        return max(0, min(int(base64.urlsafe_b64decode(asked["nextToken"])), 1 << 62))
    except ValueError:
        message = "The specified nextToken is invalid."
        raise AwsError("InvalidParameterException", message) from None


OPERATIONS: dict[str, Operation] = {
    "DescribeLogGroups": describe_log_groups,
    "DescribeLogStreams": describe_log_streams,
    "GetLogEvents": get_log_events,
    "FilterLogEvents": filter_log_events,
}
