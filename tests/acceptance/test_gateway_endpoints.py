"""Endpoints through boto3 and the SDK: real `textmill serve` processes behind SageMaker's API."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("textmill.cli.serve", reason="this version has no textmill serve")

from botocore.exceptions import ClientError

from support.gateway import Running, gateway, make_model
from support.waiting import wait_for as wait_until

VARIANT = {
    "VariantName": "AllTraffic",
    "InitialInstanceCount": 1,
    "InstanceType": "ml.p3.2xlarge",
    "InitialVariantWeight": 1.0,
}


def configure(sagemaker, name, model):
    variants = [{**VARIANT, "ModelName": model}]
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=variants)


def wait(sagemaker, name, *states, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = sagemaker.describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] in states:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def refused(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    state = tmp_path_factory.mktemp("endpoints") / "state"
    with gateway(state, "--engine", "echo") as running:
        sagemaker = running.client("sagemaker")
        make_model(sagemaker, "first")
        make_model(sagemaker, "short", HYPER_PARAMS="{'max_new_tokens': 2}")
        configure(sagemaker, "first", "first")
        configure(sagemaker, "short", "short")
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="first")
        waiter = sagemaker.get_waiter("endpoint_in_service")
        waiter.wait(EndpointName="e", WaiterConfig={"Delay": 0.2, "MaxAttempts": 300})
        yield running


def ask(running, body, name="e", **more):
    client = running.client("sagemaker-runtime")
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    said = {"ContentType": "application/json", **more}
    return client.invoke_endpoint(EndpointName=name, Body=data, **said)


def test_the_articles_real_time_batch(served):
    """Ten texts in one request, with its parameters."""
    payload = {
        "text_inputs": [f"text {n}" for n in range(10)],
        "max_length": 50,
        "num_return_sequences": 1,
        "top_k": 50,
        "top_p": 0.95,
        "batch_size": 4,
    }
    reply = ask(served, payload)
    assert json.loads(reply["Body"].read()) == [
        {"generated_texts": [f"text {n}"]} for n in range(10)
    ]
    assert (reply["ContentType"], reply["InvokedProductionVariant"]) == (
        "application/json",
        "AllTraffic",
    )


def test_types_and_headers_are_passed_on(served):
    reply = ask(served, b"a text", ContentType="application/x-text", CustomAttributes="c=1")
    assert json.loads(reply["Body"].read()) == {"generated_text": "a text"}
    lines = b'{"id": 1, "text_inputs": "x"}\n{"id": 2, "text_inputs": "y"}\n'
    reply = ask(served, lines, ContentType="application/jsonlines", Accept="text/csv")
    assert reply["Body"].read().decode().splitlines()[0] == "{'id': 1, 'generated_texts': ['x']}"


def test_the_models_errors_are_wrapped(served):
    found = refused(ask, running=served, body={"text_inputs": "x", "max_lenght": 5})
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (found["Error"]["Code"], found["OriginalStatusCode"]) == ("ModelError", 400)
    assert "max_lenght" in found["OriginalMessage"]
    assert "Received client error (400) from primary" in found["Error"]["Message"]


def test_a_body_may_have_25_mib(served):
    """The limit in Amazon's own model, 6 MiB, is an old one."""
    reply = ask(served, b'{"text_inputs": "x"}' + b" " * (24 << 20))
    assert json.loads(reply["Body"].read()) == {"generated_texts": ["x"]}
    found = refused(ask, running=served, body=b" " * (26_214_400 + 1))
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 413


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("TargetModel", "m.tar.gz"),
        ("TargetContainerHostname", "c"),
        ("InferenceComponentName", "c"),
        ("EnableExplanations", "`true`"),
        ("SessionId", "NEW_SESSION"),
    ],
)
def test_what_an_invocation_cannot_have_is_refused(served, member, value):
    found = refused(ask, running=served, body={"text_inputs": "x"}, **{member: value})
    assert (found["Error"]["Code"], member in found["Error"]["Message"]) == (
        "ValidationError",
        True,
    )


def test_endpoints_are_listed(served):
    sagemaker = served.client("sagemaker")

    def names(**asked):
        return [one["EndpointName"] for one in sagemaker.list_endpoints(**asked)["Endpoints"]]

    assert names(NameContains="e", StatusEquals="InService", SortBy="Name") == ["e"]
    assert names(StatusEquals="Failed") == names(NameContains="other") == []


