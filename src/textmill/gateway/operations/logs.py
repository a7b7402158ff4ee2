"""CloudWatch Logs: a stream for each transform job, `JOB/textmill/data-log`, in one group, and a
group for each endpoint, with a stream for each process that it has, `VARIANT/i-…`.

The SDK reads a job's stream again and again from the time of its last event, that event included,
and skips what it has: so events never change place, and an empty page is the end. Of an endpoint's
group it shows pages that have a token alone: so every page with events has one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from textmill.gateway.plane import Call, Operation, Plane
from textmill.gateway.registry import Kind, Resource
from textmill.gateway.transform.log import LOG, Event, read_log
from textmill.gateway.wire.faults import AwsError

TRANSFORM_JOBS = "/aws/sagemaker/TransformJobs"
ENDPOINTS = "/aws/sagemaker/Endpoints/"
_STREAM_END = "/textmill/data-log"
_DEFAULT_EVENTS, _DEFAULT_OTHERS = 10_000, 50
_TOKEN = "at-"  # noqa: S105  no secret; and no base64 of JSON, which clients would take for theirs


class Stream(Struct, frozen=True, order=True):
    """A stream, when it was created in milliseconds since 1970, and where its log is."""

    name: str
    created: int
    folder: Path


def describe_log_groups(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """That of jobs, and those of endpoints that have begun."""
    prefix, part = asked.get("logGroupNamePrefix", ""), asked.get("logGroupNamePattern", "")
    endpoints = plane.registry.all(Kind.ENDPOINT, call.region)
    names = [ENDPOINTS + one.name for one in endpoints if _of_endpoint(plane, one)]
    names = sorted(
        name for name in [*names, TRANSFORM_JOBS] if name.startswith(prefix) and part in name
    )
    page, token = _page(names, asked, _DEFAULT_OTHERS)
    return {"logGroups": [{"logGroupName": name} for name in page], "nextToken": token}


def describe_log_streams(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Those of a group, by name. SDKs never ask for a second page of a job's streams."""
    prefix = asked.get("logStreamNamePrefix", "")
    streams = [one for one in _streams(plane, call, asked) if one.name.startswith(prefix)]
    page, token = _page(streams, asked, _DEFAULT_OTHERS)
    shown = [{"logStreamName": one.name, "creationTime": one.created} for one in page]
    return {"logStreams": shown, "nextToken": token}


def get_log_events(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Events of one stream from a token or a time on. The last token is given again at the end."""
    name = asked["logStreamName"]
    stream = next((one for one in _streams(plane, call, asked) if one.name == name), None)
    if stream is None:
        raise _missing("stream")
    events = _between(read_log(stream.folder), asked)
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
    prefix, names = asked.get("logStreamNamePrefix", ""), asked.get("logStreamNames")
    found = [
        (one.at, stream.name, number, one)
        for stream in _streams(plane, call, asked)
        if stream.name.startswith(prefix) and (names is None or stream.name in names)
        for number, one in enumerate(_between(read_log(stream.folder), asked))
        if asked.get("filterPattern", "").strip('" ') in one.message
    ]
    found.sort(key=lambda item: item[:3])
    page, _ = _page(found, asked, _DEFAULT_EVENTS)
    events = [
        {**_event(one), "logStreamName": stream, "eventId": f"{stream}/{number}"}
        for _, stream, number, one in page
    ]
    return {"events": events, "nextToken": _token(_offset(asked) + len(page)) if page else None}


def _streams(plane: Plane, call: Call, asked: dict[str, Any]) -> list[Stream]:
    """Of the group that is asked for, by name. Raises `AwsError` if it is not there."""
    named: str = asked.get("logGroupName", asked.get("logGroupIdentifier", ""))
    group = named.rpartition(":log-group:")[2]
    if group == TRANSFORM_JOBS:
        jobs = plane.registry.all(Kind.TRANSFORM_JOB, call.region)
        return sorted(
            Stream(f"{job.name}{_STREAM_END}", int(job.created * 1000), plane.jobs.folder(job))
            for job in jobs
            if job.started is not None
        )
    if group.startswith(ENDPOINTS):
        name = group.removeprefix(ENDPOINTS)
        endpoint = plane.registry.get(Kind.ENDPOINT, call.region, name)
        if endpoint is not None and (streams := _of_endpoint(plane, endpoint)):
            return streams
    raise _missing("group")


def _of_endpoint(plane: Plane, endpoint: Resource) -> list[Stream]:
    """Of its processes that have begun. One that serves several endpoints has the log of all."""
    variant = (endpoint.model or {}).get("variant", {}).get("VariantName", "AllTraffic")
    created = int(endpoint.created * 1000)
    return sorted(
        Stream(f"{variant}/i-{folder.name[:17]}", created, folder)
        for folder in plane.endpoints.folders(endpoint)
        if (folder / LOG).exists()
    )


def _missing(what: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"The specified log {what} does not exist.")


def _between(events: Iterable[Event], asked: dict[str, Any]) -> Sequence[Event]:
    start, end = asked.get("startTime", 0), asked.get("endTime", 1 << 62)
    return [one for one in events if start <= one.at < end]


def _event(one: Event) -> dict[str, Any]:
    return {"timestamp": one.at, "message": one.message, "ingestionTime": one.at}


def _page(
    found: Sequence[Any], asked: dict[str, Any], size: int
) -> tuple[Sequence[Any], str | None]:
    """What a token and a limit say, and the token of what follows; None at the end."""
    start = _offset(asked)
    page = found[start : start + asked.get("limit", size)]
    end = start + len(page)
    return page, _token(end) if end < len(found) else None


def _token(offset: int) -> str:
    return f"{_TOKEN}{offset}"


def _offset(asked: dict[str, Any]) -> int:
    token = asked.get("nextToken", f"{_TOKEN}0")
    digits = token.removeprefix(_TOKEN)
    if digits == token or not digits.isascii() or not digits.isdigit() or len(digits) > 18:
        raise AwsError("InvalidParameterException", "The specified nextToken is invalid.")
    return int(digits)


OPERATIONS: dict[str, Operation] = {
    "DescribeLogGroups": describe_log_groups,
    "DescribeLogStreams": describe_log_streams,
    "GetLogEvents": get_log_events,
    "FilterLogEvents": filter_log_events,
}
