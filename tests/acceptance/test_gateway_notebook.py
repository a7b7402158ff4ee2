"""The article's notebook against a gateway: nothing of it is changed but the environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sagemaker")
pytest.importorskip("uvicorn")

from support.command import environment, textmill
from support.gateway import gateway

ROOT = Path(__file__).parents[2]
DATA = ROOT / "src" / "textmill" / "assets" / "demo" / "data" / "packages.jsonl"
NOTEBOOK = ROOT / "examples" / "notebook" / "batch_transform.py"
RECORDS = 24
SHOW = "import os, json; print(json.dumps(dict(os.environ)))"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("notebook") / "state") as running:
        yield running


def notebook_environment(served, folder):
    """What `textmill gateway env` says, and nothing of this machine's AWS."""
    said = textmill("gateway", "env", "--url", served.url)
    assert said.code == 0, said.err
    shown = subprocess.run(
        [
            "sh",
            "-c",
            f"{said.out}\nexec {sys.executable} -I -c '{SHOW}'",
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(folder)},
        capture_output=True,
        check=True,
    )
    env = json.loads(shown.stdout)
    return {**env, "TEXTMILL_HOME": str(folder / "home"), "RECORDS": str(RECORDS)}


def run(script, served, folder):
    shutil.copy(DATA, folder / "packages.jsonl")
    return subprocess.run(
        [sys.executable, str(script)],
        cwd=folder,
        env=notebook_environment(served, folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


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


@pytest.mark.full
def test_the_notebook_as_it_stands(served, tmp_path):
    """All waits included, which the SDK makes at least a minute long."""
    done = run(NOTEBOOK, served, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rouge(done.stdout)
    assert rouge(done.stdout) == rouge(native_scores(tmp_path))


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
seen = set()
connect = socket.socket.connect
def watched(self, address):
    seen.add(address[:2] if isinstance(address, tuple) else address)
    return connect(self, address)
socket.socket.connect = watched
"""

WATCHED = """
from urllib.parse import urlsplit
where = urlsplit(os.environ["AWS_ENDPOINT_URL"])
assert seen == {(where.hostname, where.port)}, seen
"""


def test_the_notebook_without_its_waits(served, tmp_path):
    """ROUGE over the downloaded output is that of the same job run natively, the endpoint answers,
    nothing is left, and every connection that the notebook makes is to the gateway."""
    script = tmp_path / "quick.py"
    script.write_text(WATCH + QUICK + NOTEBOOK.read_text() + WATCHED)
    done = run(script, served, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rouge(done.stdout)
    assert rouge(done.stdout) == rouge(native_scores(tmp_path))
    sagemaker = served.client("sagemaker")
    assert sagemaker.list_models()["Models"] == []
    waiter = sagemaker.get_waiter("endpoint_deleted")
    for one in sagemaker.list_endpoints()["Endpoints"]:
        waiter.wait(EndpointName=one["EndpointName"], WaiterConfig={"Delay": 0.2})


@pytest.mark.full
def test_the_same_job_through_jumpstart_model(served, tmp_path):
    """The notebook's later text: the SDK takes everything from the catalog's spec."""
    script = tmp_path / "jumpstart.py"
    script.write_text(
        QUICK
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
    )
    done = run(script, served, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{"id": 1, "generated_texts": [' in done.stdout
