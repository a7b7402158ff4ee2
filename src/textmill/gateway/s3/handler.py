"""S3's requests, on a `Disk` and on buckets that are not there but served from memory."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import NamedTuple
from urllib.parse import unquote

from textmill.gateway.app import Gone, Head, Receive, Send, read_body, send_answer
from textmill.gateway.s3 import copying, listing, pending, xml
from textmill.gateway.s3.bodies import Receiver
from textmill.gateway.s3.disk import OCTETS, Body, Condition, Disk, Found, open_at
from textmill.gateway.s3.multipart import Uploads
from textmill.gateway.s3.virtual import WRITTEN, Virtual
from textmill.gateway.wire.faults import AwsError
from textmill.gateway.wire.writing import Answer

MAX_OBJECT_BYTES = 5 << 40
MAX_DOCUMENT_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_META = "x-amz-meta-"
_OLD_SIGNATURE = ("AWSAccessKeyId", "Signature", "Expires")
"""Of an address that a client has presigned by version 2; with --keys it is refused before."""

_MAX_META_BYTES = 2048
_LOCATION = "LocationConstraint"
_XML = {"content-type": "application/xml"}


class Request(NamedTuple):
    """A request taken apart. key: decoded."""

    head: Head
    fields: dict[str, str]
    bucket: str
    key: str
    receive: Receive
    send: Send
    id: str


class S3:
    """The handler. `disk` is None where another S3 is used; virtual buckets are served anyway."""

    def __init__(self, disk: Disk | None, virtual: Virtual) -> None:
        self._disk, self._virtual = disk, virtual
        self._uploads = Uploads(disk) if disk is not None else None

    async def __call__(self, head: Head, receive: Receive, send: Send, id_: str) -> None:
        """One request. Raises `AwsError`."""
        bucket, _, key = head.path.removeprefix("/").partition("/")
        request = Request(head, head.fields, unquote(bucket), _unquoted(key), receive, send, id_)
        if request.bucket and self._virtual.has_bucket(request.bucket):
            await self._send_virtual(request)
            return
        if self._disk is None:
            raise AwsError("NotImplemented", "this gateway uses another S3 (--endpoint-url)", 501)
        kind = "object" if request.key else "bucket" if request.bucket else "service"
        handle = getattr(self, f"_{head.method.lower()}_{kind}", None)
        if handle is None:
            raise AwsError("MethodNotAllowed", "The specified method is not allowed", 405)
        await handle(request, self._disk)

    async def _get_service(self, request: Request, disk: Disk) -> None:
        buckets = [
            {"Name": name, "CreationDate": listing.moment(made)} for name, made in disk.buckets()
        ]
        content = {"Owner": listing.OWNER, "Buckets": {"Bucket": buckets}}
        await _answer(request, xml.document("ListAllMyBucketsResult", content))

    async def _head_bucket(self, request: Request, disk: Disk) -> None:
        disk.bucket(request.bucket)
        await _answer(request, b"", {"x-amz-bucket-region": "us-east-1"})

    async def _put_bucket(self, request: Request, disk: Disk) -> None:
        _refuse_subresources(request, ())
        await read_body(request.head, request.receive, MAX_DOCUMENT_BYTES)
        disk.make_bucket(request.bucket)
        await _answer(request, b"", {"location": f"/{request.bucket}"})

    async def _delete_bucket(self, request: Request, disk: Disk) -> None:
        _refuse_subresources(request, ())
        disk.remove_bucket(request.bucket)
        await _answer(request, b"", status=204)

    async def _get_bucket(self, request: Request, disk: Disk) -> None:
        if "location" in request.fields:
            disk.bucket(request.bucket)
            await _answer(request, xml.document(_LOCATION, {}), _XML)
            return
        from starlette.concurrency import run_in_threadpool

        if "uploads" in request.fields:
            _refuse_subresources(request, pending.OF_UPLOADS)
            uploads = self._uploads_of(disk)
            body = await run_in_threadpool(
                pending.uploads_page, uploads, request.bucket, request.fields
            )
        else:
            _refuse_subresources(request, listing.PARAMETERS)
            body = await run_in_threadpool(_page, disk, request)
        await _answer(request, body, _XML)

    async def _post_bucket(self, request: Request, disk: Disk) -> None:
        if "delete" not in request.fields:
            raise AwsError("NotImplemented", "of POST to a bucket only ?delete is there", 501)
        body = await read_body(request.head, request.receive, MAX_DOCUMENT_BYTES)
        keys = xml.names(xml.elements(body, "Delete/Object"), "Key")
        quiet = any(one.get("Quiet") == "true" for one in xml.elements(body, "Delete"))
        deleted, errors = [], []
        for key in keys:
            try:
                disk.remove(request.bucket, key)
                deleted.append({"Key": key})
            except AwsError as error:
                errors.append({"Key": key, "Code": error.code, "Message": error.message})
        content = {"Deleted": [] if quiet else deleted, "Error": errors}
        await _answer(request, xml.document("DeleteResult", content), _XML)

    async def _get_object(self, request: Request, disk: Disk) -> None:
        if "uploadId" in request.fields and request.head.method == "GET":
            _refuse_subresources(request, pending.OF_PARTS)
            uploads, key = self._uploads_of(disk), request.key
            body = pending.parts_page(uploads, request.bucket, key, request.fields)
            await _answer(request, body, _XML)
            return
        _refuse_subresources(request, ("response-content-type", "partNumber", "x-id"))
        found = disk.find(request.bucket, request.key)
        if found is None:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
        headers = _object_headers(found)
        if not found.matches(request.head.headers.get("if-match", "*")):
            raise AwsError("PreconditionFailed", "At least one precondition did not hold", 412)
        if found.matches(request.head.headers.get("if-none-match", "")):
            await _answer(request, b"", headers, status=304)
            return
        span = _span(request.head.headers.get("range"), found.note.size)
        if span is not None:
            headers["content-range"] = f"bytes {span[0]}-{span[1] - 1}/{found.note.size}"
        await self._send_file(request, found, headers, span)

    _head_object = _get_object

    async def _send_file(
        self, request: Request, found: Found, headers: dict[str, str], span: tuple[int, int] | None
    ) -> None:
        """A file, of which at most one chunk is in memory."""
        from starlette.concurrency import run_in_threadpool

        start, end = span or (0, found.note.size)
        assert found.path is not None  # noqa: S101  objects of a disk have files
        with await run_in_threadpool(open_at, found.path, start) as file:
            headers |= {"content-length": str(end - start), "x-amz-request-id": request.id}
            raw = [(n.encode("latin-1"), v.encode("latin-1")) for n, v in headers.items()]
            status = 200 if span is None else 206
            await request.send({"type": "http.response.start", "status": status, "headers": raw})
            left = end - start if request.head.method == "GET" else 0
            while left:
                data = await run_in_threadpool(file.read, min(left, _CHUNK_BYTES))
                if not data:
                    raise ConnectionError("the object was cut while it was sent")
                left -= len(data)
                await request.send({"type": "http.response.body", "body": data, "more_body": True})
            await request.send({"type": "http.response.body", "body": b""})

    async def _put_object(self, request: Request, disk: Disk) -> None:
        headers = request.head.headers
        if "uploadId" in request.fields:
            await self._put_part(request, disk)
            return
        _refuse_subresources(request, ("x-id",))
        if copying.SOURCE in headers:
            await self._copy_object(request, disk)
            return
        disk.bucket(request.bucket)
        metadata = _metadata(headers)
        receiver = Receiver(disk.new_file(), headers)
        try:
            body = await _received(request, receiver)
            condition = Condition(headers.get("if-none-match"), headers.get("if-match"))
            note = disk.put(
                request.bucket,
                request.key,
                body,
                content_type=headers.get("content-type", OCTETS),
                metadata=metadata,
                condition=condition,
            )
        finally:
            receiver.discard()
        await _answer(request, b"", {"etag": f'"{note.etag}"'})

    async def _copy_object(self, request: Request, disk: Disk) -> None:
        """Content type and metadata are the source's, or the request's where it says REPLACE."""
        from starlette.concurrency import run_in_threadpool

        headers = request.head.headers
        await read_body(request.head, request.receive, 0)
        disk.bucket(request.bucket)
        found = await run_in_threadpool(copying.source_of, disk, headers)
        kind, metadata = found.note.content_type, found.note.metadata
        if headers.get("x-amz-metadata-directive") == "REPLACE":
            kind, metadata = headers.get("content-type", OCTETS), _metadata(headers)
        body = await run_in_threadpool(copying.copied, disk, found, 0, found.note.size)
        try:
            note = disk.put(
                request.bucket,
                request.key,
                body,
                content_type=kind,
                metadata=metadata,
                condition=Condition(),
            )
        finally:
            body.path.unlink(missing_ok=True)
        made = listing.moment(note.modified_ns / 1e9)
        content = {"ETag": f'"{note.etag}"', "LastModified": made}
        await _answer(request, xml.document("CopyObjectResult", content), _XML)

    async def _copy_part(self, request: Request, disk: Disk, number: int) -> None:
        from starlette.concurrency import run_in_threadpool

        headers = request.head.headers
        await read_body(request.head, request.receive, 0)
        found = await run_in_threadpool(copying.source_of, disk, headers)
        span = copying.span_of(headers, found)
        body = await run_in_threadpool(copying.copied, disk, found, *span)
        try:
            etag = self._uploads_of(disk).keep(request.fields["uploadId"], number, body)
        finally:
            body.path.unlink(missing_ok=True)
        content = {"ETag": f'"{etag}"', "LastModified": listing.moment(time.time())}
        await _answer(request, xml.document("CopyPartResult", content), _XML)

    async def _put_part(self, request: Request, disk: Disk) -> None:
        uploads = self._uploads_of(disk)
        number = uploads.check(request.bucket, request.key, request.fields)
        if copying.SOURCE in request.head.headers:
            await self._copy_part(request, disk, number)
            return
        receiver = Receiver(disk.new_file(), request.head.headers)
        try:
            body = await _received(request, receiver)
            etag = uploads.keep(request.fields["uploadId"], number, body)
        finally:
            receiver.discard()
        await _answer(request, b"", {"etag": f'"{etag}"'})

    async def _post_object(self, request: Request, disk: Disk) -> None:
        uploads, fields = self._uploads_of(disk), request.fields
        body = await read_body(request.head, request.receive, MAX_DOCUMENT_BYTES)
        named = {"Bucket": request.bucket, "Key": request.key}
        headers = request.head.headers
        if "uploads" in fields:
            upload = uploads.begin(
                request.bucket,
                request.key,
                content_type=headers.get("content-type", OCTETS),
                metadata=_metadata(headers),
            )
            content = {**named, "UploadId": upload}
            await _answer(request, xml.document("InitiateMultipartUploadResult", content), _XML)
        elif "uploadId" in fields:
            from starlette.concurrency import run_in_threadpool

            parts = xml.elements(body, "CompleteMultipartUpload/Part")
            condition = Condition(headers.get("if-none-match"), headers.get("if-match"))
            etag = await run_in_threadpool(
                uploads.complete, request.bucket, request.key, fields, parts, condition
            )
            content = {**named, "ETag": f'"{etag}"'}
            await _answer(request, xml.document("CompleteMultipartUploadResult", content), _XML)
        else:
            raise AwsError("NotImplemented", "of POST to an object only uploads are there", 501)

    async def _delete_object(self, request: Request, disk: Disk) -> None:
        if "uploadId" in request.fields:
            self._uploads_of(disk).abort(request.bucket, request.key, request.fields)
        else:
            _refuse_subresources(request, ("x-id",))
            disk.remove(request.bucket, request.key)
        await _answer(request, b"", status=204)

    def _uploads_of(self, disk: Disk) -> Uploads:
        return self._uploads or Uploads(disk)

    async def _send_virtual(self, request: Request) -> None:
        """An object of memory; to be read only."""
        if request.head.method not in {"GET", "HEAD"}:
            raise AwsError("AccessDenied", "this bucket is the catalog's, and read-only", 403)
        if not request.key:
            body = xml.document(_LOCATION, {})
            if request.head.method == "GET" and "location" not in request.fields:
                _refuse_subresources(request, listing.PARAMETERS)
                body = self._virtual.page(request.bucket, request.fields)
            await _answer(request, body, _XML)
            return
        data = self._virtual.read(request.key)
        if data is None:
            raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
        headers = {
            "content-type": "application/json",
            "etag": listing.etag_of(data),
            "last-modified": format_datetime(WRITTEN, usegmt=True),
            "accept-ranges": "bytes",
        }
        span, status = _span(request.head.headers.get("range"), len(data)), 200
        if span is not None:
            headers["content-range"] = f"bytes {span[0]}-{span[1] - 1}/{len(data)}"
            data, status = data[span[0] : span[1]], 206
        await _answer(request, data, headers, status=status)


async def _answer(
    request: Request, body: bytes, headers: Mapping[str, str] | None = None, *, status: int = 200
) -> None:
    answer = Answer(status, {"x-amz-request-id": request.id, **(headers or {})}, body)
    await send_answer(request.send, answer, head_only=request.head.method == "HEAD")


async def _received(request: Request, receiver: Receiver) -> Body:
    """A body into its file, never whole in memory."""
    from starlette.concurrency import run_in_threadpool

    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        data = message.get("body", b"")
        size += len(data)
        if size > MAX_OBJECT_BYTES:
            raise AwsError("EntityTooLarge", "an object has at most 5 TiB")
        receiver.feed(data)
        if not message.get("more_body"):
            return await run_in_threadpool(receiver.end)


def _unquoted(key: str) -> str:
    try:
        return unquote(key, errors="strict")
    except UnicodeDecodeError as error:
        raise AwsError("InvalidURI", "the key is no UTF-8") from error


def _refuse_subresources(request: Request, known: tuple[str, ...]) -> None:
    """A query that means something else must not be taken for the plain request."""
    known = (*known, *_OLD_SIGNATURE)
    other = [name for name in request.fields if name not in known and not name.startswith("X-Amz-")]
    if other:
        raise AwsError("NotImplemented", f"?{other[0][:50]} is not there in this S3", 501)


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    found = {k.removeprefix(_META): v for k, v in headers.items() if k.startswith(_META)}
    if sum(len(k) + len(v) for k, v in found.items()) > _MAX_META_BYTES:
        raise AwsError("MetadataTooLarge", f"metadata has at most {_MAX_META_BYTES} bytes")
    return found


def _object_headers(found: Found) -> dict[str, str]:
    modified = datetime.fromtimestamp(found.modified, UTC)
    return {
        "etag": f'"{found.note.etag}"',
        "last-modified": format_datetime(modified, usegmt=True),
        "content-type": found.note.content_type,
        "accept-ranges": "bytes",
        **{f"{_META}{name}": value for name, value in found.note.metadata.items()},
    }


def _span(text: str | None, size: int) -> tuple[int, int] | None:
    """The bytes asked for, end not included; None for all of them. Raises `AwsError`."""
    match = _RANGE.fullmatch(text or "")
    if match is None or not (match[1] or match[2]):
        return None
    if match[1]:
        start, end = int(match[1]), min(int(match[2] or size - 1) + 1, size)
    else:
        start, end = max(0, size - int(match[2])), size
    if start >= end:
        raise AwsError("InvalidRange", "The requested range is not satisfiable", 416)
    return start, end


def _page(disk: Disk, request: Request) -> bytes:
    listed = listing.on_disk(disk, request.bucket)
    return listing.page(request.bucket, listed, request.fields)
