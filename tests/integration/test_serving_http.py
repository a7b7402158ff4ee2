"""The routes over real sockets: a server process on the echo engine, and real clients."""

from __future__ import annotations

import ast
import contextlib
import gzip
import json
import re
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import httpx2 as httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from support.command import environment
from support.serving import serving


@pytest.fixture(scope="module")
def served():
    with serving("--engine", "echo", "--max-texts", "8") as found:
        yield found


@pytest.fixture(scope="module")
def client(served):
    with httpx.Client(base_url=served.url, timeout=20) as found:
        yield found


def post(client, body, path="/invocations", content_type="application/json", **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, content=data, headers={"content-type": content_type, **headers})


# Payloads of SageMaker's containers


def test_a_text_is_answered_by_one_generated_text(client):
    answer = post(client, "grüß dich".encode(), content_type="application/x-text")
    assert answer.json() == {"generated_text": "grüß dich"}


def test_an_object_is_answered_by_its_texts(client):
    answer = post(client, {"text_inputs": "hello", "max_length": 50})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"generated_texts": ["hello"]}


def test_a_list_is_answered_by_an_array_in_its_order(client):
    answer = post(client, {"text_inputs": ["one", "two", "three"]})
    assert answer.json() == [{"generated_texts": [text]} for text in ("one", "two", "three")]


def test_several_sequences_stand_in_one_list(client):
    payload = {"text_inputs": ["a", "b"], "num_return_sequences": 2, "num_beams": 2}
    assert post(client, payload).json() == [
        {"generated_texts": ["a", "a"]},
        {"generated_texts": ["b", "b"]},
    ]


@pytest.mark.parametrize(
    "id_", [b"7", b'"x"', b"1.50", b'{"a": [1, 2]}', b"null", b"12345678901234567890"]
)
def test_an_id_comes_back_as_it_was_written(client, id_):
    answer = post(client, b'{"id": %b, "text_inputs": "t"}' % id_)
    assert answer.content == b'{"id": %b, "generated_texts": ["t"]}' % id_
    lines = post(
        client, b'{"id": %b, "text_inputs": "t"}\n' % id_, content_type="application/jsonlines"
    )
    assert lines.content == b'{"id": %b, "generated_texts": ["t"]}\n' % id_


def test_json_lines_are_answered_line_by_line(client):
    body = b'{"id": 1, "text_inputs": "one"}\n\n{"text_inputs": "two", "max_new_tokens": 2}\r\n'
    answer = post(client, body, content_type="application/jsonlines")
    assert answer.headers["content-type"] == "application/jsonlines"
    assert answer.content == b'{"id": 1, "generated_texts": ["one"]}\n{"generated_texts": ["tw"]}\n'


def test_a_bad_line_has_a_code_and_the_others_their_texts(client):
    body = (
        b'{"id": 1, "text_inputs": "one"}\n{"id": 2, "text_inputs": ""}\nnot json\n'
        b'{"id": 4, "text_inputs": "x", "num_beams": 0}\n'
    )
    answer = post(client, body, content_type="application/jsonlines")
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert answer.status_code == 200
    assert answer.headers["x-textmill-failed"] == "3"
    assert rows[0] == {"id": 1, "generated_texts": ["one"]}
    assert [(row["id"], row["code"]) for row in rows[1:]] == [
        (2, "empty"),
        (None, "bad_json"),
        (4, "bad_parameter"),
    ]


def test_csv_gives_python_literals_as_jumpstart_does(client):
    body = b'{"id": 1, "text_inputs": "it\'s"}\n{"id": "b", "text_inputs": "two\\nlines"}\n'
    answer = post(client, body, content_type="application/jsonlines", accept="text/csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text == (
        "{'id': 1, 'generated_texts': [\"it's\"]}\n"
        "{'id': 'b', 'generated_texts': ['two\\nlines']}\n"
    )
    assert ast.literal_eval(answer.text.splitlines()[1])["generated_texts"] == ["two\nlines"]


@pytest.mark.parametrize(
    "accept", ["*/*", "", "application/json;verbose", "text/html, application/json;q=0.5"]
)
def test_accept_is_read_as_http_has_it(client, accept):
    answer = post(client, {"text_inputs": "x"}, accept=accept)
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {"generated_texts": ["x"]}


def test_a_type_that_cannot_be_given_is_refused(client):
    assert post(client, {"text_inputs": "x"}, accept="image/png").status_code == 406


def test_the_later_shape_has_inputs_and_parameters(client):
    answer = post(client, {"inputs": "hello", "parameters": {"max_new_tokens": 2}})
    assert answer.json() == [{"generated_text": "he"}]
    assert post(client, {"inputs": ["a", "b"]}).json() == [
        {"generated_text": "a"},
        {"generated_text": "b"},
    ]


