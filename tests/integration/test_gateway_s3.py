"""The gateway's own S3 under Amazon's client, and under what no client should send."""

from __future__ import annotations

import base64
import http.client
import os
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("uvicorn")

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from support.gateway import gateway
from textmill.gateway.s3.bodies import Frames
from textmill.gateway.s3.disk import Body, Condition, Disk
from textmill.gateway.s3.keys import part_of, path_of
from textmill.gateway.wire.faults import AwsError

MIB = 1 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s3")
    with gateway(folder / "state", "--s3", str(folder / "buckets")) as running:
        running.buckets = folder / "buckets"
        yield running


@pytest.fixture(scope="module")
def s3(served):
    client = served.client("s3")
    client.create_bucket(Bucket="bucket")
    return client


def code(call, **params):
    with pytest.raises(ClientError) as caught:
        call(**params)
    return caught.value.response["Error"]["Code"]


def keys(listed):
    return [one["Key"] for one in listed.get("Contents", [])]


def test_buckets(served, s3):
    assert "bucket" in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    with pytest.raises(ClientError) as caught:
        s3.head_bucket(Bucket="not-there")
    error = caught.value.response["Error"]
    assert (error["Code"], error["Message"]) == ("404", "Not Found")  # the SDK compares both
    west = served.client("s3", region_name="eu-west-1")
    west.create_bucket(Bucket="west", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    west.put_object(Bucket="west", Key="k", Body=b"")
    assert code(west.delete_bucket, Bucket="west") == "BucketNotEmpty"
    west.delete_object(Bucket="west", Key="k")
    west.delete_bucket(Bucket="west")
    assert code(west.list_objects_v2, Bucket="west") == "NoSuchBucket"
    for name in ("UPPER", "a", "..", ".textmill", "a..b", "%2e%2e"):
        status, reply = request(served, "GET", f"/{name}/?list-type=2")
        assert (status, b"InvalidBucketName" in reply) == (400, True), reply


def test_a_large_file_goes_up_in_parts_and_comes_down_in_ranges(s3, tmp_path):
    """As upload_file and download_file do it: at once, out of order, checked."""
    data = os.urandom(20 * MIB + 12345)
    (tmp_path / "up").write_bytes(data)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    extra = {"Metadata": {"made-by": "test"}, "ServerSideEncryption": "aws:kms"}
    s3.upload_file(str(tmp_path / "up"), "bucket", "big/file", Config=config, ExtraArgs=extra)
    head = s3.head_object(Bucket="bucket", Key="big/file")
    assert (head["ContentLength"], head["Metadata"]) == (len(data), {"made-by": "test"})
    assert head["ETag"].endswith('-5"')
    s3.download_file("bucket", "big/file", str(tmp_path / "down"), Config=config)
    assert (tmp_path / "down").read_bytes() == data


def test_an_upload_is_complete_or_nothing(s3):
    upload = s3.create_multipart_upload(Bucket="bucket", Key="parts")["UploadId"]
    part = {"Bucket": "bucket", "Key": "parts", "UploadId": upload}
    second = s3.upload_part(**part, PartNumber=2, Body=b"second")
    s3.upload_part(**part, PartNumber=1, Body=b"wrong")
    first = s3.upload_part(**part, PartNumber=1, Body=b"first ")
    done = [
        {"PartNumber": 1, "ETag": first["ETag"]},
        {"PartNumber": 2, "ETag": second["ETag"]},
    ]
    complete = s3.complete_multipart_upload
    wrong = [{"PartNumber": 1, "ETag": '"00000000000000000000000000000000"'}]
    assert code(complete, **part, MultipartUpload={"Parts": wrong}) == "InvalidPart"
    assert code(complete, **part, MultipartUpload={"Parts": done[::-1]}) == "InvalidPartOrder"
    assert "parts" not in keys(s3.list_objects_v2(Bucket="bucket"))
    complete(**part, MultipartUpload={"Parts": done})
    assert s3.get_object(Bucket="bucket", Key="parts")["Body"].read() == b"first second"
    assert code(s3.upload_part, **part, PartNumber=3, Body=b"late") == "NoSuchUpload"
    aborted = s3.create_multipart_upload(Bucket="bucket", Key="never")["UploadId"]
    s3.abort_multipart_upload(Bucket="bucket", Key="never", UploadId=aborted)
    assert code(s3.head_object, Bucket="bucket", Key="never") == "404"


def test_uploads_and_parts_that_are_not_complete_are_listed(served):
    """In pages, by Amazon's own paginators; what was completed or aborted is not there."""
    s3 = served.client("s3")
    s3.create_bucket(Bucket="pending")
    names = ["a ä/é+1", "a ä/é+1", "b", "other"]
    made = [(key, s3.create_multipart_upload(Bucket="pending", Key=key)) for key in names]
    ids = sorted((key.encode(), one["UploadId"]) for key, one in made)
    for size in (1, 2, 1000):
        pages = s3.get_paginator("list_multipart_uploads").paginate(
            Bucket="pending", PaginationConfig={"PageSize": size}
        )
        shown = [one for page in pages for one in page["Uploads"]]
        assert [(one["Key"].encode(), one["UploadId"]) for one in shown] == ids
    only = s3.list_multipart_uploads(Bucket="pending", Prefix="oth")["Uploads"]
    assert [one["Key"] for one in only] == ["other"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="bucket", Prefix="oth")
    upload = {"Bucket": "pending", "Key": "b", "UploadId": made[2][1]["UploadId"]}
    for number in (3, 1, 2):
        s3.upload_part(**upload, PartNumber=number, Body=b"x" * number)
    pages = s3.get_paginator("list_parts").paginate(**upload, PaginationConfig={"PageSize": 2})
    parts = [one for page in pages for one in page["Parts"]]
    assert [(one["PartNumber"], one["Size"]) for one in parts] == [(1, 1), (2, 2), (3, 3)]
    done = [{"PartNumber": one["PartNumber"], "ETag": one["ETag"]} for one in parts]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
    for key, one in made:
        if key != "b":
            s3.abort_multipart_upload(Bucket="pending", Key=key, UploadId=one["UploadId"])
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="pending")
    assert code(s3.list_parts, **upload) == "NoSuchUpload"
    assert code(s3.list_multipart_uploads, Bucket="none-such") == "NoSuchBucket"
    assert code(s3.list_multipart_uploads, Bucket="pending", Delimiter="/") == "NotImplemented"


