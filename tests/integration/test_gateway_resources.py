"""Models, configs and tags through boto3 against a gateway's own process."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

from botocore.exceptions import ClientError

from support.gateway import ROLE, gateway, job, make_model

THOUSAND = 1000


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with gateway(tmp_path_factory.mktemp("resources") / "state", "--engine", "echo") as running:
        yield running


@pytest.fixture(scope="module")
def sagemaker(served):
    return served.client("sagemaker")


def refused(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]


def test_a_model_is_described_as_it_was_created(sagemaker):
    container = {"Image": "i", "Environment": {"HF_MODEL_ID": "google/flan-t5-small", "B": "'é'"}}
    made = sagemaker.create_model(
        ModelName="One-Model",
        ExecutionRoleArn=ROLE,
        PrimaryContainer=container,
        EnableNetworkIsolation=True,
        Tags=[{"Key": "team", "Value": "a b"}],
    )
    assert made["ModelArn"] == "arn:aws:sagemaker:us-east-1:000000000000:model/one-model"
    found = sagemaker.describe_model(ModelName="One-Model")
    assert (found["PrimaryContainer"], found["EnableNetworkIsolation"]) == (container, True)
    assert abs(found["CreationTime"].timestamp() - time.time()) < 60
    tags = sagemaker.list_tags(ResourceArn=made["ModelArn"])["Tags"]
    assert tags == [{"Key": "team", "Value": "a b"}]


def test_names_that_are_taken_and_things_that_are_not_there(sagemaker):
    """In the words that the SageMaker SDK looks for."""
    make_model(sagemaker, "taken")
    error = refused(make_model, sagemaker=sagemaker, name="taken")
    assert error["Code"] == "ValidationException"
    assert "Cannot create already existing model" in error["Message"]
    error = refused(sagemaker.describe_model, ModelName="gone")
    assert (error["Code"], "Could not find" in error["Message"]) == ("ValidationException", True)
    for call, params in (
        (sagemaker.delete_model, {"ModelName": "gone"}),
        (sagemaker.describe_endpoint_config, {"EndpointConfigName": "gone"}),
        (sagemaker.describe_transform_job, {"TransformJobName": "gone"}),
        (sagemaker.stop_transform_job, {"TransformJobName": "gone"}),
        (sagemaker.list_tags, {"ResourceArn": "arn:aws:sagemaker:us-east-1:000000000000:model/x"}),
        (sagemaker.create_transform_job, job("j", "s3://b/i", "s3://b/o", ModelName="gone")),
    ):
        assert "Could not find" in refused(call, **params)["Message"]


def test_a_request_that_is_sent_again_is_answered_again(sagemaker):
    """The same invocation id: the client did not get the first answer."""
    sagemaker.meta.events.register(
        "before-send.sagemaker.CreateModel", again := lambda request, **_: twice(request)
    )

    def twice(request):
        from botocore.httpsession import URLLib3Session

        URLLib3Session().send(request)

    try:
        make_model(sagemaker, "twice")
    finally:
        sagemaker.meta.events.unregister("before-send.sagemaker.CreateModel", again)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"TEXTMILL_MODEL": "/etc"}, "is not the name of a model"),
        ({"TEXTMILL_MODEL": "../x"}, "is not the name of a model"),
        ({"TEXTMILL_MODEL": "flan-t5-smal"}, "Did you mean"),
        ({"HF_MODEL_ID": "../../etc/passwd"}, "is not a repository"),
        ({}, "nothing says which model this is"),
    ],
)
def test_a_model_that_is_none_is_refused_at_once(sagemaker, variables, says):
    error = refused(
        sagemaker.create_model,
        ModelName="none",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "i", "Environment": variables},
    )
    assert (error["Code"], says in error["Message"]) == ("ValidationException", True), error


def test_jumpstart_tags_and_keys_say_which_model_it_is(sagemaker):
    prefix = "s3://jumpstart-cache-prod-eu-west-1/huggingface-infer/prepack/v1.1.2/infer-prepack-"
    sagemaker.create_model(
        ModelName="by-key",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={
            "Image": "i",
            "ModelDataUrl": f"{prefix}huggingface-text2text-flan-t5-large.tar.gz",
        },
    )
    sagemaker.create_model(
        ModelName="by-tag",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "i"},
        Tags=[
            {
                "Key": "sagemaker-sdk:jumpstart-model-id",
                "Value": "huggingface-text2text-flan-t5-base",
            },
            {"Key": "sagemaker-sdk:jumpstart-model-version", "Value": "1.3.2"},
        ],
    )
    error = refused(
        sagemaker.create_model,
        ModelName="by-key-unknown",
        ExecutionRoleArn=ROLE,
        PrimaryContainer={"Image": "i", "ModelDataUrl": f"{prefix}mystery.tar.gz"},
    )
    assert "the catalog has no model" in error["Message"]


def test_tags_are_added_and_deleted(sagemaker):
    make_model(sagemaker, "tagged")
    arn = sagemaker.describe_model(ModelName="tagged")["ModelArn"]
    sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    )
    sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "a", "Value": "3"}])
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["b", "unknown"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "a", "Value": "3"}]
    many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
    assert refused(sagemaker.add_tags, ResourceArn=arn, Tags=many)["Code"] == (
        "ResourceLimitExceeded"
    )


def test_regions_do_not_see_each_other(served, sagemaker):
    make_model(served.client("sagemaker", region_name="eu-west-1"), "european")
    assert "Could not find" in refused(sagemaker.describe_model, ModelName="european")["Message"]


def test_pages_filters_and_orders(served):
    """Paged by the client's own paginator; what is deleted between two pages moves nothing."""
    sagemaker = served.client("sagemaker", region_name="us-west-2")
    for n in range(12):
        make_model(sagemaker, f"m-{n:02d}")
    names = [f"m-{n:02d}" for n in range(12)]
    pages = sagemaker.get_paginator("list_models").paginate(
        SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 5}
    )
    shown = []
    for page in pages:
        shown += [one["ModelName"] for one in page["Models"]]
        if len(shown) == 5:
            sagemaker.delete_model(ModelName="m-00")
    assert shown == names
    newest = sagemaker.list_models()["Models"]
    assert [one["ModelName"] for one in newest] == names[:1:-1]
    some = sagemaker.list_models(NameContains="-1", SortOrder="Ascending")["Models"]
    assert [one["ModelName"] for one in some] == ["m-10", "m-11"]
    token = sagemaker.list_models(MaxResults=2)["NextToken"]
    error = refused(sagemaker.list_models, NextToken=token, NameContains="m")
    assert "other filters" in error["Message"]
    assert refused(sagemaker.list_models, NextToken="AAAA")["Code"] == "ValidationException"


