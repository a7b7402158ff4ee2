"""Endpoints as requests see them; `gateway.endpoints` brings them on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from textmill.gateway.endpoints import (
    CREATING,
    DELETING,
    FAILED,
    IN_SERVICE,
    RECOVERING,
    UPDATING,
)
from textmill.gateway.operations.common import create, find, listed
from textmill.gateway.operations.models import container_of
from textmill.gateway.plane import Call, Operation, Plane, moment
from textmill.gateway.registry import Kind, Resource
from textmill.gateway.transform.orders import HYPER_PARAMS, checked_hyper_params
from textmill.gateway.wire.faults import AwsError, invalid

_PASSED_ON = {
    "ContentType": "content-type",
    "Accept": "accept",
    "CustomAttributes": "x-amzn-sagemaker-custom-attributes",
}
_NOT_HERE = {
    "TargetModel": "an endpoint has one model",
    "TargetContainerHostname": "an endpoint has one container",
    "InferenceComponentName": "there are no inference components",
    "EnableExplanations": "there are no explainers",
    "SessionId": "there are no sessions",
}
_OF_TRIES = ("amz-sdk-invocation-id", "amz-sdk-request", "traceparent")


def create_endpoint(plane: Plane, call: Call, said: dict[str, Any]) -> dict[str, Any]:
    """What its config says now is what it serves, whatever becomes of config and model."""
    model = _served_by(plane, call, said["EndpointConfigName"])
    new = plane.new(
        call,
        Kind.ENDPOINT,
        said["EndpointName"],
        said,
        status=CREATING,
        run=plane.endpoints.run_for(model),
        model=model,
    )
    arn = create(plane, call, new).arn
    plane.changed()
    return {"EndpointArn": arn}


def _served_by(plane: Plane, call: Call, config_name: str) -> dict[str, Any]:
    config = find(plane, call, Kind.ENDPOINT_CONFIG, config_name)
    variant = config.said["ProductionVariants"][0]
    model = find(plane, call, Kind.MODEL, variant["ModelName"])
    container = container_of(model.said)
    checked_hyper_params(container.get("Environment", {}).get(HYPER_PARAMS))
    startup = variant.get("ContainerStartupHealthCheckTimeoutInSeconds")
    return {
        "container": container,
        "tags": model.tags,
        "variant": variant,
        **({} if startup is None else {"startup": startup}),
    }


def update_endpoint(plane: Plane, call: Call, said: dict[str, Any]) -> dict[str, Any]:
    """The old process answers until the new one does."""
    found = find(plane, call, Kind.ENDPOINT, said["EndpointName"])
    if found.status not in {IN_SERVICE, FAILED}:
        raise invalid(f'Cannot update endpoint "{found.arn}" in status {found.status}.')
    model = _served_by(plane, call, said["EndpointConfigName"])
    run = plane.endpoints.run_for(model)
    coming = {"config": said["EndpointConfigName"], "model": model, "run": run}
    plane.registry.change(found, status=UPDATING, coming=coming, modified=time.time())
    plane.changed()
    return {"EndpointArn": found.arn}


def describe_endpoint(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """How it stands."""
    found = find(plane, call, Kind.ENDPOINT, asked["EndpointName"])
    variant = (found.model or {}).get("variant", {})
    count = variant.get("InitialInstanceCount", 1)
    weight = variant.get("InitialVariantWeight", 1.0)
    return {
        "EndpointName": found.name,
        "EndpointArn": found.arn,
        "EndpointConfigName": found.said["EndpointConfigName"],
        "ProductionVariants": [
            {
                "VariantName": variant.get("VariantName"),
                "CurrentWeight": weight,
                "DesiredWeight": weight,
                "CurrentInstanceCount": count,
                "DesiredInstanceCount": count,
            }
        ],
        "EndpointStatus": found.status,
        "FailureReason": found.reason,
        "CreationTime": moment(found.created),
        "LastModifiedTime": moment(found.modified),
    }


def delete_endpoint(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """It is gone once its process has answered what it had taken."""
    found = find(plane, call, Kind.ENDPOINT, asked["EndpointName"])
    plane.registry.change(found, status=DELETING, modified=time.time())
    plane.changed()
    return {}


def list_endpoints(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
    """A page."""
    return listed(plane, call, Kind.ENDPOINT, asked, summary=_summary, member="Endpoints")


def _summary(one: Resource) -> dict[str, Any]:
    return {
        "EndpointName": one.name,
        "EndpointArn": one.arn,
        "CreationTime": moment(one.created),
        "LastModifiedTime": moment(one.modified),
        "EndpointStatus": one.status,
    }


def invoke_endpoint(
    plane: Plane, call: Call, asked: Mapping[str, Any], headers: Mapping[str, str]
) -> dict[str, Any]:
    """The answer of the endpoint's process; its errors as SageMaker wraps them."""
    name = asked["EndpointName"]
    found = plane.registry.get(Kind.ENDPOINT, call.region, name)
    if found is None:
        message = f"Endpoint {name} of account {plane.account} not found."
        raise AwsError("ValidationError", message)
    variant = (found.model or {}).get("variant", {}).get("VariantName", "AllTraffic")
    _check_call(found, variant, asked)
    sent = {header: asked[member] for member, header in _PASSED_ON.items() if member in asked}
    sent |= {name: headers[name] for name in _OF_TRIES if name in headers}
    try:
        reply = plane.endpoints.ask(found, asked["Body"], sent)
    except TimeoutError as error:
        raise _model_error(0, "the model did not answer in time", plane, found) from error
    except OSError as error:
        raise AwsError("ServiceUnavailable", f"Endpoint {name} is recovering.", 503) from error
    if reply.status in (429, 503):
        message = reply.body.decode("utf-8", "replace")
        raise AwsError("ServiceUnavailable", message, 503)
    if reply.status >= 400:
        message = reply.body.decode("utf-8", "replace")
        raise _model_error(reply.status, message, plane, found)
    return {
        "Body": reply.body,
        "ContentType": reply.content_type,
        "InvokedProductionVariant": variant,
        "CustomAttributes": asked.get("CustomAttributes"),
    }


def _check_call(endpoint: Resource, variant: str, asked: Mapping[str, Any]) -> None:
    """Raise `AwsError` for a call that this endpoint does not answer, now or ever."""
    for member, why in _NOT_HERE.items():
        if member in asked:
            raise AwsError("ValidationError", f"{member}: {why} here")
    if asked.get("TargetVariant", variant) != variant:
        message = f"Variant {asked['TargetVariant']} not found for Request"
        raise AwsError("ValidationError", message)
    if endpoint.status not in {IN_SERVICE, UPDATING, RECOVERING}:
        message = f"Endpoint {endpoint.name} is in status {endpoint.status}."
        raise AwsError("ValidationError", message)


def _model_error(status: int, text: str, plane: Plane, endpoint: Resource) -> AwsError:
    kind = "client" if 400 <= status < 500 else "server"
    group = f"/aws/sagemaker/Endpoints/{endpoint.name}"
    return AwsError(
        "ModelError",
        f'Received {kind} error ({status}) from primary with message "{text}".',
        424,
        {
            "OriginalStatusCode": status,
            "OriginalMessage": text,
            "LogStreamArn": f"arn:aws:logs:{endpoint.region}:{plane.account}:log-group:{group}",
        },
    )


OPERATIONS: dict[str, Operation] = {
    "CreateEndpoint": create_endpoint,
    "UpdateEndpoint": update_endpoint,
    "DescribeEndpoint": describe_endpoint,
    "DeleteEndpoint": delete_endpoint,
    "ListEndpoints": list_endpoints,
}
