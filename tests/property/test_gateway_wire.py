"""What the gateway writes, Amazon's own client reads back; what that client sends, it reads."""

from __future__ import annotations

import base64
import json
import string
from datetime import UTC, datetime

import pytest

pytest.importorskip("botocore")

from botocore import xform_name
from botocore.awsrequest import AWSRequest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.gateway.wire import models, reading, writing
from textmill.gateway.wire.checking import OPEN_ENUMS, checked
from textmill.gateway.wire.faults import AwsError
from textmill.gateway.wire.routing import Destination, route, scope_of

SUPPORTED = [
    *[
        ("sagemaker", name)
        for name in (
            *("CreateModel", "DescribeModel", "ListModels", "DeleteModel"),
            *("CreateEndpointConfig", "DescribeEndpointConfig", "ListEndpointConfigs"),
            *("DeleteEndpointConfig", "CreateEndpoint", "DescribeEndpoint", "ListEndpoints"),
            *("UpdateEndpoint", "DeleteEndpoint", "CreateTransformJob", "DescribeTransformJob"),
            *("ListTransformJobs", "StopTransformJob", "AddTags", "ListTags", "DeleteTags"),
            "DescribeNotebookInstance",
        )
    ],
    *[("logs", name) for name in ("DescribeLogGroups", "DescribeLogStreams", "GetLogEvents")],
    ("logs", "FilterLogEvents"),
    ("sts", "GetCallerIdentity"),
    ("iam", "GetRole"),
    ("sagemaker-runtime", "InvokeEndpoint"),
]
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))


def values(shape, depth=0):
    """Values of an output's shape as a handler gives them."""
    kind = shape.type_name
    if kind == "structure":
        members = {
            name: values(member, depth + 1)
            for name, member in shape.members.items()
            if depth < 4 or member.type_name not in {"structure", "list", "map"}
        }
        return st.fixed_dictionaries({}, optional=members)
    if kind == "list":
        return st.lists(values(shape.member, depth + 1), max_size=2)
    if kind == "map":
        return st.dictionaries(TEXT.filter(bool), values(shape.value, depth + 1), max_size=2)
    return {
        "string": TEXT,
        "integer": st.integers(-(2**31), 2**31 - 1),
        "long": st.integers(-(2**53), 2**53),
        "float": st.floats(allow_nan=False, allow_infinity=False, width=32),
        "double": st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.booleans(),
        "timestamp": TIMES,
        "blob": st.binary(max_size=20),
    }[kind]


def same(shape, put, got):
    """Equal; lists and maps that are empty may be missing in XML."""
    kind = shape.type_name
    if kind == "structure":
        assert put.keys() == got.keys(), (put, got)
        for name, value in put.items():
            same(shape.members[name], value, got[name])
    elif kind == "list":
        assert len(put) == len(got)
        for one, other in zip(put, got, strict=True):
            same(shape.member, one, other)
    elif kind == "map":
        assert put.keys() == got.keys()
        for key, value in put.items():
            same(shape.value, value, got[key])
    elif kind == "timestamp":
        assert abs((put - got).total_seconds()) < 1e-3
    else:
        assert put == got


def read_back(service, operation, reply):
    model = models.operation(service, operation)
    parser = create_parser(models.service(service).metadata["protocol"])
    response = {"status_code": reply.status, "headers": reply.headers, "body": reply.body}
    found = parser.parse(response, model.output_shape)
    found.pop("ResponseMetadata", None)
    return found


JSON_AND_XML = [pair for pair in SUPPORTED if pair[0] != "sagemaker-runtime"]


@pytest.mark.parametrize(("service", "operation"), JSON_AND_XML, ids=lambda x: x)
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_what_is_written_is_read_back(service, operation, data):
    shape = models.operation(service, operation).output_shape
    put = data.draw(values(shape)) if shape else {}
    reply = writing.answer(service, operation, put, "id")
    got = read_back(service, operation, reply)
    if service in {"sts", "iam"}:
        got, put = without_empty(got), without_empty(put)
    if shape:
        same(shape, put, got)


def without_empty(value):
    """XML does not tell an empty structure or list from none."""
    if isinstance(value, dict):
        return {k: w for k, v in value.items() if (w := without_empty(v)) not in ({}, [])}
    return value


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=50), st.sampled_from(["application/json", "text/csv"]))
def test_an_invocations_answer_is_its_body_and_headers(body, kind):
    output = {"Body": body, "ContentType": kind, "InvokedProductionVariant": "AllTraffic"}
    reply = writing.answer("sagemaker-runtime", "InvokeEndpoint", output, "id")
    assert reply.body == body
    assert reply.headers["content-type"] == kind
    assert reply.headers["x-amzn-invoked-production-variant"] == "AllTraffic"


