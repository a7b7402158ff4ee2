"""The article's notebook against a gateway: nothing of it is changed but the environment.

The notebook has an environment of its own, with the SageMaker SDK and without textmill.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from support.clients import program, shell
from support.command import environment, textmill
from support.gateway import gateway

ROOT = Path(__file__).parents[2]
DATA = ROOT / "src" / "textmill" / "assets" / "demo" / "data" / "packages.jsonl"
NOTEBOOK = ROOT / "examples" / "notebook" / "batch_transform.py"
RECORDS = "12"
NEW, OLD = "sagemaker-2.257", "sagemaker-2.165"
"""The last SDK of version 2, and the one that the published notebook pins."""

QUICK = """
import sagemaker.session, time as real
class Faster:
    began = real.time()
    def __getattr__(self, name):
        return getattr(real, name)
    def sleep(self, seconds):
        real.sleep(seconds / 50)
    def time(self):
        return self.began + (real.time() - self.began) * 50
sagemaker.session.time = Faster()
"""
"""The SDK waits ten and thirty seconds; here its clock runs faster. Nothing else is touched."""

WATCH = """
import socket
seen, asked = set(), set()
connect, look_up = socket.socket.connect, socket.getaddrinfo
def watched(self, address):
    seen.add(address[:2] if isinstance(address, tuple) else address)
    return connect(self, address)
def asking(host, *arguments, **named):
    asked.add(host)
    return look_up(host, *arguments, **named)
socket.socket.connect, socket.getaddrinfo = watched, asking
"""

WATCHED = """
import os
from urllib.parse import urlsplit
where = urlsplit(os.environ["AWS_ENDPOINT_URL"])
assert seen == {(where.hostname, where.port)}, seen
assert asked == {where.hostname}, asked
"""
"""Every connection is to the gateway, and no other name is even looked up."""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("notebook") / "state") as running:
        yield running


def run(sdk, text, served, folder):
    """A notebook's output."""
    script = folder / "notebook.py"
    script.write_text(text)
    shutil.copy(DATA, folder / "packages.jsonl")
    done = shell(f"exec {program(sdk)} {script}", served.url, folder, RECORDS=RECORDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def native_scores(folder):
    """`textmill run` and `textmill score` on the same data with the same parameters."""
    env = environment(
        TEXTMILL_HOME=str(folder / "home"), HYPER_PARAMS="{'batch_size': 4, 'max_length': 50}"
    )
    ran = textmill(
        "run", folder / "articles.jsonl", "-o", folder / "native.jsonl", "--model", "demo", env=env
    )
    assert ran.code == 0, ran.err
    flags = ("--ref", "highlights")
    scored = textmill("score", folder / "native.jsonl", folder / "highlights.jsonl", *flags)
    return scored.out


def rouge(text):
    return [line.split() for line in text.splitlines() if line.strip().startswith("rouge")]


def check_clean_up(served):
    sagemaker = served.client("sagemaker")
    assert sagemaker.list_models()["Models"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    waiter = sagemaker.get_waiter("endpoint_deleted")
    for one in sagemaker.list_endpoints()["Endpoints"]:
        waiter.wait(EndpointName=one["EndpointName"], WaiterConfig={"Delay": 0.2})


@pytest.mark.full
@pytest.mark.parametrize("sdk", [NEW, OLD])
def test_the_notebook_as_it_stands(served, tmp_path, sdk):
    """All waits included, which the SDK makes at least a minute long."""
    printed = run(sdk, NOTEBOOK.read_text(), served, tmp_path)
    assert rouge(printed)
    assert rouge(printed) == rouge(native_scores(tmp_path))
    check_clean_up(served)


@pytest.mark.parametrize("sdk", [NEW, pytest.param(OLD, marks=pytest.mark.full)])
def test_the_notebook_without_its_waits(served, tmp_path, sdk):
    """ROUGE over the downloaded output is that of the same job run natively, the endpoint answers,
    nothing is left, and every connection that the notebook makes is to the gateway."""
    printed = run(sdk, WATCH + QUICK + NOTEBOOK.read_text() + WATCHED, served, tmp_path)
    assert rouge(printed)
    assert rouge(printed) == rouge(native_scores(tmp_path))
    check_clean_up(served)


@pytest.mark.full
@pytest.mark.parametrize("sdk", [NEW, OLD])
def test_the_same_job_through_jumpstart_model(served, tmp_path, sdk):
    """The notebook's later text: the SDK takes everything from the catalog's spec."""
    printed = run(
        sdk,
        WATCH
        + QUICK
        + """
import boto3, sagemaker
from sagemaker.jumpstart.model import JumpStartModel
session = sagemaker.Session()
bucket = session.default_bucket()
boto3.client("s3").put_object(
    Bucket=bucket, Key="js/in.jsonl", Body=b'{"id": 1, "text_inputs": "A library for text"}\\n'
)
model = JumpStartModel(
    model_id="huggingface-text2text-textmill-demo",
    model_version="1.*",
    role=sagemaker.get_execution_role(),
)
transformer = model.transformer(
    instance_count=1, instance_type="ml.g5.2xlarge", output_path=f"s3://{bucket}/js/out",
    accept="application/jsonlines", assemble_with="Line",
)
transformer.transform(f"s3://{bucket}/js/in", content_type="application/jsonlines",
                      split_type="Line")
attached = sagemaker.transformer.Transformer.attach(
    transformer.latest_transform_job.job_name, session)
assert attached.output_path == f"s3://{bucket}/js/out"
print(boto3.client("s3").get_object(Bucket=bucket, Key="js/out/in.jsonl.out")["Body"].read())
"""
        + WATCHED,
        served,
        tmp_path,
    )
    assert '{"id": 1, "generated_texts": [' in printed