def test_curl_with_a_bare_body_works(served):
    command = ["curl", "-s", f"{served.url}/invocations", "-d", '{"text_inputs": ["hi"]}']
    done = subprocess.run(command, capture_output=True, check=True)
    assert json.loads(done.stdout) == [{"generated_texts": ["hi"]}]


BAD = [
    (b"", "bad_json"),
    (b"[1]", "bad_json"),
    (b'{"text_inputs": NaN}', "bad_json"),
    (b'{"text_inputs": "a", "text_inputs": "b"}', "bad_json"),
    (b'{"text_inputs": "\xff"}', "bad_json"),
    (b'{"text_inputs": 1}', "bad_record"),
    (b'{"text_inputs": [1]}', "bad_record"),
    (b'{"text_inputs": null}', "bad_record"),
    (b'{"text": "a"}', "bad_parameter"),
    (b"{}", "missing_field"),
    (b'{"text_inputs": ""}', "empty"),
    (b'{"text_inputs": []}', "empty"),
    (b'{"text_inputs": "a", "max_lenght": 3}', "bad_parameter"),
    (b'{"text_inputs": "a", "max_length": "3"}', "bad_parameter"),
    (b'{"text_inputs": "a", "do_sample": true}', "bad_parameter"),
    (b'{"text_inputs": "a", "id": ' + b"[" * 40 + b"]" * 40 + b"}", "too_large"),
    (b'{"text_inputs": "a", "num_beams": 17}', "too_large"),
    (b'{"text_inputs": "a", "max_new_tokens": 5000}', "too_large"),
    (json.dumps({"text_inputs": ["a"] * 9}).encode(), "too_large"),
    (json.dumps(dict.fromkeys(map(str, range(70)), 1)).encode(), "too_large"),
    (b'{"text_inputs": "' + b"a" * (1 << 20) + b'"}', "too_large"),
    (b'{"inputs": "a", "max_length": 3}', "bad_parameter"),
]


@pytest.mark.parametrize(("body", "code"), BAD, ids=lambda value: repr(value)[:40])
def test_a_bad_payload_is_refused_with_a_code_that_says_why(client, body, code):
    answer = post(client, body)
    assert answer.json()["code"] == code
    assert answer.status_code == {"too_large": 413}.get(code, 400)
    assert len(answer.json()["message"]) < 2500


def test_an_unknown_key_is_told_which_ones_there_are(client):
    message = post(client, {"text_inputs": "a", "colour": 1}).json()["message"]
    assert '"colour"' in message
    assert "max_new_tokens" in message


def test_other_types_addresses_and_methods_are_refused(client):
    assert post(client, b"x", content_type="multipart/form-data").status_code == 415
    assert client.get("/nothing").json()["code"] == "not_found"
    assert client.get("/invocations").json()["code"] == "method_not_allowed"
    assert client.delete("/ping").status_code == 405


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "PROPFIND", "get"])
def test_a_method_that_nobody_speaks_is_refused_in_the_dialect_and_told_what_is(client, method):
    answer = client.request(method, "/v1/completions")
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"
    assert answer.headers["allow"] == "POST"
    assert client.request("FOO", "/ping").headers["allow"] == "GET, HEAD"


