"""Endpoint configurations: which models an endpoint has, and nothing that runs."""

from __future__ import annotations

from typing import Any

from textmill.gateway.operations.common import create, find, listed
from textmill.gateway.plane import Call, Operation, Plane, moment
from textmill.gateway.registry import Kind, Resource
from textmill.gateway.wire.faults import invalid

_UNSUPPORTED = {
    "DataCaptureConfig": "nothing is captured",
    "AsyncInferenceConfig": "there is no asynchronous inference",
    "ExplainerConfig": "there are no explainers",
    "ShadowProductionVariants": "there are no shadow variants",
}


def create_endpoint_config(plane: Plane, call: Call, said: dict[str, Any]) -> dict[str, Any]:
    """Its models must exist."""
    for name, why in _UNSUPPORTED.items():
        if name == "DataCaptureConfig" and not said.get(name, {}).get("EnableCapture"):
            continue
        if name in said:
            raise invalid(f"{name}: {why} here")
    variants = said["ProductionVariants"]
    if len(variants) != 1:
        raise invalid(f"an endpoint has one production variant here, not {len(variants)}")
    name = variants[0].get("ModelName")
    if name is None:
        raise invalid("ProductionVariants: a variant needs a ModelName here")
    find(plane, call, Kind.MODEL, name)
    new = plane.new(call, Kind.ENDPOINT_CONFIG, said["EndpointConfigName"], said)
    return {"EndpointConfigArn": create(plane, call, new).arn}


def describe_endpoint_config(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """As it was created."""
    found = find(plane, call, Kind.ENDPOINT_CONFIG, asked["EndpointConfigName"])
    return {**found.said, "EndpointConfigArn": found.arn, "CreationTime": moment(found.created)}


def delete_endpoint_config(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """Endpoints that were made with it go on."""
    plane.registry.remove(find(plane, call, Kind.ENDPOINT_CONFIG, asked["EndpointConfigName"]))
    return {}


def list_endpoint_configs(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """A page."""
    return listed(
        plane, call, Kind.ENDPOINT_CONFIG, asked, summary=_summary, member="EndpointConfigs"
    )


def _summary(one: Resource) -> dict[str, Any]:
    return {
        "EndpointConfigName": one.name,
        "EndpointConfigArn": one.arn,
        "CreationTime": moment(one.created),
    }


OPERATIONS: dict[str, Operation] = {
    "CreateEndpointConfig": create_endpoint_config,
    "DescribeEndpointConfig": describe_endpoint_config,
    "DeleteEndpointConfig": delete_endpoint_config,
    "ListEndpointConfigs": list_endpoint_configs,
}
