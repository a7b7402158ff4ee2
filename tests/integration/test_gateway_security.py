"""Who is answered: signatures checked against a file of keys; what is no request gets its error."""

from __future__ import annotations

import http.client
import json
import random
import string
from datetime import UTC, datetime, timedelta

import boto3
import pytest

pytest.importorskip("uvicorn")

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from support.command import environment, textmill
from support.gateway import gateway, job, make_model, objects, wait_for
from textmill.gateway.operations import OPERATIONS
from textmill.gateway.wire.faults import AwsError
from textmill.gateway.wire.routing import scope_of
from textmill.gateway.wire.signing import Signed, verify

KEY = {"aws_access_key_id": "AKIAEXAMPLE", "aws_secret_access_key": "se/cret+key"}
FILE = """[default]
aws_access_key_id = AKIAEXAMPLE
aws_secret_access_key = se/cret+key
[other]
region = eu-west-1
"""
SAFE = st.text(string.ascii_letters + string.digits + " /~+&=%é'()*", min_size=0, max_size=15)


def signed_by(signer, method, path, query, body, headers):
    """A request as botocore signs it, as it goes over the wire."""
    url = f"http://127.0.0.1:8080{path}" + (f"?{query}" if query else "")
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    signer.add_auth(request)
    prepared = request.prepare()
    sent = {"host": "127.0.0.1:8080"}
    for name, value in prepared.headers.items():
        text = value if isinstance(value, str) else value.decode()
        sent[name.lower()] = text
    rest = prepared.url.removeprefix("http://127.0.0.1:8080")
    path, _, query = rest.partition("?")
    return method, path, query, sent


def check(method, path, query, headers, body, keys=None, now=None):
    import hashlib
    from urllib.parse import parse_qsl

    scope = scope_of(headers, dict(parse_qsl(query, keep_blank_values=True)))
    request = Signed(
        method=method,
        path=path,
        query=query,
        headers=headers,
        body_sha256=hashlib.sha256(body).hexdigest(),
    )
    verify(request, scope, keys or {"K": "s"}, now or datetime.now(UTC))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["GET", "PUT", "POST"]),
    st.lists(SAFE, max_size=3),
    st.dictionaries(SAFE.filter(bool), SAFE, max_size=3),
    st.binary(max_size=20),
    st.sampled_from(["s3", "sagemaker", "query"]),
)
def test_what_amazons_client_signs_is_known_and_nothing_else(method, parts, fields, body, kind):
    from urllib.parse import quote, urlencode

    path = "/bucket/" + "/".join(quote(part, safe="~") for part in parts if part not in {".", ".."})
    signer = {
        "s3": S3SigV4Auth(Credentials("K", "s"), "s3", "us-east-1"),
        "sagemaker": SigV4Auth(Credentials("K", "s"), "sagemaker", "us-east-1"),
        "query": S3SigV4QueryAuth(Credentials("K", "s"), "s3", "us-east-1"),
    }[kind]
    if kind == "query":
        method, body = "GET", b""
    if kind == "sagemaker":
        path = "/"
    query = urlencode(sorted(fields.items()), quote_via=quote, safe="~")
    headers = {"X-Amz-Target": "SageMaker.ListModels"} if kind == "sagemaker" else {}
    method, path, query, sent = signed_by(signer, method, path, query, body, headers)
    check(method, path, query, sent, body)
    changes = [
        (method, path + "x", query, sent, body),
        ("DELETE", path, query, sent, body),
        (method, path, query + "&a=1", sent, body),
    ]
    if kind == "sagemaker":
        changes.append((method, path, query, sent, body + b"x"))
        changes.append((method, path, query, {**sent, "x-amz-target": "SageMaker.Del"}, body))
    for change in changes:
        with pytest.raises(AwsError) as caught:
            check(*change)
        assert caught.value.status == 403
    late = datetime.now(UTC) + timedelta(hours=2)
    with pytest.raises(AwsError):
        check(method, path, query, sent, body, now=late)
    with pytest.raises(AwsError):
        check(method, path, query, sent, body, keys={"K": "t"})


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys").write_text(FILE)
    flags = ("--engine", "echo", "--keys", str(folder / "keys"), "--host", "0.0.0.0")
    with gateway(folder / "state", *flags) as running:
        yield running