def test_an_endpoint_that_is_not_there(served):
    client = served.client("sagemaker-runtime")
    found = refused(client.invoke_endpoint, EndpointName="none", Body=b"{}")
    assert found["Error"]["Code"] == "ValidationError"
    assert "Endpoint none of account 000000000000 not found" in found["Error"]["Message"]
    found = refused(
        served.client("sagemaker").create_endpoint, EndpointName="e", EndpointConfigName="first"
    )
    assert "Cannot create already existing endpoint" in found["Error"]["Message"]


def test_an_endpoint_answers_while_it_is_updated_and_cleaned_up_around(served):
    """Model and config are deleted first, as the SDK does it."""
    sagemaker = served.client("sagemaker")
    sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="short")
    while sagemaker.describe_endpoint(EndpointName="e")["EndpointStatus"] == "Updating":
        assert ask(served, {"text_inputs": "abcdef"})["Body"].read()
    found = wait(sagemaker, "e", "InService")
    assert found["EndpointConfigName"] == "short"
    lines = b'{"id": 1, "text_inputs": "abcdef", "max_new_tokens": 4}\n'
    reply = ask(served, lines, ContentType="application/jsonlines")
    assert json.loads(reply["Body"].read())["generated_texts"] == ["ab"]
    sagemaker.delete_model(ModelName="short")
    sagemaker.delete_endpoint_config(EndpointConfigName="short")
    assert ask(served, lines, ContentType="application/jsonlines")["Body"].read()


def log_of(running, name):
    """What an endpoint's processes printed, page by page."""
    pages = (
        running.client("logs")
        .get_paginator("filter_log_events")
        .paginate(
            logGroupName=f"/aws/sagemaker/Endpoints/{name}",
            logStreamNamePrefix="AllTraffic/",
            PaginationConfig={"PageSize": 2},
        )
    )
    return [event["message"] for page in pages for event in page["events"]]


def test_an_endpoint_has_a_log_group(served):
    logs, group = served.client("logs"), "/aws/sagemaker/Endpoints/e"
    printed = log_of(served, "e")
    assert printed.count("the endpoint's process begins") == 1
    assert sum("http://127.0.0.1:" in line for line in printed) == 1
    names = [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]]
    assert names == [group, "/aws/sagemaker/TransformJobs"]
    first = logs.describe_log_groups(limit=1)
    assert [one["logGroupName"] for one in first["logGroups"]] == [group]
    (stream,) = logs.describe_log_streams(logGroupName=group)["logStreams"]
    name = stream["logStreamName"]
    assert name.startswith("AllTraffic/i-")
    events = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True)
    assert [one["message"] for one in events["events"]] == printed
    for wrong in ("none", "e/", "../e", ""):
        found = refused(logs.describe_log_streams, logGroupName=f"{group[:-1]}{wrong}")
        assert found["Error"]["Code"] == "ResourceNotFoundException", found
    token = {"nextToken": "at-x"}
    found = refused(logs.filter_log_events, logGroupName=group, **token)
    assert found["Error"]["Code"] == "InvalidParameterException"


def pids(state):
    """Of the processes behind endpoints, as each has written it down."""
    written = [lock.read_text() for lock in (state / "endpoints").glob("*/serve.lock")]
    return [int(pid) for pid in written if pid]


