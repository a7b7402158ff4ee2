"""The OpenAPI document of an endpoint: what the routes read and answer. Pure."""

from __future__ import annotations

from typing import Any

from textmill.params import PARAMETERS
from textmill.serving.limits import Limits
from textmill.serving.refusals import STATUS, Code

Schema = dict[str, Any]

_STRING: Schema = {"type": "string"}
_STRINGS: Schema = {"type": "array", "items": _STRING}
_ID: Schema = {"type": ["string", "integer", "null"]}
_TYPES = {
    "an integer": ["integer"],
    "one token id": ["integer"],
    "a number": ["number"],
    "true or false": ["boolean"],
    "true, false": ["boolean", "string"],
    "a text, or a list": ["string", "array"],
    "a text": ["string"],
    "a list": ["array"],
}
"""JSON types by how a parameter's rule begins."""


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def document(model: str, version: str, limits: Limits) -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"textmill: {model}",
            "version": version,
            "description": "A text-to-text model behind an endpoint that batches across calls.",
        },
        "paths": _paths(model),
        "components": {
            "schemas": _schemas(model, limits),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{}, {"bearer": []}, {"key": []}],
    }


def _paths(model: str) -> dict[str, Any]:
    named = f"/v2/models/{model}"
    return {
        "/invocations": {"post": _invocation("invoke", "SageMaker's container", "Error")},
        "/endpoints/{name}/invocations": {
            "post": {
                **_invocation("invokeEndpoint", "SageMaker's InvokeEndpoint", "AwsError", aws=True),
                "parameters": [
                    {
                        "name": "name",
                        "in": "path",
                        "required": True,
                        "schema": {
                            "type": "string",
                            "pattern": "^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
                        },
                    }
                ],
            }
        },
        "/ping": _get("ping", "Whether a batch was really computed lately", None),
        "/execution-parameters": _get(
            "executionParameters", "How batch transform should call", "ExecutionParameters"
        ),
        "/v1/completions": {"post": _post("completions", "Completion", "CompletionAnswer")},
        "/v1/models": _get("models", "The model, as OpenAI lists it", "Object"),
        "/v2": _get("server", "The server, as KServe describes it", "Object"),
        "/v2/health/live": _get("live", "Whether the process works", None),
        "/v2/health/ready": _get("ready", "As ping", None),
        named: _get("metadata", "The model, as KServe describes it", "Object"),
        f"{named}/ready": _get("modelReady", "As ping", None),
        f"{named}/infer": {"post": _post("infer", "Infer", "InferAnswer", error="KserveError")},
        "/live": _get("figures", "The figures of the page", "Object"),
    }


def _get(operation: str, summary: str, schema: str | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": summary}
    if schema is not None:
        answer["content"] = {"application/json": {"schema": _ref(schema)}}
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "responses": {"200": answer, **_errors("AnyError", get=True)},
        }
    }


def _post(operation: str, asked: str, answer: str, error: str = "OpenAIError") -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(asked)}}
    answered = {"application/json": {"schema": _ref(answer)}}
    return {
        "operationId": operation,
        "summary": operation,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": {"description": "texts", "content": answered}, **_errors(error)},
    }


def _invocation(operation: str, summary: str, error: str, *, aws: bool = False) -> dict[str, Any]:
    asked = {
        "application/json": {"schema": _ref("Invocation")},
        "application/jsonlines": {"schema": _STRING},
        "application/x-text": {"schema": _STRING},
    }
    answered = {
        "application/json": {"schema": _ref("InvocationAnswer")},
        "application/jsonlines": {"schema": _STRING},
        "text/csv": {"schema": _STRING},
    }
    return {
        "operationId": operation,
        "summary": summary,
        "requestBody": {"required": True, "content": asked},
        "responses": {
            "200": {"description": "texts", "content": answered},
            **_errors(error, aws=aws),
        },
    }


