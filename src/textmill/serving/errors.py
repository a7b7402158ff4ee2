"""Refusals as answers over HTTP, in the words of the dialect that was spoken. Pure."""

from __future__ import annotations

from math import ceil
from typing import Any

from starlette.responses import JSONResponse, Response

from textmill.serving import kserve, openai
from textmill.serving.refusals import Code, Refused

_AWS_TYPES = {
    Code.OVERLOADED: "ThrottlingException",
    Code.RATE_LIMITED: "ThrottlingException",
    Code.NOT_READY: "ServiceUnavailable",
    Code.UNAUTHORIZED: "AccessDeniedException",
    Code.FORBIDDEN: "AccessDeniedException",
    Code.NOT_FOUND: "ValidationError",
    Code.METHOD_NOT_ALLOWED: "ValidationError",
    Code.INTERNAL: "InternalFailure",
}
_MODEL_ERROR_STATUS = 424
_CLOSING = frozenset({Code.TOO_LARGE, Code.SLOW_REQUEST})
"""The rest of such a body is not read: the connection ends."""


def error_response(refused: Refused, path: str) -> Response:
    """The answer to a call that was refused."""
    headers = {}
    if refused.retry_after_s is not None:
        headers["retry-after"] = str(ceil(refused.retry_after_s))
    if refused.allowed:
        headers["allow"] = ", ".join(refused.allowed)
    if refused.code is Code.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer, Basic realm="textmill"'
    if refused.code in _CLOSING:
        headers["connection"] = "close"
    if path.startswith("/endpoints/"):
        return _aws_response(refused, headers)
    return JSONResponse(_body(refused, path), status_code=refused.status, headers=headers)


def _body(refused: Refused, path: str) -> dict[str, Any]:
    if path.startswith("/v1/"):
        return openai.error_body(refused)
    if path.startswith("/v2"):
        return kserve.error_body(refused)
    return {"code": refused.code.value, "message": refused.message}


def _aws_response(refused: Refused, headers: dict[str, str]) -> Response:
    """As SageMaker's InvokeEndpoint answers: what the model says no to is a `ModelError`."""
    kind = _AWS_TYPES.get(refused.code)
    if kind is not None:
        status = 400 if kind == "ValidationError" else refused.status
        headers["x-amzn-errortype"] = kind
        body = {"Message": refused.message, "ErrorCode": refused.code.value}
        return JSONResponse(body, status_code=status, headers=headers)
    who = "client error" if refused.status < 500 else "server error"
    message = f'Received {who} ({refused.status}) from primary with message "{refused.message}"'
    headers["x-amzn-errortype"] = "ModelError"
    body = {
        "Message": message,
        "OriginalStatusCode": refused.status,  # type: ignore[dict-item]
        "OriginalMessage": _body(refused, "")["message"],
        "LogStreamArn": "",
        "ErrorCode": refused.code.value,
    }
    return JSONResponse(body, status_code=_MODEL_ERROR_STATUS, headers=headers)