def is_gone(pid):
    """Whether nothing of a process runs any more, a zombie that nobody waits for included."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except FileNotFoundError:
        return True


def test_a_process_that_dies_is_followed_by_another(served):
    deadline = time.monotonic() + 30
    while len(pids(served.state)) > 1:  # the one that an update has replaced answers to its end
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (pid,) = pids(served.state)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_gone(pid))
    assert ask(served, {"text_inputs": "abcdef"})["Body"].read()  # a call waits for the other
    assert pids(served.state) != [pid]
    wait(served.client("sagemaker"), "e", "InService")
    assert log_of(served, "e").count("the endpoint's process begins") == 2


def test_a_deleted_endpoint_is_gone_with_its_process(served):
    sagemaker = served.client("sagemaker")
    make_model(sagemaker, "third")
    configure(sagemaker, "third", "third")
    sagemaker.create_endpoint(EndpointName="third", EndpointConfigName="third")
    sagemaker.delete_endpoint(EndpointName="third")
    waiter = sagemaker.get_waiter("endpoint_deleted")
    waiter.wait(EndpointName="third", WaiterConfig={"Delay": 0.2, "MaxAttempts": 100})
    assert len(list((served.state / "endpoints").iterdir())) == 1


def create(running):
    sagemaker = running.client("sagemaker")
    make_model(sagemaker, "m")
    configure(sagemaker, "c", "m")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")


@pytest.mark.full
@pytest.mark.parametrize("seed", range(5))
def test_deploys_are_finished_whenever_the_gateway_is_killed(tmp_path, seed):
    """Ten deploys, and a kill at a random moment of each: one process serves each endpoint."""
    state, rng = tmp_path / "state", random.Random(seed)
    running = Running(state, "--engine", "echo")
    try:
        names = [f"e{n}" for n in range(10)]
        for number, name in enumerate(names, 1):
            sagemaker = running.client("sagemaker")
            make_model(sagemaker, name, HYPER_PARAMS=f"{{'max_new_tokens': {number}}}")
            configure(sagemaker, name, name)
            sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
            time.sleep(rng.random())
            running.kill()
            running = Running(state, "--engine", "echo")
        for name in names:
            found = wait(running.client("sagemaker"), name, "InService", "Failed", seconds=120)
            assert found["EndpointStatus"] == "InService", found
        served = pids(state)
        assert len(set(served)) == len(names)
        assert ask(running, {"text_inputs": "x"}, name="e3")["Body"].read()
    finally:
        running.stop()
    assert all(is_gone(pid) for pid in served)


def test_endpoints_of_one_model_share_a_process_and_rest_until_they_are_called(tmp_path):
    state = tmp_path / "state"
    with gateway(state, "--engine", "echo", "--idle", "0.7") as running:
        create(running)
        sagemaker = running.client("sagemaker")
        wait(sagemaker, "e", "InService")
        sagemaker.create_endpoint(EndpointName="f", EndpointConfigName="c")
        wait(sagemaker, "f", "InService")
        (pid,) = pids(state)
        sagemaker.delete_endpoint(EndpointName="e")
        waiter = sagemaker.get_waiter("endpoint_deleted")
        waiter.wait(EndpointName="e", WaiterConfig={"Delay": 0.2, "MaxAttempts": 100})
        assert ask(running, {"text_inputs": "x"}, name="f")["Body"].read()
        assert pids(state) == [pid]
        wait_until(lambda: is_gone(pid))
        assert sagemaker.describe_endpoint(EndpointName="f")["EndpointStatus"] == "InService"
        with ThreadPoolExecutor(20) as pool:  # all of them wake one process, whenever they come
            asked = []
            for _ in range(20):
                asked.append(pool.submit(ask, running, {"text_inputs": "x"}, "f"))
                time.sleep(0.05)
            assert [json.loads(one.result()["Body"].read()) for one in asked] == [
                {"generated_texts": ["x"]}
            ] * 20
        (other,) = pids(state)
        assert other != pid
        assert sagemaker.describe_endpoint(EndpointName="f")["EndpointStatus"] == "InService"
    assert is_gone(other)


def test_an_endpoint_outlives_a_killed_gateway_and_comes_back_after_an_ended_one(tmp_path):
    state = tmp_path / "state"
    running = Running(state, "--engine", "echo")
    try:
        create(running)
        wait(running.client("sagemaker"), "e", "InService")
        (pid,) = pids(state)
        running.kill()
        running = Running(state, "--engine", "echo")
        assert ask(running, {"text_inputs": "x"})["Body"].read()
        assert pids(state) == [pid]
        running.stop()
        assert is_gone(pid)
        running = Running(state, "--engine", "echo")
        assert ask(running, {"text_inputs": "x"})["Body"].read()  # it waits for the new process
    finally:
        running.stop()


def test_a_model_that_cannot_be_served_fails_its_endpoint(tmp_path):
    with gateway(tmp_path / "state") as running:
        sagemaker = running.client("sagemaker")
        make_model(sagemaker, "m", TEXTMILL_MODEL="google/flan-t5-small")
        configure(sagemaker, "c", "m")
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        found = wait(sagemaker, "e", "Failed")
        assert "offline" in found["FailureReason"].lower(), found["FailureReason"]
        wait_until(lambda: "offline" in " ".join(log_of(running, "e")).lower())
        sagemaker.delete_endpoint(EndpointName="e")
