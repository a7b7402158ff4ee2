"""A gateway whose buckets are in an S3 that somebody else runs."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("uvicorn")

import boto3
from botocore.exceptions import ClientError

from support.gateway import gateway, job, make_model, objects, wait_for
from support.s3_server import CREDENTIALS


@pytest.fixture
def theirs(s3_url, credentials):
    return boto3.client(
        "s3",
        endpoint_url=s3_url,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )


def test_jobs_read_and_write_there_and_the_catalog_stays_here(s3_url, theirs, tmp_path):
    theirs.create_bucket(Bucket="gateway-data")
    body = b"".join(b'{"id": %d, "text_inputs": "text"}\n' % n for n in range(3))
    theirs.put_object(Bucket="gateway-data", Key="in/a b.jsonl", Body=body)
    flags = ("--engine", "echo", "--endpoint-url", s3_url)
    with gateway(tmp_path / "state", *flags, **CREDENTIALS) as running:
        sagemaker, ours = running.client("sagemaker"), running.client("s3")
        make_model(sagemaker)
        sagemaker.create_transform_job(
            **job("job", "s3://gateway-data/in/", "s3://gateway-data/out")
        )
        found = wait_for(sagemaker, "job")
        assert found["TransformJobStatus"] == "Completed", found.get("FailureReason")
        assert objects(theirs, "gateway-data", "out") == {
            "out/a b.jsonl.out": b"".join(
                b'{"id": %d, "generated_texts": ["text"]}\n' % n for n in range(3)
            )
        }
        with pytest.raises(ClientError) as caught:
            ours.list_objects_v2(Bucket="gateway-data")
        assert "--endpoint-url" in caught.value.response["Error"]["Message"]
        catalog = objects(ours, "jumpstart-cache-prod-us-east-1")
        assert {"models_manifest.json", "proprietary-sdk-manifest.json"} <= catalog.keys()
        for one in json.loads(catalog["models_manifest.json"]):
            spec = json.loads(catalog[one["spec_key"]])
            assert {spec["hosting_artifact_key"], spec["hosting_script_key"]} <= catalog.keys()
