"""Orders of transform jobs."""

from __future__ import annotations

from textmill.gateway.identity import Identity
from textmill.gateway.transform.orders import Order, order_of


def order(kind: str = "application/jsonlines", compression: str = "None") -> Order:
    """Each line a record, the demo model, all else as it is by default."""
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in/"}}
    said = {
        "TransformJobName": "job",
        "TransformInput": {
            "DataSource": source,
            "ContentType": kind,
            "SplitType": "Line",
            "CompressionType": compression,
        },
        "TransformOutput": {"S3OutputPath": "s3://b/out"},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    return order_of(said, Identity(name="demo"), {})