def test_a_packed_body_is_refused_rather_than_misread(client):
    packed = gzip.compress(b'{"text_inputs": "a"}')
    answer = post(client, packed, **{"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert post(client, {"text_inputs": "a"}, **{"content-encoding": "identity"}).is_success


def test_a_long_type_is_not_told_back_whole(client):
    answer = post(client, b"x", content_type="x/" + "y" * 5000)
    assert answer.status_code == 415
    assert len(answer.content) < 400


def test_a_model_that_is_not_there_is_named(client):
    answer = post(client, {}, "/v2/models/echo/versions/1/infer")
    assert answer.json()["error"] == "this endpoint serves echo, not echo/versions/1"


def test_an_old_health_check_that_names_no_host_is_answered(served):
    assert raw(served, b"GET /ping HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")


# SageMaker's runtime, by its own client


@pytest.fixture(scope="module")
def runtime(served):
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=served.url,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(retries={"max_attempts": 0}),
    )


def query_endpoint_with_json_payload(client, payload, endpoint_name):
    """The article's function, as it stands there."""
    encoded_json = json.dumps(payload).encode("utf-8")
    return client.invoke_endpoint(
        EndpointName=endpoint_name, ContentType="application/json", Body=encoded_json
    )


def test_the_articles_query_works_as_it_stands(runtime):
    payload = {"text_inputs": ["one", "two"], "max_length": 50, "num_beams": 1}
    answer = query_endpoint_with_json_payload(runtime, payload, "jumpstart-example-flan-t5")
    assert json.loads(answer["Body"].read()) == [
        {"generated_texts": ["one"]},
        {"generated_texts": ["two"]},
    ]
    assert answer["InvokedProductionVariant"] == "AllTraffic"


def test_what_the_model_says_no_to_is_a_model_error_for_boto3(runtime):
    with pytest.raises(ClientError) as caught:
        query_endpoint_with_json_payload(runtime, {"text_inputs": "a", "num_beams": 0}, "e")
    response = caught.value.response
    assert response["Error"]["Code"] == "ModelError"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 400
    assert "num_beams" in response["OriginalMessage"]
    assert 'Received client error (400) from primary with message "' in response["Error"]["Message"]


def test_a_named_endpoint_answers_to_its_name_only():
    with serving("--engine", "echo", "--name", "mine") as served:
        body = json.dumps({"text_inputs": "a"})
        assert (
            httpx.post(f"{served.url}/endpoints/mine/invocations", content=body).status_code == 200
        )
        other = httpx.post(f"{served.url}/endpoints/other/invocations", content=body)
        assert other.status_code == 400
        assert other.headers["x-amzn-errortype"] == "ValidationError"


def test_execution_parameters_are_those_of_batch_transform(client):
    found = client.get("/execution-parameters").json()
    assert found["BatchStrategy"] == "MULTI_RECORD"
    assert found["MaxPayloadInMB"] == 1
    assert found["MaxConcurrentTransforms"] >= 1


def test_ping_is_empty_and_quick(client):
    answer = client.get("/ping")
    assert (answer.status_code, answer.content) == (200, b"")


# OpenAI


def test_completions_are_those_of_openai(client):
    body = {"model": "echo", "prompt": ["one", "two"], "max_tokens": 2}
    answer = post(client, body, "/v1/completions").json()
    assert answer["object"] == "text_completion"
    assert [(c["index"], c["text"], c["finish_reason"]) for c in answer["choices"]] == [
        (0, "on", "length"),
        (1, "tw", "length"),
    ]
    assert answer["usage"] == {"prompt_tokens": 6, "completion_tokens": 4, "total_tokens": 10}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"prompt": "a", "model": "other"}, 404),
        ({"prompt": "a", "stream": True}, 400),
        ({"prompt": "a", "logprobs": 3}, 400),
        ({"prompt": [1, 2]}, 400),
        ({"model": "echo"}, 400),
    ],
)
def test_what_openai_clients_ask_in_vain_is_an_error_in_their_shape(client, body, status):
    answer = post(client, body, "/v1/completions")
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_models_lists_the_one_there_is(client):
    assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["echo"]
    assert client.get("/v1/models/echo").json()["object"] == "model"
    assert client.get("/v1/models/other").status_code == 404


# KServe


def infer(texts, **more):
    tensor = {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": texts}
    return {"inputs": [tensor], **more}


def test_infer_is_the_open_inference_protocol(client):
    path = "/v2/models/echo/infer"
    answer = post(client, infer(["a", "b"], id="42", parameters={"max_new_tokens": 5}), path).json()
    assert answer["id"] == "42"
    assert answer["model_name"] == "echo"
    (output,) = answer["outputs"]
    assert output == {
        "name": "generated_text",
        "shape": [2],
        "datatype": "BYTES",
        "data": ["a", "b"],
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"inputs": []},
        infer([]),
        {"inputs": [{"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a"]}]},
        {"inputs": [{"name": "t", "shape": [1], "datatype": "FP32", "data": [1]}]},
        {"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": [1]}]},
        infer(["a"], parameters={"binary_data_output": True}),
        infer(["a"], parameters={"nonsense": 1}),
    ],
)
def test_a_bad_inference_request_is_an_error_of_the_protocol(client, body):
    answer = post(client, body, "/v2/models/echo/infer")
    assert answer.status_code == 400
    assert set(answer.json()) == {"error", "code"}


def test_health_and_metadata_of_the_protocol(client):
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/echo/ready").status_code == 200
    assert client.get("/v2").json()["name"] == "textmill"
    assert client.get("/v2/models/echo").json()["inputs"][0]["datatype"] == "BYTES"
    assert client.get("/v2/models/other/ready").status_code == 404


# Looking on