def test_an_endpoint_config_outlives_its_model(sagemaker):
    make_model(sagemaker, "configured")
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "configured",
        "InitialInstanceCount": 1,
        "InstanceType": "ml.p3.2xlarge",
        "InitialVariantWeight": 1.0,
    }
    sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    sagemaker.delete_model(ModelName="configured")
    found = sagemaker.describe_endpoint_config(EndpointConfigName="c")
    assert found["ProductionVariants"] == [variant]
    listed = sagemaker.list_endpoint_configs(NameContains="c")["EndpointConfigs"]
    assert [one["EndpointConfigName"] for one in listed] == ["c"]
    sagemaker.delete_endpoint_config(EndpointConfigName="c")
    assert (
        "Could not find"
        in refused(sagemaker.describe_endpoint_config, EndpointConfigName="c")["Message"]
    )


def test_identities(served):
    sts, iam = served.client("sts"), served.client("iam")
    who = sts.get_caller_identity()
    assert who["Arn"].startswith("arn:aws:sts::000000000000:assumed-role/textmill/")
    assert iam.get_role(RoleName="textmill")["Role"]["Arn"] == ROLE
    assert refused(iam.get_role, RoleName="other")["Code"] == "NoSuchEntity"
    notebook = served.client("sagemaker").describe_notebook_instance(NotebookInstanceName="any")
    assert notebook["RoleArn"] == ROLE


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"Environment": {"HYPER_PARAMS": "{'max_lenght': 5}"}}, "HYPER_PARAMS"),
        ({"Environment": {"HYPER_PARAMS": "__import__('os')"}}, "HYPER_PARAMS"),
        ({"Environment": {"TEXTMILL_ON_ERROR": "ignore"}}, "fail, placeholder, dead-letter"),
        ({"MaxPayloadInMB": 101}, "must not exceed 100 MB"),
        ({"MaxPayloadInMB": 30, "MaxConcurrentTransforms": 4}, "must not exceed 100 MB"),
        ({"TransformInput": {"SplitType": "TFRecord"}}, "SplitType TFRecord"),
        ({"TransformInput": {"ContentType": "image/png"}}, "image/png"),
        ({"TransformOutput": {"Accept": "image/png"}}, "image/png"),
        ({"TransformOutput": {"S3OutputPath": "https://example.com/"}}, "s3://BUCKET"),
        ({"TransformOutput": {"S3OutputPath": "s3://b/../../etc"}}, "no key may have"),
        ({"DataProcessing": {"InputFilter": "$[0:2,246:]"}}, "InputFilter"),
        (
            {"TransformOutput": {"Accept": "text/csv"}, "DataProcessing": {"JoinSource": "Input"}},
            "ContentType and Accept",
        ),
        ({"DataCaptureConfig": {"DestinationS3Uri": "s3://b/c"}}, "DataCaptureConfig"),
    ],
)
def test_a_job_that_could_not_run_is_refused_when_it_is_created(sagemaker, changed, says):
    with contextlib.suppress(ClientError):
        make_model(sagemaker, "model")
    error = refused(sagemaker.create_transform_job, **job("bad", "s3://b/i", "s3://b/o", **changed))
    assert (error["Code"], says in error["Message"]) == ("ValidationException", True), error