def test_one_of_two_completions_at_once_is_told_that_there_is_no_upload(s3):
    upload = {"Bucket": "bucket", "Key": "raced"}
    for _ in range(5):
        upload["UploadId"] = s3.create_multipart_upload(Bucket="bucket", Key="raced")["UploadId"]
        part = s3.upload_part(**upload, PartNumber=1, Body=os.urandom(4 * MIB))
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}

        def complete(_, parts=parts):
            try:
                return s3.complete_multipart_upload(**upload, MultipartUpload=parts)["Key"]
            except ClientError as error:
                return error.response["Error"]["Code"]

        with ThreadPoolExecutor() as pool:
            ended = set(pool.map(complete, range(3)))
        assert ended <= {"raced", "NoSuchUpload"}
        assert "raced" in ended


def test_ranges(s3):
    s3.put_object(Bucket="bucket", Key="ranges", Body=b"0123456789")

    def part(span, **more):
        return s3.get_object(Bucket="bucket", Key="ranges", Range=span, **more)

    assert part("bytes=2-4")["Body"].read() == b"234"
    assert part("bytes=7-")["Body"].read() == b"789"
    assert part("bytes=-3")["ContentRange"] == "bytes 7-9/10"
    assert part("bytes=8-99")["Body"].read() == b"89"
    assert code(part, span="bytes=10-") == "InvalidRange"
    assert code(part, span="bytes=0-1", IfMatch='"other"') == "PreconditionFailed"


KEYS = [
    "a b+c",
    "é/ü ñ",
    "x%2Fy",
    "../../../etc/passwd",
    "./k",
    "a//b",
    "marker/",
    "q?x=1&y",
    "日本",
]


