"""The AWS CLI against a gateway: files, a job and an endpoint from a shell."""

from __future__ import annotations

import os

import pytest

pytest.importorskip("uvicorn")

from support.clients import program, shell
from support.gateway import gateway, wait_for

pytestmark = pytest.mark.full
AWS = "awscli-1"

FILES = """
set -eux
aws sts get-caller-identity
aws s3 mb s3://cli-bucket
aws s3 cp big s3://cli-bucket/big --no-progress
aws s3 mv s3://cli-bucket/big s3://cli-bucket/moved --no-progress
aws s3 cp s3://cli-bucket/moved back --no-progress
cmp big back
aws s3 sync folder s3://cli-bucket/in/ --no-progress
aws s3 sync s3://cli-bucket/in/ s3://cli-bucket/again/ --no-progress
aws s3 ls s3://cli-bucket/again/ --recursive
aws s3api list-objects-v2 --bucket cli-bucket --max-items 1 --query 'Contents[].Key'
curl -sf "$(aws s3 presign s3://cli-bucket/in/f.txt)"
aws sagemaker create-model --model-name m --execution-role-arn "$ROLE" \
  --primary-container 'Image=x,Environment={TEXTMILL_MODEL=demo}'
aws sagemaker create-transform-job --transform-job-name job --model-name m \
  --transform-input "DataSource={S3DataSource={S3DataType=S3Prefix,S3Uri=s3://cli-bucket/in/e/}},\
ContentType=application/jsonlines,SplitType=Line" \
  --transform-output "S3OutputPath=s3://cli-bucket/out,Accept=application/jsonlines" \
  --transform-resources InstanceCount=1,InstanceType=ml.m5.large
"""

AFTER = """
set -eux
aws s3 cp "s3://cli-bucket/out/ä b.jsonl.out" -
aws logs get-log-events --log-group-name /aws/sagemaker/TransformJobs \
  --log-stream-name job/textmill/data-log --query 'events[-1].message'
aws s3 rm s3://cli-bucket --recursive
aws s3 rb s3://cli-bucket
"""


def test_files_and_a_job_from_a_shell(tmp_path):
    path = f"{program(AWS, 'aws').parent}:{os.environ['PATH']}"
    (tmp_path / "folder" / "e").mkdir(parents=True)
    (tmp_path / "folder" / "f.txt").write_text("by curl")
    (tmp_path / "folder" / "e" / "ä b.jsonl").write_text('{"id": 1, "text_inputs": "A library"}\n')
    (tmp_path / "big").write_bytes(os.urandom(20_000_000))
    with gateway(tmp_path / "state") as served:
        role = "arn:aws:iam::000000000000:role/textmill"
        done = shell(FILES, served.url, tmp_path, PATH=path, ROLE=role)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "by curl" in done.stdout
        assert "again/e/ä b.jsonl" in done.stdout
        found = wait_for(served.client("sagemaker"), "job")
        assert found["TransformJobStatus"] == "Completed", found
        done = shell(AFTER, served.url, tmp_path, PATH=path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert '{"id": 1, "generated_texts": [' in done.stdout
        assert "Completed" in done.stdout
        assert served.client("s3").list_buckets()["Buckets"] == []
