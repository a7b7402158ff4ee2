"""Requests that no client makes, as bytes on a socket: each has its error, and nothing escapes."""

from __future__ import annotations

import random
import re
import socket

import pytest

pytest.importorskip("uvicorn")

from support.gateway import gateway

METHODS = ["GET", "PUT", "POST", "DELETE", "HEAD"] * 5 + ["PATCH", "FOO"]
BUCKETS = ["bucket"] * 12 + ["data", "none", "..", "%2e%2e", ".textmill", "endpoints", "UP"]
BUCKETS += ["", "%00", "b%2Fk", "jumpstart-cache-prod-us-east-1"]
KEYS = ["", "k", "k/x", "file", "file/x", "file/x/y", "dir", "dir/", "dir/a", "none/at/all", "../x"]
KEYS += ["..%2fx", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "//", "%00", "%ff", "%C3%A9"]
KEYS += ["k" * 300, "%01/" * 300, ".", "%20", "a%0d%0aX-Evil:%20y", "models_manifest.json"]
KEYS += ["none/invocations", "none/async-invocations", "none/invocations-response-stream"]
QUERIES = [""] * 15 + ["uploads", "uploadId=x", "uploadId=..%2f..&partNumber=1", "delete", "acl"]
QUERIES += ["list-type=2&max-keys=-1", "list-type=2&max-keys=99999999999999999999", "list-type=2"]
QUERIES += ["list-type=2&continuation-token=%ff", "list-type=2&start-after=%ff&encoding-type=url"]
QUERIES += ["prefix=..%2f..%2f", "prefix=%00&delimiter=%00", "delimiter=", "location", "tagging"]
QUERIES += ["X-Amz-Credential=x", "X-Amz-Signature=1", "Action=GetRole", "a=1&a=2", "%ff=%ff"]
SCOPE = "AWS4-HMAC-SHA256 Credential=a/20260101/{}/aws4_request, SignedHeaders=host, Signature=0"
HEADERS = {
    "range": ["bytes=0-", "bytes=-5", "bytes=5-1", "bytes=0-0,2-3", "lines=1-", "bytes=-"],
    "if-match": ["*", '"x"', "\xff"],
    "if-none-match": ["*", "x"],
    "x-amz-copy-source": [
        "/bucket/file",
        "bucket",
        "../../etc/passwd",
        "%ff/%ff",
        "",
        "bucket/dir",
    ],
    "x-amz-copy-source-range": ["bytes=0-1", "bytes=9-1", "x"],
    "x-amz-copy-source-if-modified-since": ["now"],
    "content-md5": ["x", "AAAA", "\xff"],
    "content-encoding": ["aws-chunked", "gzip"],
    "x-amz-content-sha256": ["STREAMING-UNSIGNED-PAYLOAD-TRAILER", "UNSIGNED-PAYLOAD", "0" * 64],
    "x-amz-decoded-content-length": ["5", "x", "-1"],
    "x-amz-trailer": ["x-amz-checksum-crc32", "\xff"],
    "x-amz-checksum-crc32": ["AAAAAA==", "x", "\xff"],
    "authorization": ["x", "AWS a:b", "\xff"]
    + [SCOPE.format(f"us-east-1/{one}") for one in ("s3", "sts", "iam", "sagemaker", "x")]
    + [SCOPE.format("../s3")],
    "x-amz-target": ["SageMaker.ListModels", "SageMaker.CreateModel", "SageMaker.", "x.y", "\xff"],
    "content-type": ["application/json", "\xff"],
    "x-amz-meta-a": ["v" * 3000, "\xff"],
    "x-amz-metadata-directive": ["REPLACE", "x"],
    "expect": ["100-continue", "x"],
    "host": ["evil", "[::1", "\xff", ""],
    "amz-sdk-invocation-id": ["x" * 5000, "\xff"],
    "x-amzn-sagemaker-target-variant": ["x"],
}
FRAMING = {
    "content-length": ["5", "0", "-1", "abc", "99999999999999999999", "5, 5", "1e3"],
    "transfer-encoding": ["chunked", "gzip", "chunked, chunked", "identity"],
}
"""Lies about the body, at which a server may have to wait until the client goes."""