def test_any_key_is_kept_and_listed_and_stays_in_the_store(served, s3):
    s3.create_bucket(Bucket="keys")
    for key in KEYS:
        s3.put_object(Bucket="keys", Key=key, Body=key.encode())
    v1 = s3.list_objects(Bucket="keys")
    assert keys(v1) == keys(s3.list_objects_v2(Bucket="keys")) == sorted(KEYS, key=str.encode)
    for key in KEYS:
        assert s3.get_object(Bucket="keys", Key=key)["Body"].read() == key.encode()
    outside = {path.name for path in served.buckets.parent.iterdir()}
    assert outside == {"state", "buckets", "home"} or outside == {"state", "buckets"}
    reply = s3.delete_objects(Bucket="keys", Delete={"Objects": [{"Key": key} for key in KEYS]})
    assert sorted(one["Key"] for one in reply["Deleted"]) == sorted(KEYS)
    assert keys(s3.list_objects_v2(Bucket="keys")) == []


def test_lists_come_in_pages_and_folders(s3):
    s3.create_bucket(Bucket="pages")
    for n in range(12):
        s3.put_object(Bucket="pages", Key=f"f{n % 3}/k{n:02d}", Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket="pages", Prefix="f1/", PaginationConfig={"PageSize": 3}
    )
    assert [keys(page) for page in pages] == [["f1/k01", "f1/k04", "f1/k07"], ["f1/k10"]]
    folders = s3.get_paginator("list_objects_v2").paginate(
        Bucket="pages", Delimiter="/", PaginationConfig={"PageSize": 2}
    )
    assert [[f["Prefix"] for f in page["CommonPrefixes"]] for page in folders] == [
        ["f0/", "f1/"],
        ["f2/"],
    ]
    old = s3.get_paginator("list_objects").paginate(
        Bucket="pages", PaginationConfig={"PageSize": 5}
    )
    assert sum(len(keys(page)) for page in old) == 12


LISTED = st.lists(
    st.text("ab./-!%é\x01", min_size=1, max_size=6).filter(lambda key: key.strip("/")), max_size=12
)


@settings(max_examples=150)
@given(LISTED, st.text("ab./é", max_size=3), st.text("ab./é!", max_size=3))
def test_a_listing_is_every_key_that_fits_in_order(tmp_path_factory, wanted, prefix, after):
    disk = Disk(tmp_path_factory.mktemp("listing"))
    disk.make_bucket("bucket")
    there = set()
    for key in wanted:
        path = disk.new_file()
        path.write_bytes(b"")
        try:
            disk.put("bucket", key, Body(path, 0, "0"), metadata={}, condition=Condition())
            there.add(key)
        except AwsError:  # a file is where a folder would have to be
            path.unlink()
    fitting = [key for key in there if key.startswith(prefix) and key.encode() > after.encode()]
    found = [key for key, _ in disk.listing("bucket", prefix, after)]
    assert found == sorted(fitting, key=str.encode)


def test_conditional_writes(s3):
    put = {"Bucket": "bucket", "Key": "conditional"}
    etag = s3.put_object(**put, Body=b"1", IfNoneMatch="*")["ETag"]
    assert code(s3.put_object, **put, Body=b"2", IfNoneMatch="*") == "PreconditionFailed"
    s3.put_object(**put, Body=b"3", IfMatch=etag)
    assert code(s3.put_object, **put, Body=b"4", IfMatch=etag) == "PreconditionFailed"
    assert s3.get_object(**put)["Body"].read() == b"3"