def code(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"]


def test_with_the_key_everything_works_jobs_included(served):
    sagemaker, s3 = served.client("sagemaker", **KEY), served.client("s3", **KEY)
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="in/a b.jsonl", Body=b'{"id": 1, "text_inputs": "x"}\n')
    make_model(sagemaker)
    sagemaker.create_transform_job(**job("job", "s3://data/in/", "s3://data/out"))
    assert wait_for(sagemaker, "job")["TransformJobStatus"] == "Completed"
    assert objects(s3, "data", "out") == {
        "out/a b.jsonl.out": b'{"id": 1, "generated_texts": ["x"]}\n'
    }
    assert served.client("sts", **KEY).get_caller_identity()["Account"] == "000000000000"
    s3 = boto3.client(
        "s3",
        endpoint_url=served.url,
        region_name="us-east-1",
        config=Config(signature_version="s3v4"),
        **KEY,
    )
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "data", "Key": "in/a b.jsonl"})
    assert get(served, url.removeprefix(served.url))[0] == 200
    assert get(served, url.removeprefix(served.url).replace("a%20b", "c"))[0] == 403


def test_without_it_nothing_does(served):
    wrong = {**KEY, "aws_secret_access_key": "other"}
    assert code(served.client("sagemaker", **wrong).list_models) == "InvalidSignatureException"
    assert code(served.client("sagemaker").list_models) == "UnrecognizedClientException"
    assert code(served.client("s3", **wrong).list_buckets) == "SignatureDoesNotMatch"
    assert code(served.client("s3").list_buckets) == "InvalidAccessKeyId"
    assert code(served.client("sts", **wrong).get_caller_identity) == "InvalidSignatureException"
    status, body = get(served, "/data/in/a")
    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)
    old = served.client("s3", **KEY).generate_presigned_url("list_buckets")
    status, body = get(served, old.removeprefix(served.url))
    assert (status, b"signature_version='s3v4'" in body) == (403, True)
    headers = {"X-Amz-Target": "SageMaker.ListModels"}
    status, body = get(served, "/", "POST", b"{}", headers)
    assert (status, b"MissingAuthenticationToken" in body) == (403, True)


def get(served, path, method="GET", body=b"", headers=None):
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--host", "0.0.0.0"], "--keys"),
        pytest.param(["--keys", "missing"], "cannot be read", marks=pytest.mark.full),
        pytest.param(["--account", "12"], "twelve digits", marks=pytest.mark.full),
        (["--s3", "x", "--endpoint-url", "http://127.0.0.1:1"], "choose one"),
        pytest.param(["--jobs", "0"], "at least 1", marks=pytest.mark.full),
    ],
)
def test_flags_that_cannot_be_are_refused(tmp_path, flags, says):
    env = environment(TEXTMILL_HOME=str(tmp_path))
    ran = textmill("gateway", "--port", "0", *flags, env=env, cwd=tmp_path)
    assert (ran.code, says in ran.err) == (2, True), ran.err


@pytest.fixture(scope="module")
def open_one(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("open") / "state", "--engine", "echo") as running:
        yield running


def noise(rng, depth=0):
    """Any JSON, more often of the kinds that requests are made of."""
    kind = rng.randrange(9 if depth < 4 else 6)
    if kind < 6:
        return [None, True, rng.randrange(-5, 2**40), 1.5, "x" * rng.randrange(70), "../é\x00"][
            kind
        ]
    if kind == 6:
        return [noise(rng, depth + 1) for _ in range(rng.randrange(3))]
    return {"".join(rng.choices(string.ascii_letters, k=5)): noise(rng, depth + 1) for _ in "ab"}


