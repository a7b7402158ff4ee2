"""Models: an image that means nothing here, data or a name, and an environment."""

from __future__ import annotations

from typing import Any

from textmill.gateway.identity import identify
from textmill.gateway.operations.common import create, find, listed
from textmill.gateway.plane import Call, Operation, Plane, moment
from textmill.gateway.registry import Kind, Resource
from textmill.gateway.wire.faults import invalid


def create_model(plane: Plane, call: Call, said: dict[str, Any]) -> dict[str, Any]:
    """Also refuses a model that is none of textmill's: a job would only find out later."""
    new = plane.new(call, Kind.MODEL, said["ModelName"], said)
    identify(container_of(said), new.tags)
    return {"ModelArn": create(plane, call, new).arn}


def container_of(said: dict[str, Any]) -> dict[str, Any]:
    """The one container of a model. Raises `AwsError` for none and for several."""
    containers = [said["PrimaryContainer"]] if "PrimaryContainer" in said else []
    containers += said.get("Containers", [])
    if len(containers) != 1:
        raise invalid(f"a model has one container here, not {len(containers)}")
    container: dict[str, Any] = containers[0]
    if "ModelPackageName" in container:
        raise invalid("ModelPackageName: there are no model packages here")
    if container.get("Mode", "SingleModel") != "SingleModel":
        raise invalid(f"Mode {container['Mode']}: a container serves one model here")
    return container


def describe_model(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """As it was created."""
    found = find(plane, call, Kind.MODEL, asked["ModelName"])
    return {**found.said, "ModelArn": found.arn, "CreationTime": moment(found.created)}


def delete_model(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Whatever uses it goes on: jobs and endpoints know what it was."""
    plane.registry.remove(find(plane, call, Kind.MODEL, asked["ModelName"]))
    return {}


def list_models(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """A page."""
    return listed(plane, call, Kind.MODEL, asked, summary=_summary, member="Models")


def _summary(one: Resource) -> dict[str, Any]:
    return {"ModelName": one.name, "ModelArn": one.arn, "CreationTime": moment(one.created)}


OPERATIONS: dict[str, Operation] = {
    "CreateModel": create_model,
    "DescribeModel": describe_model,
    "DeleteModel": delete_model,
    "ListModels": list_models,
}