def test_objects_are_copied_whole_and_in_parts(s3, tmp_path):
    """As copy_object, and as `aws s3 mv` copies what is large."""
    data = os.urandom(11 * MIB)
    s3.put_object(Bucket="bucket", Key="copy/é 1", Body=data, Metadata={"a": "b"})
    source = {"Bucket": "bucket", "Key": "copy/é 1"}
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.copy(source, "bucket", "copy/parts", Config=config)
    etag = s3.copy_object(Bucket="bucket", Key="copy/whole", CopySource=source)["CopyObjectResult"]
    for key in ("copy/parts", "copy/whole"):
        assert s3.get_object(Bucket="bucket", Key=key)["Body"].read() == data
    head = s3.head_object(Bucket="bucket", Key="copy/whole")
    assert (head["ETag"], head["Metadata"]) == (etag["ETag"], {"a": "b"})
    new = {"MetadataDirective": "REPLACE", "Metadata": {"c": "d"}, "ContentType": "text/x"}
    s3.copy_object(Bucket="bucket", Key="copy/whole", CopySource=source, **new)
    head = s3.head_object(Bucket="bucket", Key="copy/whole")
    assert (head["ContentType"], head["Metadata"]) == ("text/x", {"c": "d"})
    to = {"Bucket": "bucket", "Key": "copy/never"}
    assert code(s3.copy_object, **to, CopySource={**source, "Key": "none"}) == "NoSuchKey"
    assert code(s3.copy_object, **to, CopySource={**source, "Bucket": "none"}) == "NoSuchBucket"
    for name in ("bucket/../../etc/passwd", "../etc/passwd", "/etc/passwd"):
        assert code(s3.copy_object, **to, CopySource=name) in {
            "NoSuchKey",
            "NoSuchBucket",
            "InvalidBucketName",
        }
    wrong = {"CopySource": source, "CopySourceIfMatch": '"0"'}
    assert code(s3.copy_object, **to, **wrong) == "PreconditionFailed"
    upload = s3.create_multipart_upload(**to)["UploadId"]
    part = {**to, "UploadId": upload, "PartNumber": 1, "CopySource": source}
    assert code(s3.upload_part_copy, **part, CopySourceRange="bytes=5-99999999") == (
        "InvalidArgument"
    )
    assert code(s3.head_object, **to) == "404"


def test_files_that_are_put_into_the_folder_are_objects(served, s3):
    folder = served.buckets / "bucket" / "dropped"
    folder.mkdir()
    (folder / "in.jsonl").write_bytes(b"by hand")
    assert s3.get_object(Bucket="bucket", Key="dropped/in.jsonl")["Body"].read() == b"by hand"
    (folder / "in.jsonl").write_bytes(b"changed by hand")
    assert s3.head_object(Bucket="bucket", Key="dropped/in.jsonl")["ContentLength"] == 15
    (folder / "out").symlink_to("/etc")
    assert "dropped/in.jsonl" in keys(s3.list_objects_v2(Bucket="bucket", Prefix="dropped/"))
    assert not [k for k in keys(s3.list_objects_v2(Bucket="bucket")) if "passwd" in k]
    assert code(s3.put_object, Bucket="bucket", Key="dropped/out/x", Body=b"") == "InvalidRequest"
    behind = served.buckets.parent / "behind"
    behind.mkdir()
    (behind / "file").write_bytes(b"not in the store")
    (folder / "away").symlink_to(behind)
    assert code(s3.get_object, Bucket="bucket", Key="dropped/away/file") == "NoSuchKey"
    assert keys(s3.list_objects_v2(Bucket="bucket", Prefix="dropped/away/")) == []
    s3.delete_object(Bucket="bucket", Key="dropped/away/file")
    assert (behind / "file").exists()
    (behind / "file").unlink()
    behind.rmdir()


def request(served, method, path, body=b"", **headers):
    connection = http.client.HTTPConnection(served.url.removeprefix("http://"), timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


def chunked(*parts, trailer=b""):
    frames = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return frames + b"0\r\n" + trailer + b"\r\n"


def crc(data):
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))


def test_aws_chunked_bodies_are_taken_out_of_their_frames(served, s3):
    """As clients send them over TLS, with the checksum in the trailer."""
    parts = [os.urandom(70_000), b"tail"]
    headers = {
        "Content_Encoding": "aws-chunked",
        "x_amz_content_sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x_amz_trailer": "x-amz-checksum-crc32",
        "x_amz_decoded_content_length": "70004",
    }
    good = b"x-amz-checksum-crc32:" + crc(b"".join(parts)) + b"\r\n"
    status, _ = request(served, "PUT", "/bucket/framed", chunked(*parts, trailer=good), **headers)
    assert status == 200
    assert s3.get_object(Bucket="bucket", Key="framed")["Body"].read() == b"".join(parts)
    for body, says in (
        (chunked(*parts, trailer=b"x-amz-checksum-crc32:AAAAAA==\r\n"), b"BadDigest"),
        (chunked(parts[0], trailer=good), b"IncompleteBody"),
        (chunked(*parts, trailer=good)[:-30], b"IncompleteBody"),
        (b"zz\r\nnonsense", b"IncompleteBody"),
    ):
        status, reply = request(served, "PUT", "/bucket/never", body, **headers)
        assert (status, says in reply) == (400, True), reply
    assert code(s3.head_object, Bucket="bucket", Key="never") == "404"


