"""What creating, describing, listing and deleting have in common for all kinds of resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from textmill.gateway.listing import page
from textmill.gateway.plane import Call, Plane
from textmill.gateway.registry import Kind, Resource
from textmill.gateway.wire.faults import invalid, not_found

WORDS = {
    Kind.MODEL: "model",
    Kind.ENDPOINT_CONFIG: "endpoint configuration",
    Kind.ENDPOINT: "endpoint",
    Kind.TRANSFORM_JOB: "transform job",
}


def create(plane: Plane, call: Call, new: Resource) -> Resource:
    """Keep a new resource. A request that is sent again, its answer lost, changes nothing.

    Raises `AwsError` if the name is taken, in the words that SDKs look for.
    """
    registry = plane.registry
    with registry.mutex:
        there = registry.get(*new.key)
        if there is None:
            return registry.put(new)
    if call.invocation is not None and there.invocation == call.invocation:
        return there
    raise invalid(f'Cannot create already existing {WORDS[new.kind]} "{there.arn}".')


def find(plane: Plane, call: Call, kind: Kind, name: str) -> Resource:
    """A resource by its name. Raises `AwsError`."""
    found = plane.registry.get(kind, call.region, name)
    if found is None:
        raise not_found(f'{WORDS[kind]} "{plane.arn(call.region, kind, name)}"')
    return found


def listed(
    plane: Plane,
    call: Call,
    kind: Kind,
    asked: Mapping[str, Any],
    *,
    summary: Callable[[Resource], dict[str, Any]],
    member: str,
) -> dict[str, Any]:
    """A page of the resources of one kind, under the name that the output has for them."""
    shown, token = page(plane.registry.all(kind, call.region), asked)
    return {member: [summary(one) for one in shown], "NextToken": token}
