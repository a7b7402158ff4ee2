"""What the operations work on, and what they are told about a request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from textmill.gateway.endpoints import Endpoints
from textmill.gateway.jobs import Jobs
from textmill.gateway.registry import Kind, Registry, Resource

ROLE = "textmill"


class Call(Struct, frozen=True):
    """A request apart from its parameters. invocation: equal for each try of one request."""

    region: str
    invocation: str | None = None


class Plane(Struct):
    """The gateway without its wire. changed: to be called when there is something to bring on."""

    registry: Registry
    jobs: Jobs
    endpoints: Endpoints
    account: str
    changed: Callable[[], None]

    def arn(self, region: str, kind: Kind, name: str) -> str:
        """The ARN of a resource; SageMaker writes names in small letters there."""
        return f"arn:aws:sagemaker:{region}:{self.account}:{kind}/{name.lower()}"

    def new(
        self, call: Call, kind: Kind, name: str, said: Mapping[str, Any], **more: Any
    ) -> Resource:
        """A resource as a request describes it."""
        now = time.time()
        return Resource(
            kind=kind,
            region=call.region,
            name=name,
            arn=self.arn(call.region, kind, name),
            created=now,
            modified=now,
            said={key: value for key, value in said.items() if key != "Tags"},
            tags=tags_of(said.get("Tags", [])),
            invocation=call.invocation,
            **more,
        )


Operation = Callable[[Plane, Call, dict[str, Any]], Mapping[str, Any]]


def tags_of(listed: list[dict[str, str]]) -> dict[str, str]:
    """Tags by their keys."""
    return {tag["Key"]: tag["Value"] for tag in listed}


def moment(seconds: float | None) -> datetime | None:
    """Seconds since 1970 as the wire's writers take them."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