BODIES = [b"", b"hello", b"\x00\xff", b"{}", b"[]", b'{"ModelName": "\\ud800"}', b'{"a":' * 2000]
BODIES += [b'{"MaxResults": 1' + b"0" * 400 + b"}", b'{"MaxResults": NaN}', b"x" * 200_000]
BODIES += [b"<Delete><Object><Key>%b</Key></Object></Delete>" % k for k in (b"../x", b"file/x")]
BODIES += [b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><Delete>&b;</Delete>", b"<a/>"]
BODIES += [
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;chunk-signature=0\r\nhello\r\n0\r\n\r\n",
    b"fffffffff\r\n",
]
BODIES += [b"Action=GetCallerIdentity", b"Action=GetRole&RoleName=../x", b"Action=%ff", b"&&&="]


def request(rng, headers):
    bucket, key, query = rng.choice(BUCKETS), rng.choice(KEYS), rng.choice(QUERIES)
    path = rng.choice(["/"] + [f"/{bucket}" + (f"/{key}" if key else "")] * 9)
    path += f"?{query}" if query else ""
    body = rng.choice(BODIES)
    names = rng.sample(sorted(headers), rng.choice([0, 0, 1, 1, 2, 3, 5]))
    said = {"host": "127.0.0.1", "connection": "close", "content-length": str(len(body))}
    said |= {name: rng.choice(headers[name]) for name in names}
    lines = [f"{rng.choice(METHODS)} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in said.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answered(address, sent, seconds):
    """All that comes back; what came so far where the server waits for more."""
    found = b""
    with socket.create_connection(address, timeout=seconds) as connection:
        try:
            connection.sendall(sent)
            while data := connection.recv(65536):
                found += data
        except OSError:
            pass
    return found


def attack(folder, *, count, seed, headers):
    rng = random.Random(seed)
    with gateway(folder / "outer" / "state", "--engine", "echo") as running:
        s3 = running.client("s3")
        for bucket in ("bucket", "data"):
            s3.create_bucket(Bucket=bucket)
        for key in ("file", "dir/a"):
            s3.put_object(Bucket="bucket", Key=key, Body=b"0123456789")
        host, port = running.url.removeprefix("http://").split(":")
        for _ in range(count):
            sent = request(rng, headers)
            got = answered((host, int(port)), sent, seconds=60 if headers is HEADERS else 1)
            status = re.findall(rb"^HTTP/1\.1 (\d+)", got, re.MULTILINE)
            if headers is HEADERS:
                assert status, sent
            assert not status or int(status[-1]) in {*range(100, 500), 501}, (sent, got)
            assert b"\nX-Evil" not in got.partition(b"\r\n\r\n")[0]
            assert b"root:" not in got
        assert running.client("sagemaker").list_models()["Models"] == []
    # Stopping it has looked for tracebacks.
    assert {path.name for path in folder.iterdir()} == {"outer"}
    assert {path.name for path in (folder / "outer").iterdir()} <= {"state", "home"}
    places = {path.name for path in (folder / "outer" / "state" / "s3").iterdir()}
    assert {"bucket", "data", ".textmill"} <= places
    assert all(re.fullmatch(r"[a-z0-9.-]+", name) for name in places)


def test_a_thousand_requests_that_no_client_makes(tmp_path):
    (tmp_path / "outer").mkdir()
    attack(tmp_path, count=1000, seed=1, headers=HEADERS)


@pytest.mark.full
@pytest.mark.parametrize("headers", [HEADERS, HEADERS | FRAMING], ids=["framed", "unframed"])
def test_many_more_of_them(tmp_path, headers):
    (tmp_path / "outer").mkdir()
    attack(tmp_path, count=10_000, seed=2, headers=headers)


def test_deleting_what_is_below_a_file_or_nothing_is_no_error(tmp_path):
    with gateway(tmp_path / "state", "--engine", "echo") as running:
        s3 = running.client("s3")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="file", Body=b"x")
        for key in ("file/x/y", "not/there/at/all"):
            s3.delete_object(Bucket="bucket", Key=key)
        assert s3.get_object(Bucket="bucket", Key="file")["Body"].read() == b"x"
