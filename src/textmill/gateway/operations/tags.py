"""Tags of any resource, by its ARN."""

from __future__ import annotations

from typing import Any

from textmill.gateway.plane import Call, Operation, Plane, tags_of
from textmill.gateway.registry import Resource
from textmill.gateway.wire.faults import AwsError, invalid, not_found

_MAX_TAGS = 50


def add_tags(plane: Plane, call: Call, said: dict[str, Any]) -> dict[str, Any]:
    """New values replace old ones."""
    with plane.registry.mutex:
        found = _find(plane, call, said["ResourceArn"])
        tags = {**found.tags, **tags_of(said["Tags"])}
        if len(tags) > _MAX_TAGS:
            raise AwsError("ResourceLimitExceeded", f"{len(tags)} tags are over {_MAX_TAGS}")
        plane.registry.change(found, tags=tags)
    return {"Tags": _listed(tags)}


def list_tags(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """All of them: there are never more than one page."""
    if "NextToken" in asked:
        raise invalid("NextToken is none that was given out")
    return {"Tags": _listed(_find(plane, call, asked["ResourceArn"]).tags)}


def delete_tags(plane: Plane, call: Call, said: dict[str, Any]) -> dict[str, Any]:
    """Those that are not there are no error."""
    with plane.registry.mutex:
        found = _find(plane, call, said["ResourceArn"])
        gone = set(said["TagKeys"])
        plane.registry.change(found, tags={k: v for k, v in found.tags.items() if k not in gone})
    return {}


def _find(plane: Plane, call: Call, arn: str) -> Resource:
    found = plane.registry.find(arn)
    if found is None or found.region != call.region:
        raise not_found(f'resource "{arn}"')
    return found


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


OPERATIONS: dict[str, Operation] = {
    "AddTags": add_tags,
    "ListTags": list_tags,
    "DeleteTags": delete_tags,
}
