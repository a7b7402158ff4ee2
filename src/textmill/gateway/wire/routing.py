"""One origin for six services: which of them a request means, and which operation.

The header `X-Amz-Target` names an operation of the JSON services. Everything else is told by the
signature's scope, `…/<region>/<service>/aws4_request`, and by the path: a bucket called
`endpoints` and the runtime's path differ only in the scope.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from msgspec import Struct

from textmill.gateway.wire.faults import AwsError
from textmill.gateway.wire.models import IAM, LOGS, RUNTIME, SAGEMAKER, STS
from textmill.words import written

S3 = "s3"
DEFAULT_REGION = "us-east-1"

_TARGETS = {"SageMaker": SAGEMAKER, "Logs_20140328": LOGS}
_CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request")
_QUERY_CREDENTIAL = re.compile(r"([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request")
_REGION = re.compile(r"[a-z]{2}(-[a-z0-9]+){1,4}")
_INVOKE = re.compile(r"/endpoints/([^/]+)/(invocations|invocations-response-stream)")
_ASYNC = re.compile(r"/endpoints/([^/]+)/async-invocations")
_RUNTIME_OPERATIONS = {
    "invocations": "InvokeEndpoint",
    "invocations-response-stream": "InvokeEndpointWithResponseStream",
}


class Scope(Struct, frozen=True):
    """What a signature says it is good for."""

    access_key: str
    date: str
    region: str
    service: str


class Destination(Struct, frozen=True):
    """Where a request goes.

    service: one of `wire.models`, or "s3". operation: "" for S3, which is told by method and query.
    uri: what the path holds, by the names of the operation's members.
    """

    service: str
    operation: str = ""
    region: str = DEFAULT_REGION
    uri: dict[str, str] = {}


def scope_of(headers: Mapping[str, str], query: Mapping[str, str]) -> Scope | None:
    """The scope of a signed request, in its header or its query; None if it is not signed."""
    authorization = headers.get("authorization", "")
    if authorization:
        match = _CREDENTIAL.search(authorization)
    elif "X-Amz-Credential" in query:
        match = _QUERY_CREDENTIAL.fullmatch(query["X-Amz-Credential"])
    else:
        return None
    if match is None:
        raise AwsError("IncompleteSignature", "the signature has no credential scope", 403)
    return Scope(*match.groups())


def route(
    method: str,
    path: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    scope: Scope | None,
) -> Destination:
    """Where a request goes; for queries of STS and IAM the body names the operation.

    headers: by lower-case names. path: still percent-encoded. Raises `AwsError`.
    """
    region = _region(scope)
    target = headers.get("x-amz-target")
    if target is not None:
        prefix, _, operation = target.rpartition(".")
        if prefix not in _TARGETS:
            raise AwsError(
                "UnknownOperationException", f"there is no service {written(prefix[:100])}"
            )
        return Destination(_TARGETS[prefix], operation, region)
    service = scope.service if scope else None
    if service in (STS, IAM) and method in {"POST", "GET"}:
        return Destination(service, "", region)
    if method == "POST" and service in (SAGEMAKER, None) and not query:
        if match := _INVOKE.fullmatch(path):
            operation, name = _RUNTIME_OPERATIONS[match[2]], unquote(match[1])
            return Destination(RUNTIME, operation, region, {"EndpointName": name})
        if match := _ASYNC.fullmatch(path):
            return Destination(
                RUNTIME, "InvokeEndpointAsync", region, {"EndpointName": unquote(match[1])}
            )
    if service in (S3, None):
        return Destination(S3, "", region)
    raise AwsError(
        "UnknownOperationException", f"there is no such operation of {written(service[:50])}"
    )


def _region(scope: Scope | None) -> str:
    if scope is None:
        return DEFAULT_REGION
    if not _REGION.fullmatch(scope.region):
        raise AwsError("IncompleteSignature", f"{written(scope.region[:50])} is not a region", 403)
    return scope.region