def _errors(schema: str, *, get: bool = False, aws: bool = False) -> dict[str, Any]:
    statuses = {401, 403, 404, 405, 429, 503} if get else set(STATUS.values())
    if aws:
        statuses |= {424}
    content = {"application/json": {"schema": _ref(schema)}}
    return {
        str(status): {"description": _codes(status), "content": content}
        for status in sorted(statuses)
    }


def _codes(status: int) -> str:
    return ", ".join(code for code in Code if STATUS[code] == status) or "the model said no"


def _schemas(model: str, limits: Limits) -> dict[str, Any]:
    code = {"type": "string", "enum": [code.value for code in Code]}
    error = _object({"code": code, "message": _STRING}, "code", "message")
    return {
        "Object": {"type": "object"},
        "Parameters": _object(_parameters(), extra=False),
        "Invocation": {"anyOf": [_ref("TextInputs"), _ref("Inputs")]},
        "TextInputs": _object(
            {"text_inputs": _texts(limits), "id": _ID, **_parameters()}, "text_inputs", extra=False
        ),
        "Inputs": _object(
            {"inputs": _texts(limits), "parameters": _ref("Parameters")}, "inputs", extra=False
        ),
        "InvocationAnswer": {"type": ["object", "array"]},
        "ExecutionParameters": _object(
            {
                "MaxConcurrentTransforms": {"type": "integer"},
                "BatchStrategy": _STRING,
                "MaxPayloadInMB": {"type": "integer"},
            },
            "MaxConcurrentTransforms",
            "BatchStrategy",
            "MaxPayloadInMB",
        ),
        "Completion": _object(
            {
                "prompt": _texts(limits),
                "model": {"type": "string", "enum": [model]},
                "max_tokens": {"type": "integer", "minimum": 1},
                "temperature": {"type": "number"},
                "n": {"type": "integer", "minimum": 1},
                "seed": {"type": "integer"},
                "stop": {"anyOf": [_STRING, _STRINGS]},
            },
            "prompt",
            extra=False,
        ),
        "CompletionAnswer": _object({"choices": {"type": "array"}}, "choices", "model"),
        "Infer": _object(
            {
                "id": _STRING,
                "inputs": {
                    "type": "array",
                    "items": _ref("Tensor"),
                    "minItems": 1,
                    "maxItems": 1,
                },
                "parameters": _ref("Parameters"),
            },
            "inputs",
            extra=False,
        ),
        "Tensor": _object(
            {
                "name": _STRING,
                "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
                "datatype": {"type": "string", "enum": ["BYTES"]},
                "data": _STRINGS,
            },
            *("name", "shape", "datatype", "data"),
            extra=False,
        ),
        "InferAnswer": _object({"outputs": {"type": "array"}}, "outputs", "model_name"),
        "Error": error,
        "AwsError": _object({"Message": _STRING, "ErrorCode": code}, "Message", "ErrorCode"),
        "OpenAIError": _object(
            {"error": _object({"message": _STRING, "code": code}, "message", "code")}, "error"
        ),
        "KserveError": _object({"error": _STRING, "code": code}, "error", "code"),
        "AnyError": {"type": "object"},
    }


def _object(properties: dict[str, Any], *required: str, extra: bool = True) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "required": list(required)}
    if not extra:
        schema["additionalProperties"] = False
    return schema


def _texts(limits: Limits) -> Schema:
    several = {"type": "array", "items": _STRING, "minItems": 1, "maxItems": limits.max_texts}
    return {"anyOf": [_STRING, several]}


def _parameters() -> dict[str, Any]:
    return {
        name: {"description": parameter.doc, **_type(parameter.rule)}
        for parameter in PARAMETERS
        if not parameter.model_only
        for name in (parameter.name, *parameter.aliases)
    }


def _type(rule: str) -> Schema:
    """The JSON types that a parameter's rule allows."""
    words = rule.removeprefix("must be ")
    found = next(types for beginning, types in _TYPES.items() if words.startswith(beginning))
    return {"type": [*found, "null"] if words.endswith("or null") else found}