@pytest.mark.parametrize("service", ["sagemaker", "logs", "sts", "iam", "sagemaker-runtime"])
@settings(max_examples=20, deadline=None)
@given(st.text(string.ascii_letters, min_size=1), TEXT)
def test_errors_come_with_code_and_message(service, code, message):
    message = message.strip()  # XML parsers of clients may drop white space at the ends
    reply = writing.failure(service, AwsError(code, message), "id")
    parser = create_parser(models.service(service).metadata["protocol"])
    response = {"status_code": reply.status, "headers": reply.headers, "body": reply.body}
    found = parser.parse(response, None)
    assert found["Error"]["Code"] == code
    assert (found["Error"].get("Message") or "") == message


def inputs(shape, depth=0):
    """Values that an operation takes."""
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        required = {n: inputs(shape.members[n], depth + 1) for n in shape.required_members}
        rest = {
            n: inputs(m, depth + 1)
            for n, m in shape.members.items()
            if n not in required and (depth < 3 or m.type_name not in {"structure", "list", "map"})
        }
        return st.fixed_dictionaries(required, optional=rest)
    if kind in {"list", "map"}:
        least = limits.get("min", 0)
        if kind == "list":
            return st.lists(inputs(shape.member, depth + 1), min_size=least, max_size=least + 1)
        keys, held = inputs(shape.key, depth + 1), inputs(shape.value, depth + 1)
        return st.dictionaries(keys, held, min_size=least, max_size=least + 1)
    if kind == "string":
        if "enum" in limits:
            return st.sampled_from(limits["enum"])
        least, most = limits.get("min", 0), min(limits.get("max", 40), 40)
        if "pattern" in limits:
            fitting = st.from_regex(models.pattern(limits["pattern"]), fullmatch=True)
            return fitting.filter(lambda text: least <= len(text) <= limits.get("max", 10**6))
        return st.text(st.characters(codec="utf-8"), min_size=least, max_size=most)
    if kind in {"integer", "long"}:
        least = limits.get("min", 0)
        return st.integers(least, min(limits.get("max", least + 9), least + 9))
    return {"boolean": st.booleans(), "timestamp": TIMES, "float": st.just(1.0)}[kind]


JSON_SERVICES = [pair for pair in SUPPORTED if pair[0] in {"sagemaker", "logs"}]


@pytest.mark.parametrize(("service", "operation"), JSON_SERVICES, ids=lambda x: x)
@settings(max_examples=8, deadline=None)
@given(st.data())
def test_what_a_client_sends_is_read(service, operation, data):
    model = models.operation(service, operation)
    put = data.draw(inputs(model.input_shape))
    sent = create_serializer("json").serialize_to_request(put, model)
    headers = {k.lower(): str(v) for k, v in sent["headers"].items()}
    where = route("POST", "/", headers, {}, None)
    assert (where.service, where.operation) == (service, operation)
    same(model.input_shape, put, reading.json_parameters(where, sent["body"]))


def shapes_of(shape, seen=None):
    """A shape and all that are in it, each once."""
    seen = set() if seen is None else seen
    if shape is None or shape.name in seen:
        return
    seen.add(shape.name)
    yield shape
    if shape.type_name == "structure":
        for member in shape.members.values():
            yield from shapes_of(member, seen)
    elif shape.type_name == "list":
        yield from shapes_of(shape.member, seen)
    elif shape.type_name == "map":
        yield from shapes_of(shape.key, seen)
        yield from shapes_of(shape.value, seen)


@pytest.mark.parametrize(("service", "operation"), SUPPORTED, ids=lambda x: x)
def test_every_pattern_of_what_is_taken_can_be_checked(service, operation):
    for shape in shapes_of(models.operation(service, operation).input_shape):
        if "pattern" in shape.metadata:
            models.pattern(shape.metadata["pattern"]).fullmatch("a")


JOB = {
    "TransformJobName": "job",
    "ModelName": "model",
    "TransformInput": {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bucket/in/"}}
    },
    "TransformOutput": {"S3OutputPath": "s3://bucket/out"},
    "TransformResources": {"InstanceCount": 1, "InstanceType": "ml.p3.2xlarge"},
}
S3_SOURCE = ("TransformInput", "DataSource", "S3DataSource")


def with_member(path, value):
    found = json.loads(json.dumps(JOB))
    inner = found
    for name in path[:-1]:
        inner = inner.setdefault(name, {})
    inner[path[-1]] = value
    return found