def test_a_body_that_is_not_what_was_stated_does_not_appear(served, s3):
    put = {"Bucket": "bucket", "Key": "never", "Body": b"x"}
    assert code(s3.put_object, **put, ContentMD5="AAAAAAAAAAAAAAAAAAAAAA==") == "BadDigest"
    assert code(s3.put_object, **put, ChecksumCRC32="AAAAAA==") == "BadDigest"
    status, reply = request(served, "PUT", "/bucket/never", b"x", x_amz_content_sha256="0" * 64)
    assert (status, b"XAmzContentSHA256Mismatch" in reply) == (400, True)
    assert code(s3.head_object, Bucket="bucket", Key="never") == "404"


BOMB = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">]><Delete><Object><Key>&a;</Key>
</Object></Delete>"""


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/bucket?delete", BOMB, b"MalformedXML"),
        ("POST", "/bucket?delete", b"<Delete>" * 50, b"MalformedXML"),
        ("POST", "/bucket?delete", b"<Delete><Object/></Delete>", b"MalformedXML"),
        ("PUT", "/bucket/x?tagging", b"", b"NotImplemented"),
        ("PUT", "/bucket/x?uploadId=../../etc&partNumber=1", b"", b"NoSuchUpload"),
        ("PUT", "/bucket/x?uploadId=aa&partNumber=0", b"", b"NoSuchUpload"),
        ("GET", "/bucket?list-type=2&max-keys=x", b"", b"InvalidArgument"),
        ("GET", "/bucket?list-type=2&continuation-token=x", b"", b"InvalidArgument"),
        ("GET", "/bucket?acl", b"", b"NotImplemented"),
        ("PUT", "/bucket/%ff%fe", b"", b"InvalidURI"),
        ("PUT", "/bucket/" + "k" * 1025, b"", b"KeyTooLongError"),
        ("PUT", "/bucket/" + "k" * 250, b"", b"KeyTooLongError"),
        ("PATCH", "/bucket/x", b"", b"MethodNotAllowed"),
    ],
)
def test_what_no_client_should_send_has_its_error(served, s3, method, path, body, says):
    status, reply = request(served, method, path, body)
    assert 400 <= status <= 501, reply
    assert says in reply


def test_unsigned_requests_of_programs_are_answered_and_those_of_pages_are_not(served, s3):
    s3.put_object(Bucket="bucket", Key="k", Body=b"v")
    unsigned = boto3.client(
        "s3",
        endpoint_url=served.url,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED),
    )
    assert unsigned.get_object(Bucket="bucket", Key="k")["Body"].read() == b"v"
    assert request(served, "GET", "/bucket/k", Origin="http://evil.example")[0] == 403
    assert request(served, "GET", "/bucket/k", Host="evil.example")[0] == 403


PARTS = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["", ".", "..", "%"])


@settings(max_examples=300)
@given(st.lists(PARTS, min_size=1, max_size=5))
def test_every_key_has_one_path_below_its_bucket(parts):
    root, key = Path("/store/bucket"), "/".join(parts)
    try:
        path = path_of(root, key)
    except AwsError:
        assert not key
        return
    assert Path(os.path.normpath(path)) == path
    assert root in path.parents
    assert "/".join(map(part_of, path.relative_to(root).parts)) == key


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.data())
def test_frames_may_come_in_any_pieces(parts, data):
    wire, found = chunked(*parts, trailer=b"x-a: 1\r\n"), bytearray()
    frames = Frames(found.extend)
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        frames.feed(wire[:size])
        wire = wire[size:]
    assert (bytes(found), frames.end()) == (b"".join(parts), {"x-a": "1"})
