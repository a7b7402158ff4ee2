"""Models whose data is in a bucket: archives and folders, and archives that are attacks."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from support.gateway import ROLE, gateway, job, objects, wait_for

pytestmark = pytest.mark.full
MODEL = Path(__file__).parents[2] / "src" / "textmill" / "assets" / "demo" / "model"
RECORD = b'{"id": 1, "text_inputs": "Briefly summarize this text: A library for reading images."}\n'


def archive(files):
    """A model.tar.gz of members by name."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def zipped(files):
    """The same as a zip, which SageMaker takes for no model's data either."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return data.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Jobs with models from everywhere, and their folder of state."""
    state = tmp_path_factory.mktemp("models") / "state"
    files = {path.name: path.read_bytes() for path in MODEL.iterdir() if path.is_file()}
    script = {"code/inference.py": b"raise SystemExit('this is not run')"}
    config = {"config.json": files["config.json"]}
    data = {
        "packed/model.tar.gz": archive({**files, **script}),
        "escaping/model.tar.gz": archive({**config, "../../../escaped": b"out"}),
        "bomb/model.tar.gz": archive({**config, "model.safetensors": bytes(64 << 20)}),
        "zip/model.tar.gz": zipped({**config, "model.safetensors": bytes(256 << 20)}),
        "torn/model.tar.gz": archive(files)[:5000],
        **{f"folder/{name}": content for name, content in files.items()},
        "in/a.jsonl": RECORD,
    }
    sources = {
        "packed": "s3://data/packed/model.tar.gz",
        "folder": "s3://data/folder/",
        "escaping": "s3://data/escaping/model.tar.gz",
        "bomb": "s3://data/bomb/model.tar.gz",
        "zip": "s3://data/zip/model.tar.gz",
        "torn": "s3://data/torn/model.tar.gz",
        "missing": "s3://data/missing/model.tar.gz",
        "embedded": None,
    }
    with gateway(state, "--jobs", "2") as running:
        s3, sagemaker = running.client("s3"), running.client("sagemaker")
        s3.create_bucket(Bucket="data")
        for key, body in data.items():
            s3.put_object(Bucket="data", Key=key, Body=body)
        for name, url in sources.items():
            container = {"Image": "i", "Environment": {"TEXTMILL_MODEL": "demo"}}
            if name == "folder":
                source = {"S3Uri": url, "S3DataType": "S3Prefix", "CompressionType": "None"}
                container = {"Image": "i", "ModelDataSource": {"S3DataSource": source}}
            elif url is not None:
                container = {"Image": "i", "ModelDataUrl": url}
            sagemaker.create_model(
                ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container
            )
            sagemaker.create_transform_job(
                **job(name, "s3://data/in/", f"s3://data/out-{name}", ModelName=name)
            )
        found = {name: wait_for(sagemaker, name, 120) for name in sources}
        for name, how in found.items():
            how["outputs"] = objects(s3, "data", f"out-{name}/")
        found["state"] = state
        yield found


def test_archives_and_folders_are_the_models_that_they_hold(done):
    """Their scripts are not run, and the text is the embedded model's."""
    for name in ("packed", "folder", "embedded"):
        assert done[name]["TransformJobStatus"] == "Completed", done[name].get("FailureReason")
    texts = [list(done[name]["outputs"].values()) for name in ("packed", "folder", "embedded")]
    assert texts[0] == texts[1] == texts[2]
    assert json.loads(texts[0][0])["generated_texts"][0]


@pytest.mark.parametrize("name", ["escaping", "bomb", "zip", "torn", "missing"])
def test_data_that_is_no_model_fails_the_job_and_leaves_nothing(done, name):
    assert done[name]["TransformJobStatus"] == "Failed"
    assert done[name]["FailureReason"].startswith("ClientError: "), done[name]["FailureReason"]
    assert done[name]["outputs"] == {}
    root = done["state"].parent
    assert not list(root.rglob("escaped"))
    assert not (root.parent / "escaped").exists()
    assert not list((done["state"] / "jobs").rglob("model*"))
