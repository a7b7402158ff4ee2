"""The operations, by service and name: each takes checked parameters and gives its output."""

from __future__ import annotations

from textmill.gateway.operations import (
    configs,
    endpoints,
    identities,
    logs,
    models,
    tags,
    transform_jobs,
)
from textmill.gateway.plane import Operation

OPERATIONS: dict[str, dict[str, Operation]] = {
    "sagemaker": {
        **models.OPERATIONS,
        **configs.OPERATIONS,
        **endpoints.OPERATIONS,
        **transform_jobs.OPERATIONS,
        **tags.OPERATIONS,
        **identities.SAGEMAKER_OPERATIONS,
    },
    "logs": logs.OPERATIONS,
    "sts": identities.STS_OPERATIONS,
    "iam": identities.IAM_OPERATIONS,
}

AT_ONCE = frozenset(
    f"Describe{what}" for what in ("Model", "EndpointConfig", "Endpoint", "TransformJob")
)
"""Those that look up one thing in memory: handing them to a thread costs more than they do."""
