"""Answers and errors in the wire format of their service, made from the operation's own model."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

from msgspec import Struct

from textmill.gateway.wire.faults import AwsError
from textmill.gateway.wire.models import (
    IAM,
    LOGS,
    RUNTIME,
    SAGEMAKER,
    STS,
    Shape,
    operation,
    service,
)

JSON = "application/x-amz-json-1.1"


class Answer(Struct, frozen=True):
    """What goes over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


def request_id() -> str:
    """A new one."""
    return str(uuid.uuid4())


def answer(service_name: str, operation_name: str, output: Mapping[str, Any], id_: str) -> Answer:
    """A success. `output` has the members of the operation's output; None is left out."""
    model = operation(service_name, operation_name)
    if service_name in (STS, IAM):
        return _query_answer(model, output, id_)
    if service_name == RUNTIME:
        return _rest_answer(model.output_shape, output, id_)
    headers = {"content-type": JSON, "x-amzn-requestid": id_}
    if model.output_shape is None:
        return Answer(200, headers, b"")
    return Answer(200, headers, _dumps(_json_value(model.output_shape, output)))


def failure(service_name: str, error: AwsError, id_: str) -> Answer:
    """An error, as the service's clients read it."""
    if service_name in (STS, IAM):
        return _query_failure(service_name, error, id_)
    headers = {"content-type": JSON, "x-amzn-requestid": id_}
    if service_name in (SAGEMAKER, LOGS):
        body = {"__type": error.code, "message": error.message, **error.more}
        return Answer(error.status, headers, _dumps(body))
    headers |= {"content-type": "application/json", "x-amzn-errortype": error.code}
    return Answer(error.status, headers, _dumps({"Message": error.message, **error.more}))


def _dumps(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "backslashreplace"
    )


def _json_value(shape: Shape, value: Any) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return {
            shape.members[name].serialization.get("name", name): _json_value(
                shape.members[name], member
            )
            for name, member in value.items()
            if member is not None
        }
    if kind == "list":
        return [_json_value(shape.member, one) for one in value]
    if kind == "map":
        return {key: _json_value(shape.value, one) for key, one in value.items()}
    if kind == "timestamp":
        return _epoch(value)
    if kind == "blob":
        return base64.b64encode(value).decode()
    return value


def _epoch(value: datetime) -> float | int:
    """Seconds since 1970 to the microsecond, without a fraction where there is none."""
    since = value - datetime(1970, 1, 1, tzinfo=UTC)
    whole = since.days * 86_400 + since.seconds
    return whole + since.microseconds / 1e6 if since.microseconds else whole


def _rest_answer(shape: Shape, output: Mapping[str, Any], id_: str) -> Answer:
    headers = {"x-amzn-requestid": id_}
    payload = shape.serialization.get("payload")
    for name, value in output.items():
        if name != payload and value is not None:
            headers[shape.members[name].serialization["name"].lower()] = str(value)
    return Answer(200, headers, output.get(payload) or b"")


def _query_answer(model: Any, output: Mapping[str, Any], id_: str) -> Answer:
    name, namespace = model.name, model.service_model.metadata.get("xmlNamespace", "")
    wrapper = (model.output_shape.serialization if model.output_shape else {}).get(
        "resultWrapper", f"{name}Result"
    )
    inner = _xml_members(model.output_shape, output) if model.output_shape else ""
    body = (
        f'<{name}Response xmlns="{namespace}"><{wrapper}>{inner}</{wrapper}>'
        f"<ResponseMetadata><RequestId>{id_}</RequestId></ResponseMetadata></{name}Response>"
    )
    return Answer(200, {"content-type": "text/xml", "x-amzn-requestid": id_}, body.encode())


def _query_failure(service_name: str, error: AwsError, id_: str) -> Answer:
    namespace = service(service_name).metadata.get("xmlNamespace", "")
    kind = "Sender" if error.status < 500 else "Receiver"
    body = (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>{kind}</Type>'
        f"<Code>{_text(error.code)}</Code><Message>{_text(error.message)}</Message></Error>"
        f"<RequestId>{id_}</RequestId></ErrorResponse>"
    )
    headers = {"content-type": "text/xml", "x-amzn-requestid": id_}
    return Answer(error.status, headers, body.encode())


def _xml_members(shape: Shape, value: Mapping[str, Any]) -> str:
    parts = []
    for name, member in value.items():
        if member is not None:
            inner = shape.members[name]
            parts.append(_xml(inner, inner.serialization.get("name", name), member))
    return "".join(parts)


def _xml(shape: Shape, name: str, value: Any) -> str:
    kind = shape.type_name
    if kind == "list" and shape.serialization.get("flattened"):
        return "".join(_xml(shape.member, name, one) for one in value)
    if kind == "structure":
        inner = _xml_members(shape, value)
    elif kind == "list":
        item = shape.member.serialization.get("name", "member")
        inner = "".join(_xml(shape.member, item, one) for one in value)
    elif kind == "map":
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        inner = "".join(
            f"<entry>{_xml(shape.key, key_name, key)}{_xml(shape.value, value_name, one)}</entry>"
            for key, one in value.items()
        )
    else:
        inner = _xml_scalar(kind, value)
    return f"<{name}>{inner}</{name}>"


def _xml_scalar(kind: str, value: Any) -> str:
    if kind == "timestamp":
        return str(value.astimezone(UTC).isoformat(timespec="microseconds")).replace("+00:00", "Z")
    if kind == "blob":
        return base64.b64encode(value).decode()
    if kind == "boolean":
        return "true" if value else "false"
    return _text(str(value))


def _text(text: str) -> str:
    """Text in XML; a character that XML cannot hold becomes U+FFFD."""
    kept = "".join(c if _is_xml(c) else "\ufffd" for c in text)
    return escape(kept, {"\r": "&#13;"})


def _is_xml(character: str) -> bool:
    code = ord(character)
    return (
        code in (0x9, 0xA, 0xD)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or code >= 0x10000
    )