def test_metrics_are_prometheus_text_and_hold_no_text_of_a_call(client):
    post(client, {"text_inputs": "SECRETWORD"})
    text = client.get("/metrics").text
    assert "SECRETWORD" not in text
    names = set()
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.match(r"# (HELP|TYPE) textmill_[a-z_]+ ", line)
            continue
        match = re.fullmatch(r"(textmill_[a-z_]+)(\{.*\})? [-+0-9.e]+", line)
        assert match, line
        names.add(match[1])
    assert {"textmill_calls_total", "textmill_batch_rows_bucket", "textmill_waiting_texts"} <= names


def test_timings_stand_in_the_headers(client):
    answer = post(client, {"text_inputs": ["a", "b"]})
    assert re.fullmatch(
        r"wait;dur=[\d.]+, execute;dur=[\d.]+, total;dur=[\d.]+", answer.headers["server-timing"]
    )
    assert answer.headers["x-textmill-tokens"] == "2+2"


def test_a_trace_is_passed_on_and_nonsense_is_not(client):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    assert post(client, {"text_inputs": "a"}, traceparent=trace).headers["traceparent"] == trace
    assert "traceparent" not in post(client, {"text_inputs": "a"}, traceparent="x").headers


def test_the_page_loads_nothing_from_elsewhere(client):
    answer = client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", answer.text)
    figures = client.get("/live").json()
    assert figures["state"] == "ready"
    assert len(figures["seconds"]["p95"]) == 300


def test_the_log_has_a_line_for_each_call_and_no_text_of_it(served, client):
    post(client, {"text_inputs": "LOGGEDSECRET"})
    post(client, {"text_inputs": 1})
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and not any('"status": 400' in line for line in served.log):
        time.sleep(0.02)
    lines = [json.loads(line) for line in served.log if line.startswith("{")]
    assert any(
        line["route"] == "/invocations" and line["texts"] == 1
        for line in lines
        if line["status"] == 200
    )
    assert not any("LOGGEDSECRET" in line for line in served.log)


# Who may ask


def test_a_page_of_another_site_is_refused(client):
    assert post(client, {"text_inputs": "a"}, origin="https://evil.example").status_code == 403
    assert post(client, {"text_inputs": "a"}, host="evil.example").status_code == 403
    host = client.base_url.netloc.decode()
    assert post(client, {"text_inputs": "a"}, origin=f"http://{host}").status_code == 200