def test_operations_that_are_not_there_say_so(sagemaker):
    assert refused(sagemaker.list_training_jobs)["Code"] == "UnknownOperationException"


def test_a_killed_gateway_knows_what_it_answered(tmp_path):
    """And another one does not get into its folder meanwhile."""
    from support.command import environment, textmill
    from support.gateway import Running

    first = Running(tmp_path / "state", "--engine", "echo")
    sagemaker = first.client("sagemaker")
    make_model(sagemaker, "Kept")
    env = environment(TEXTMILL_HOME=str(tmp_path / "home"))
    second = textmill("gateway", "--port", "0", "--state", tmp_path / "state", env=env)
    assert (second.code, "another gateway works in" in second.err) == (2, True), second
    before = sagemaker.describe_model(ModelName="Kept")
    first.kill()
    with gateway(tmp_path / "state", "--engine", "echo") as again:
        after = again.client("sagemaker").describe_model(ModelName="Kept")
        assert {**after, "ResponseMetadata": 0} == {**before, "ResponseMetadata": 0}


def seconds_of(pid):
    """Of a processor, that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def keep_a_thousand(state):
    """Models, configs and jobs in progress, as requests would have made them."""
    from textmill.gateway.registry import Kind, Registry, Resource

    prefix = "arn:aws:sagemaker:us-east-1:000000000000"
    container = {"Image": "i", "Environment": {"TEXTMILL_MODEL": "demo"}}
    said = {
        Kind.MODEL: {"ModelName": "", "ExecutionRoleArn": ROLE, "PrimaryContainer": container},
        Kind.ENDPOINT_CONFIG: {"EndpointConfigName": "", "ProductionVariants": []},
        Kind.TRANSFORM_JOB: job("", "s3://none/i", "s3://none/o"),
    }
    registry = Registry(state)
    for kind, what in said.items():
        for n in range(THOUSAND):
            name, at = f"n-{n:04d}", 1.7e9 + n
            more = {"status": "InProgress", "run": f"{n:032x}", "model": {"container": container}}
            registry.put(
                Resource(
                    kind=kind,
                    region="us-east-1",
                    name=name,
                    arn=f"{prefix}:{kind}/{name}",
                    created=at,
                    modified=at,
                    said={key: value or name for key, value in what.items()},
                    **(more if kind == Kind.TRANSFORM_JOB else {}),
                )
            )
    registry.close()


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc")
def test_a_thousand_of_each_are_listed_in_a_second_and_described_in_five_milliseconds(tmp_path):
    """Of the gateway's processor time, which a busy machine does not change."""
    keep_a_thousand(tmp_path / "state")
    with gateway(tmp_path / "state", "--engine", "echo") as running:
        sagemaker = running.client("sagemaker")
        describe = sagemaker.describe_transform_job
        describe(TransformJobName="n-0999")
        for operation, member in (
            ("list_models", "Models"),
            ("list_endpoint_configs", "EndpointConfigs"),
            ("list_transform_jobs", "TransformJobSummaries"),
        ):
            began = seconds_of(running.pid)
            pages = sagemaker.get_paginator(operation).paginate(PaginationConfig={"PageSize": 100})
            assert len({str(one) for page in pages for one in page[member]}) == THOUSAND
            assert seconds_of(running.pid) - began < 1
        began, times = seconds_of(running.pid), []
        for n in range(THOUSAND):
            at = time.perf_counter()
            describe(TransformJobName=f"n-{n:04d}")
            times.append(1000 * (time.perf_counter() - at))
        assert (seconds_of(running.pid) - began) / THOUSAND < 0.005
        times.sort()
        print(f"described in {times[500]:.1f} ms (median), {times[990]:.1f} ms (99th percentile)")
