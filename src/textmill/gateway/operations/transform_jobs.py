"""Transform jobs as requests see them; `gateway.jobs` brings them on."""

from __future__ import annotations

from typing import Any

from textmill.gateway.identity import identify
from textmill.gateway.jobs import ACTIVE, IN_PROGRESS, new_run
from textmill.gateway.operations.common import create, find, listed
from textmill.gateway.operations.models import container_of
from textmill.gateway.plane import Call, Operation, Plane, moment
from textmill.gateway.registry import Kind, Resource
from textmill.gateway.transform.orders import order_of
from textmill.gateway.wire.faults import invalid

_NOT_RUNNING = "The request was rejected because the transform job is in status"


def create_transform_job(plane: Plane, call: Call, said: dict[str, Any]) -> dict[str, Any]:
    """Refuses what could not run, HYPER_PARAMS and filters included, before there is a job."""
    model = find(plane, call, Kind.MODEL, said["ModelName"])
    container = container_of(model.said)
    order_of(said, identify(container, model.tags), container.get("Environment", {}))
    new = plane.new(
        call,
        Kind.TRANSFORM_JOB,
        said["TransformJobName"],
        said,
        status=IN_PROGRESS,
        run=new_run(),
        model={"container": container, "tags": model.tags},
    )
    arn = create(plane, call, new).arn
    plane.changed()
    return {"TransformJobArn": arn}


def describe_transform_job(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """As it was created, and how it stands."""
    found = find(plane, call, Kind.TRANSFORM_JOB, asked["TransformJobName"])
    return {
        **found.said,
        "TransformJobArn": found.arn,
        "TransformJobStatus": found.status,
        "FailureReason": found.reason,
        "CreationTime": moment(found.created),
        "TransformStartTime": moment(found.started),
        "TransformEndTime": moment(found.ended),
    }


def stop_transform_job(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Only one that runs can be stopped; stopping twice is once."""
    found = find(plane, call, Kind.TRANSFORM_JOB, asked["TransformJobName"])
    if found.status not in ACTIVE:
        raise invalid(f"{_NOT_RUNNING} {found.status}.")
    plane.jobs.stop(found)
    plane.changed()
    return {}


def list_transform_jobs(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """A page."""
    return listed(
        plane, call, Kind.TRANSFORM_JOB, asked, summary=_summary, member="TransformJobSummaries"
    )


def _summary(one: Resource) -> dict[str, Any]:
    return {
        "TransformJobName": one.name,
        "TransformJobArn": one.arn,
        "CreationTime": moment(one.created),
        "TransformEndTime": moment(one.ended),
        "LastModifiedTime": moment(one.modified),
        "TransformJobStatus": one.status,
        "FailureReason": one.reason,
    }


OPERATIONS: dict[str, Operation] = {
    "CreateTransformJob": create_transform_job,
    "DescribeTransformJob": describe_transform_job,
    "StopTransformJob": stop_transform_job,
    "ListTransformJobs": list_transform_jobs,
}