def refusal(job):
    with pytest.raises(AwsError) as caught:
        reading.json_parameters(
            Destination("sagemaker", "CreateTransformJob"), json.dumps(job).encode()
        )
    return caught.value


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (["TransformJobName"], "-job", "regular expression pattern"),
        (["TransformJobName"], "j" * 64, "length less than or equal to 63"),
        (["TransformJobName"], "a/../../b", "regular expression pattern"),
        (["ModelName"], None, "'modelName' failed to satisfy constraint: Member must not be null"),
        ([*S3_SOURCE, "S3DataType"], "Folder", "enum value set: [ManifestFile, S3Prefix"),
        ([*S3_SOURCE, "S3Uri"], "file:///etc", "'transformInput.dataSource.s3DataSource.s3Uri'"),
        (["BatchStrategy"], "multi", "enum value set"),
        (["ModelClientConfig"], {"InvocationsMaxRetries": 4}, "value less than or equal to 3"),
        (["Environment"], {f"K{n}": "v" for n in range(17)}, "length less than or equal to 16"),
        (["Environment"], {"1K": "v"}, "regular expression pattern"),
        (["Environment"], {"K": "v" * 10_241}, "length less than or equal to 10240"),
        (["DataProcessing"], {"InputFilter": "$" * 64}, "length less than or equal to 63"),
        (["TransformResources", "InstanceType"], "p3", "instance type"),
        (["TransformOutput", "Nonsense"], 1, "Unknown parameter"),
    ],
)
def test_what_clients_do_not_check_is_refused_by_name(path, value, says):
    error = refusal(with_member(path, value))
    assert error.code == "ValidationException"
    assert says in error.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["MaxPayloadInMB"], "1"),
        (["MaxPayloadInMB"], True),
        (["MaxPayloadInMB"], 2**40),
        (["TransformInput"], "s3://bucket"),
        (["Tags"], {"Key": "a"}),
        (["TransformJobName"], 7),
    ],
)
def test_wrong_types_are_serialization_errors(path, value):
    assert refusal(with_member(path, value)).code == "SerializationException"


@pytest.mark.parametrize("digits", [30, 400, 10_000])
@pytest.mark.parametrize("member", ["InitialVariantWeight", "InitialInstanceCount", "ModelName"])
def test_numbers_of_many_digits_are_numbers_or_errors(member, digits):
    body = b'{"EndpointConfigName": "c", "ProductionVariants": [{"VariantName": "v", "%b": 1%b}]}'
    sent = body % (member.encode(), b"0" * digits)
    destination = Destination("sagemaker", "CreateEndpointConfig")
    if (member, digits) == ("InitialVariantWeight", 30):
        found = reading.json_parameters(destination, sent)
        assert found["ProductionVariants"][0][member] == 1e30
        return
    with pytest.raises(AwsError) as caught:
        reading.json_parameters(destination, sent)
    assert caught.value.code == "SerializationException"


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"1", b"\xff", b"[" * 200_000])
def test_a_body_that_is_no_object_is_a_serialization_error(body):
    with pytest.raises(AwsError) as caught:
        reading.json_parameters(Destination("sagemaker", "DescribeModel"), body)
    assert caught.value.code == "SerializationException"


def test_instance_types_that_the_model_does_not_know_are_taken():
    job = with_member(["TransformResources", "InstanceType"], "ml.z99.128xlarge")
    assert reading.json_parameters(
        Destination("sagemaker", "CreateTransformJob"), json.dumps(job).encode()
    )
    assert "TransformInstanceType" in OPEN_ENUMS


def test_blobs_are_base64_in_json():
    shape = models.operation("sagemaker-runtime", "InvokeEndpoint").input_shape
    sent = {"EndpointName": "e", "Body": base64.b64encode(b"\x00x").decode()}
    assert checked(shape, sent)["Body"] == b"\x00x"


@pytest.mark.parametrize(
    ("service", "path", "means"),
    [
        ("s3", "/endpoints/e/invocations", "s3"),
        ("sagemaker", "/endpoints/e/invocations", "sagemaker-runtime"),
        ("s3", "/", "s3"),
        ("sts", "/", "sts"),
        ("iam", "/", "iam"),
    ],
)
def test_the_scope_of_the_signature_decides(service, path, means):
    authorization = f"AWS4-HMAC-SHA256 Credential=K/20260101/eu-west-1/{service}/aws4_request, …"
    headers = {"authorization": authorization}
    found = route("POST", path, headers, {}, scope_of(headers, {}))
    assert (found.service, found.region) == (means, "eu-west-1")


@pytest.mark.parametrize("region", ["../..", "EU", "a" * 300, "eu_west"])
def test_a_scope_with_a_region_that_is_none_is_refused(region):
    headers = {"authorization": f"Credential=K/20260101/{region}/sagemaker/aws4_request"}
    with pytest.raises(AwsError):
        route("POST", "/", headers, {}, scope_of(headers, {}))


def test_the_runtimes_members_come_from_path_headers_and_body():
    model = models.operation("sagemaker-runtime", "InvokeEndpoint")
    put = {"EndpointName": "e1", "Body": b"\x00{}", "ContentType": "text/plain", "Accept": "a/b"}
    sent = create_serializer("rest-json").serialize_to_request(put, model)
    request = AWSRequest(method="POST", url=f"http://h{sent['url_path']}", headers=sent["headers"])
    headers = {k.lower(): v for k, v in request.headers.items()}
    where = route("POST", sent["url_path"], headers, {}, None)
    assert reading.rest_parameters(where, headers, sent["body"]) == put


def test_a_query_names_its_operation_in_the_body():
    fields = reading.form(b"Action=GetRole&Version=2010-05-08&RoleName=textmill")
    where = Destination("iam", fields["Action"])
    assert reading.query_parameters(where, fields) == {"RoleName": "textmill"}
    assert xform_name("GetRole") == "get_role"