def shaped(rng, shape, depth=0):
    """Something like an operation's input, wrong in places."""
    if rng.random() < 0.08 or depth > 5:
        return noise(rng)
    if shape.type_name == "structure":
        return {
            name: shaped(rng, member, depth + 1)
            for name, member in shape.members.items()
            if name in shape.required_members or rng.random() < 0.3
        }
    if shape.type_name == "list":
        return [shaped(rng, shape.member, depth + 1) for _ in range(rng.randrange(3))]
    if shape.type_name == "map":
        return {"KEY": shaped(rng, shape.value, depth + 1)}
    choices = shape.metadata.get("enum") or ["a", "a" * 300, "s3://b/k", "", "$.a", "{'a': 1}"]
    return rng.choice([*choices, 1, 0, -1, 10**6]) if shape.type_name == "string" else 1


def fuzz(running, count, seed):
    from textmill.gateway.wire import models

    connection = http.client.HTTPConnection(running.url.removeprefix("http://"), timeout=30)
    rng = random.Random(seed)
    prefixes = {"sagemaker": "SageMaker", "logs": "Logs_20140328"}
    try:
        for _ in range(count):
            service = rng.choice(["sagemaker", "sagemaker", "logs"])
            name = rng.choice(sorted(OPERATIONS[service]))
            shape = models.operation(service, name).input_shape
            body = json.dumps(shaped(rng, shape)).encode()
            if rng.random() < 0.1:
                body = body[: rng.randrange(len(body))] + rng.randbytes(3)
            headers = {"X-Amz-Target": f"{prefixes[service]}.{name}"}
            connection.request("POST", "/", body, headers)
            reply = connection.getresponse()
            answer = reply.read()
            assert reply.status in (200, 400), (name, body, answer)
            if reply.status == 400:
                assert json.loads(answer)["__type"], answer
    finally:
        connection.close()


def test_requests_that_are_wrong_in_places_are_refused_and_break_nothing(open_one):
    fuzz(open_one, 400, seed=1)
    open_one.client("sagemaker").list_models()


@pytest.mark.full
def test_many_more_of_them(open_one):
    fuzz(open_one, 20_000, seed=2)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/", b"", {"X-Amz-Target": "SageMaker.List", "Content-Length": "1048577"}, 413),
        ("POST", "/", b"{}", {"X-Amz-Target": "EC2.Run"}, 400),
        ("POST", "/", b"{}", {"X-Amz-Target": "SageMaker.Nonsense"}, 400),
        ("POST", "/", b"{}", {"X-Amz-Target": "SageMaker.__init__"}, 400),
        ("POST", "/", b"[" * 100_000, {"X-Amz-Target": "SageMaker.ListModels"}, 400),
        ("POST", "/", b"Action=%ff", {"Authorization": "Credential=a/20260101/r/sts/x"}, 403),
        ("GET", "/b?" + "&".join(f"a{n}=1" for n in range(200)), b"", {}, 400),
        ("POST", "/endpoints/none/invocations", b"{}", {}, 400),
    ],
)
def test_what_is_no_request_has_its_error(open_one, method, path, body, headers, status):
    assert get(open_one, path, method, body, headers)[0] == status
    assert get(open_one, "/", "POST", b"{}", {"X-Amz-Target": "SageMaker.ListModels"})[0] == 200


@pytest.mark.parametrize("said", ["AWS4-HMAC-SHA256", "Bearer x", "AWS AKIDEXAMPLE:x"])
def test_a_signature_that_is_none_has_the_error_of_its_service(open_one, said):
    headers = {"X-Amz-Target": "SageMaker.ListModels", "Authorization": said}
    status, body = get(open_one, "/", "POST", b"{}", headers)[:2]
    assert (status, json.loads(body)["__type"]) == (403, "IncompleteSignature")


def test_a_key_in_a_jobs_environment_is_not_the_processs(open_one):
    """What a request puts into Environment configures nothing but the job."""
    sagemaker, s3 = open_one.client("sagemaker"), open_one.client("s3")
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="in/a.jsonl", Body=b'{"id": 1, "text_inputs": "x"}\n')
    make_model(sagemaker)
    evil = {"PYTHONPATH": "/evil", "LD_PRELOAD": "/evil.so", "TEXTMILL_HOME": "/evil", "PATH": ""}
    sagemaker.create_transform_job(
        **job("evil", "s3://data/in/", "s3://data/out", Environment=evil)
    )
    assert wait_for(sagemaker, "evil")["TransformJobStatus"] == "Completed"
