"""Who the client is, as SDKs ask before anything else. There is one account and one role."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from textmill.gateway.plane import ROLE, Call, Operation, Plane
from textmill.gateway.wire.faults import AwsError

_BEGAN = datetime(2024, 1, 1, tzinfo=UTC)


def role_arn(plane: Plane) -> str:
    """The one role's."""
    return f"arn:aws:iam::{plane.account}:role/{ROLE}"


def get_caller_identity(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """An assumed role: SDKs make a role of it, and would refuse a user."""
    return {
        "UserId": f"AROATEXTMILL:{ROLE}",
        "Account": plane.account,
        "Arn": f"arn:aws:sts::{plane.account}:assumed-role/{ROLE}/{ROLE}",
    }


def get_role(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """The role of that name."""
    name = asked["RoleName"]
    if name != ROLE:
        raise AwsError("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
    return {
        "Role": {
            "Path": "/",
            "RoleName": ROLE,
            "RoleId": "AROATEXTMILL",
            "Arn": role_arn(plane),
            "CreateDate": _BEGAN,
        }
    }


def describe_notebook_instance(plane: Plane, call: Call, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    """What SDKs on a notebook instance ask for their role: any name is this machine."""
    return {
        "NotebookInstanceName": asked["NotebookInstanceName"],
        "NotebookInstanceStatus": "InService",
        "RoleArn": role_arn(plane),
    }


STS_OPERATIONS: dict[str, Operation] = {"GetCallerIdentity": get_caller_identity}
IAM_OPERATIONS: dict[str, Operation] = {"GetRole": get_role}
SAGEMAKER_OPERATIONS: dict[str, Operation] = {
    "DescribeNotebookInstance": describe_notebook_instance
}