def test_keys_open_the_endpoint_and_health_needs_none(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# ours\nalice 0123456789abcdef0123\nfedcba98765432100000\n")
    with serving("--engine", "echo", "--api-key-file", keys) as served:
        url = f"{served.url}/invocations"
        body = json.dumps({"text_inputs": "a"})
        assert httpx.post(url, content=body).status_code == 401
        wrong = httpx.post(url, content=body, headers={"x-api-key": "0123456789abcdef0124"})
        assert wrong.status_code == 401
        for headers in (
            {"x-api-key": "0123456789abcdef0123"},
            {"authorization": "Bearer fedcba98765432100000"},
        ):
            assert httpx.post(url, content=body, headers=headers).status_code == 200
        browser = httpx.get(served.url, auth=("", "0123456789abcdef0123"))
        assert browser.status_code == 200
        assert httpx.get(f"{served.url}/ping").status_code == 200
        assert httpx.get(f"{served.url}/metrics").status_code == 401
        served.stop()
        assert any('"client": "alice"' in line for line in served.log)
        assert not any("0123456789abcdef" in line for line in served.log)


def test_each_key_has_its_own_rate(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("a aaaaaaaaaaaaaaaaaaaa\nb bbbbbbbbbbbbbbbbbbbb\n")
    with serving("--engine", "echo", "--api-key-file", keys, "--rate-limit", "3/h") as served:

        def ask(key):
            body = json.dumps({"text_inputs": "a"})
            return httpx.post(f"{served.url}/invocations", content=body, headers={"x-api-key": key})

        assert [ask("a" * 20).status_code for _ in range(4)] == [200, 200, 200, 429]
        refused = ask("a" * 20)
        assert int(refused.headers["retry-after"]) > 600
        assert refused.json()["code"] == "rate_limited"
        assert ask("b" * 20).status_code == 200


def test_tls_is_spoken(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    with serving("--engine", "echo", "--tls-cert", cert, "--tls-key", key) as served:
        trust = ssl.create_default_context(cafile=str(cert))
        answer = httpx.post(
            f"{served.url}/invocations", content=b'{"text_inputs": "a"}', verify=trust
        )
        assert answer.json() == {"generated_texts": ["a"]}


# What a hostile or unlucky network does


def raw(served, data, *, seconds=5.0):
    """Send bytes; return what comes until the end or the time is over."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=seconds) as line:
        line.sendall(data)
        found = b""
        try:
            while more := line.recv(65536):
                found += more
        except TimeoutError:
            pass
        return found


def test_a_huge_head_is_refused(served, client):
    try:
        answer = raw(served, b"GET /ping HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 10_000_000)
    except ConnectionError:
        answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert client.get("/ping").status_code == 200


def test_endless_chunks_are_cut_off(served, client):
    head = b"POST /invocations HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    try:
        answer = raw(served, head + chunk * 40)
    except ConnectionError:
        answer = b""
    assert answer == b"" or b"413" in answer
    assert client.get("/ping").status_code == 200


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT"])
@pytest.mark.parametrize("path", ["/invocations", "/ping", "/v1/completions"])
def test_a_body_whose_chunks_are_no_chunks_ends_its_connection_and_no_more(served, method, path):
    """The head was fine, so the call is being worked on: it is dropped, and is no fault of ours."""
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = raw(served, head.encode() + b"-1\r\nabc\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 4") or answer == b""
    assert raw(served, b"GET /ping HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert not any("Traceback" in line or "broke" in line for line in served.log)


def test_a_storm_of_those_who_hang_up_changes_nothing(served, client):
    body = json.dumps({"text_inputs": ["x" * 500] * 8}).encode()
    head = b"POST /invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(
        body
    )
    host, port = served.url.removeprefix("http://").split(":")

    def storm(n):
        with socket.create_connection((host, int(port)), timeout=5) as line:
            line.sendall((head + body)[: len(head) + n % len(body)])

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(storm, range(0, 4000, 13)))
    assert post(client, {"text_inputs": "still here"}).json() == {"generated_texts": ["still here"]}


def test_a_head_that_dribbles_is_hung_up_on_while_others_are_served(served, client):
    """Slow loris: its connection ends although it keeps sending."""
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(b"POST /invocations HTTP/1.1\r\nhost: localhost\r\n")
        began = time.monotonic()
        with pytest.raises(OSError, match=r"."):  # noqa: PT012
            while time.monotonic() - began < 20:
                line.sendall(b"x: y\r\n")
                time.sleep(0.5)
                if int(time.monotonic() - began) % 3 == 0:
                    assert client.get("/ping").status_code == 200
        assert time.monotonic() - began < 15


def test_those_who_only_hold_connections_keep_nobody_out():
    """More of them than there may be, however few files the process was allowed at first."""
    few = ["bash", "-c", 'ulimit -Sn 300 && exec "$@"', "-"]
    with contextlib.ExitStack() as held, serving("--engine", "echo", before=few) as served:
        host, port = served.url.removeprefix("http://").split(":")
        with httpx.Client(base_url=served.url, timeout=20) as early:
            assert early.get("/ping").status_code == 200  # and its connection stays
            for n in range(1100):
                line = held.enter_context(socket.create_connection((host, int(port)), timeout=5))
                with contextlib.suppress(OSError):  # hung up on already
                    line.sendall([b"", b"GET /ping HTTP/1.1\r\n"][n % 2])
            began = time.monotonic()
            assert early.get("/ping").status_code == 200
            assert httpx.get(f"{served.url}/ping").status_code == 200
            assert time.monotonic() - began < 5  # without their being hung up on for slowness
        assert not any("out of system resource" in line for line in served.log)


def test_calls_on_one_connection_follow_each_other(client):
    for n in range(30):
        assert post(client, {"text_inputs": str(n)}).json() == {"generated_texts": [str(n)]}


# Starting and stopping


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], "no-auth"),
        (["--tls-cert", "x"], "--tls-key"),
        (["--slo", "fast"], "800ms"),
        (["--rate-limit", "x"], "50/s"),
        (["--api-key-file", "/nonexistent/keys"], "cannot be read"),
        (["--host", "192.0.2.1", "--no-auth"], "cannot listen"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_sentence(flags, words):
    from support.command import textmill

    ran = textmill("serve", "--engine", "echo", "--port", "0", *flags)
    assert ran.code == 2
    assert words in ran.err


def test_it_ends_with_0_when_it_is_asked_to(served):
    with serving("--engine", "echo") as other:
        assert httpx.get(f"{other.url}/ping").status_code == 200
        assert other.stop() == 0


def test_without_the_extra_the_error_names_it(tmp_path):
    (tmp_path / "uvicorn.py").write_text("raise ModuleNotFoundError(name='uvicorn')")
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "textmill", "serve", "--engine", "echo"],
        env=environment(PYTHONPATH=f"{tmp_path}:{environment()['PYTHONPATH']}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "textmill[serve]" in done.stderr
