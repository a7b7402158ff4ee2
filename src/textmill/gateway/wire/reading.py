"""The parameters of an operation out of a request: JSON 1.1, queries, and REST with a payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from textmill.gateway.wire.checking import checked
from textmill.gateway.wire.faults import AwsError, unreadable
from textmill.gateway.wire.models import operation
from textmill.gateway.wire.routing import Destination

_VERSION_KEYS = {"Action", "Version"}


def form(body: bytes) -> dict[str, str]:
    """The fields of a query's body. Raises `AwsError`."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=100
        )
    except (UnicodeDecodeError, ValueError) as error:
        raise AwsError("MalformedQueryString", "the body is no query string") from error
    return dict(pairs)


def json_parameters(destination: Destination, body: bytes) -> dict[str, Any]:
    """Of SageMaker and CloudWatch Logs. Raises `AwsError`."""
    shape = operation(destination.service, destination.operation).input_shape
    try:
        sent = msgspec.json.decode(body) if body else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(f"the body is no JSON: {error}") from error
    return checked(shape, sent)


def query_parameters(destination: Destination, fields: Mapping[str, str]) -> dict[str, Any]:
    """Of STS and IAM, whose operations here take texts only. Raises `AwsError`."""
    shape = operation(destination.service, destination.operation).input_shape
    given = {name: value for name, value in fields.items() if name not in _VERSION_KEYS}
    return checked(shape, given)


def rest_parameters(
    destination: Destination, headers: Mapping[str, str], body: bytes
) -> dict[str, Any]:
    """Of the runtime: members in the path, in headers, and the body as it is. Raises `AwsError`.

    The model's limit for a body is an old one; that of today is checked before it is read.
    """
    shape = operation(destination.service, destination.operation).input_shape
    payload = shape.serialization.get("payload")
    sent: dict[str, Any] = dict(destination.uri)
    for name, member in shape.members.items():
        if member.serialization.get("location") == "header":
            value = headers.get(member.serialization.get("name", name).lower())
            if value is not None:
                sent[name] = value
    if payload is not None:
        sent[payload] = b""
    try:
        found = checked(shape, sent)
    except AwsError as error:
        raise AwsError("ValidationError", error.message, error.status) from error
    return found if payload is None else {**found, payload: body}
