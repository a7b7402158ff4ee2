"""The article's notebook against a gateway: nothing of it is changed but the environment.

The notebook has an environment of its own, with the SageMaker SDK and without textmill.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
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


def check_against_native(printed, folder):
    """The notebook's scores and texts are those of the same job run natively."""
    assert rouge(printed)
    assert rouge(printed) == rouge(native_scores(folder))
    ours = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    native = [json.loads(line) for line in (folder / "native.jsonl").read_text().splitlines()]
    assert [(one["id"], [one["prediction"]]) for one in ours] == [
        (one["id"], one["generated_texts"]) for one in native
    ]


def rouge(text):
    return [line.split() for line in text.splitlines() if line.strip().startswith("rouge")]


def code_of(text):
    """Lines of Python without headings, which are comments in a script and cells in a notebook."""
    heading = re.compile(r"# (\d\. .*|Clean up)")
    return [line for line in text.splitlines() if line.strip() and not heading.fullmatch(line)]


def test_notebook_and_script_are_the_same():
    cells = json.loads(NOTEBOOK.with_suffix(".ipynb").read_text("utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    script = NOTEBOOK.read_text("utf-8")
    assert code_of(code) == code_of(script.split('"""', 2)[2])
    assert "delete_endpoint" in code


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
    check_against_native(printed, tmp_path)
    check_clean_up(served)


@pytest.mark.parametrize("sdk", [NEW, pytest.param(OLD, marks=pytest.mark.full)])
def test_the_notebook_without_its_waits(served, tmp_path, sdk):
    """ROUGE over the downloaded output is that of the same job run natively, the endpoint answers,
    nothing is left, and every connection that the notebook makes is to the gateway."""
    printed = run(sdk, WATCH + QUICK + NOTEBOOK.read_text() + WATCHED, served, tmp_path)
    check_against_native(printed, tmp_path)
    check_clean_up(served)


INSIDE = """
set -e
ip link set lo up
test -z "$(ip route)"
textmill gateway --port 8088 --state "$PWD/state" > gateway.log 2>&1 &
until grep -q serving gateway.log; do sleep 0.1; done
"$NOTEBOOK_PYTHON" notebook.py
kill $!
wait
"""


def alone(sdk, script, notebook, folder):
    """What a notebook prints where there is no network, in a session that a script sets up."""
    words = ["unshare", "--map-root-user", "--net", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("this system gives no namespaces to its users")
    (folder / "inside.sh").write_text(script)
    (folder / "notebook.py").write_text(notebook)
    shutil.copy(DATA, folder / "packages.jsonl")
    done = shell(
        f"exec {' '.join(words)} sh inside.sh",
        "http://127.0.0.1:8088",
        folder,
        RECORDS=RECORDS,
        NOTEBOOK_PYTHON=str(program(sdk)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.full
@pytest.mark.parametrize("sdk", [NEW, OLD])
def test_the_whole_flow_where_there_is_no_network(tmp_path, sdk):
    """Gateway, job, endpoint and notebook in a network namespace that has no route."""
    printed = alone(sdk, INSIDE, QUICK + NOTEBOOK.read_text(), tmp_path)
    check_against_native(printed, tmp_path)


FILES = """
set -e
unset PYTHONPATH SAGEMAKER_USER_CONFIG_OVERRIDE
mkdir over
mount -t tmpfs none over
mkdir over/upper over/work
mount -t overlay -o "lowerdir=/opt,upperdir=$PWD/over/upper,workdir=$PWD/over/work" none /opt
textmill gateway env --write-config sdk --write-metadata > exports
grep -v PYTHONPATH exports > but-the-shim
. ./but-the-shim
"""
"""The two files in place of the shim; in an /opt that only this session has."""

IDENTITY = """
import sagemaker
session = sagemaker.Session()
assert session.default_bucket() == "sagemaker-us-east-1-000000000000"
assert sagemaker.get_execution_role() == "arn:aws:iam::000000000000:role/textmill"
"""


def test_two_files_do_what_the_shim_does(tmp_path):
    """The unpatched SDK asks nobody but the gateway, which is the only one that there is."""
    alone(NEW, FILES + INSIDE, IDENTITY, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("sdk", [NEW, OLD])
def test_the_whole_flow_with_the_two_files(tmp_path, sdk):
    printed = alone(sdk, FILES + INSIDE, QUICK + IDENTITY + NOTEBOOK.read_text(), tmp_path)
    check_against_native(printed, tmp_path)


JUMPSTART = """
import json, boto3, sagemaker
from sagemaker import image_uris, model_uris, script_uris
from sagemaker.jumpstart.model import JumpStartModel
from sagemaker.jumpstart.notebook_utils import list_jumpstart_models, list_jumpstart_tasks
from sagemaker.model import Model
from sagemaker.predictor import Predictor

DEMO, BASE = "huggingface-text2text-textmill-demo", "huggingface-text2text-flan-t5-base"
session, role = sagemaker.Session(), sagemaker.get_execution_role()
bucket, s3 = session.default_bucket(), boto3.client("s3")
s3.put_object(Bucket=bucket, Key="js/in.jsonl", Body=b'{"id": 1, "text_inputs": "A library"}\\n')
"""
"""What the scripts below have in common."""

JOB = """
model = JumpStartModel(model_id=DEMO, model_version="1.*", role=role)
transformer = model.transformer(
    instance_count=1, instance_type="ml.g5.2xlarge", output_path=f"s3://{bucket}/js/out",
    accept="application/jsonlines", assemble_with="Line",
)
transformer.transform(f"s3://{bucket}/js/in", content_type="application/jsonlines",
                      split_type="Line")
attached = sagemaker.transformer.Transformer.attach(
    transformer.latest_transform_job.job_name, session)
assert attached.output_path == f"s3://{bucket}/js/out"
body = s3.get_object(Bucket=bucket, Key="js/out/in.jsonl.out")["Body"].read()
transformer.delete_model()

predictor = JumpStartModel(model_id=DEMO).deploy()
answer = predictor.predict({"text_inputs": ["A library", "A library"]})
assert answer == [{"generated_texts": json.loads(body)["generated_texts"]}] * 2, (answer, body)
predictor.delete_model()
predictor.delete_endpoint()
"""

ARTIFACTS = """
assert "text2text" in list_jumpstart_tasks()
assert {DEMO, BASE} <= set(list_jumpstart_models(filter="training_supported == false"))
for version in ("*", "1.*", "1.3.2"):
    for region in (None, "eu-central-1"):
        assert image_uris.retrieve(
            region=region, framework=None, image_scope="inference", model_id=BASE,
            model_version=version, instance_type="ml.p3.2xlarge")
    said = model_uris.retrieve(model_id=BASE, model_version=version, model_scope="inference")
    assert said.startswith("s3://jumpstart-cache-prod-us-east-1/") and "1.3.2" in said, said
    assert script_uris.retrieve(model_id=BASE, model_version=version, script_scope="inference")
"""

SMALL = """
said = dict(model_id=DEMO, model_version="*")
model = Model(
    image_uri=image_uris.retrieve(region=None, framework=None, image_scope="inference",
                                  instance_type="ml.p3.2xlarge", **said),
    source_dir=script_uris.retrieve(script_scope="inference", **said),
    model_data=model_uris.retrieve(model_scope="inference", **said),
    entry_point="inference.py", role=role, predictor_cls=Predictor, name="small",
)
predictor = model.deploy(initial_instance_count=1, instance_type="ml.p3.2xlarge",
                         endpoint_name="small", predictor_cls=Predictor)
found = boto3.client("sagemaker").describe_model(ModelName="small")["PrimaryContainer"]
assert found["ModelDataUrl"] == f"s3://{bucket}/small/model.tar.gz"
predictor.serializer = sagemaker.serializers.JSONSerializer()
assert json.loads(predictor.predict({"text_inputs": ["A library"]})) == answer[:1]
predictor.delete_model()
predictor.delete_endpoint()
"""

LOGS = """
import io, logging
shown = io.StringIO()
logging.getLogger("sagemaker").addHandler(logging.StreamHandler(shown))
predictor = JumpStartModel(model_id=DEMO).deploy(endpoint_name="logged", wait=False)
if "live_logging" in session.wait_for_endpoint.__code__.co_varnames:
    session.wait_for_endpoint("logged", live_logging=True)
    assert shown.getvalue().count("the endpoint's process begins") == 1, shown.getvalue()
predictor.delete_model()
predictor.delete_endpoint()
"""

WAITS = """
from botocore.exceptions import ClientError
client = boto3.client("sagemaker")
s3.put_object(Bucket=bucket, Key="bad/in.jsonl", Body=b'{"id": 7, "text_inputs": 5}\\n')
transformer = JumpStartModel(model_id=DEMO, role=role).transformer(
    instance_count=1, instance_type="ml.m5.xlarge", output_path=f"s3://{bucket}/bad/out",
    accept="application/jsonlines", assemble_with="Line",
)
given = dict(content_type="application/jsonlines", split_type="Line", wait=False)
for logs in (True, False):
    transformer.transform(f"s3://{bucket}/bad/in", **given)
    try:
        transformer.wait(logs=logs)
        raise SystemExit("a failed job was waited for as if it were none")
    except sagemaker.exceptions.UnexpectedStatusException as error:
        assert "in.jsonl: line 1 (id 7)" in str(error), error
s3.put_object(Bucket=bucket, Key="many/in.jsonl",
              Body=b'{"id": 7, "text_inputs": "A library"}\\n' * 3000)
transformer.transform(f"s3://{bucket}/many/in", **given)
transformer.stop_transform_job()
name = transformer.latest_transform_job.job_name
assert client.describe_transform_job(TransformJobName=name)["TransformJobStatus"] == "Stopped"
transformer.stop_transform_job()  # of a job that does not run: the SDK takes that as done
waiter = client.get_waiter("transform_job_completed_or_stopped")
waiter.wait(TransformJobName=name)
transformer.delete_model()
"""


@pytest.mark.full
@pytest.mark.parametrize("sdk", [NEW, OLD])
def test_jumpstart_model_and_what_notebooks_retrieve(served, tmp_path, sdk):
    """The notebook's later text, in which the SDK takes everything from the catalog's spec; the
    branch for small models, which packs the archive anew; waits for jobs that fail or stop; where
    the SDK can show it, an endpoint's log while it starts."""
    run(
        sdk,
        WATCH + QUICK + JUMPSTART + ARTIFACTS + JOB + SMALL + LOGS + WAITS + WATCHED,
        served,
        tmp_path,
    )
    check_clean_up(served)
