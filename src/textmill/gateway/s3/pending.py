"""What multipart uploads that are not complete hold, as ListMultipartUploads and ListParts say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textmill.gateway.s3 import xml
from textmill.gateway.s3.listing import OWNER, encoder, moment, number
from textmill.gateway.s3.multipart import Uploads

MOST = 1000
"""Uploads or parts of a page."""

OF_UPLOADS = (
    *("uploads", "prefix", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"),
    "x-id",
)
OF_PARTS = ("uploadId", "max-parts", "part-number-marker", "x-id")


def uploads_page(uploads: Uploads, bucket: str, fields: Mapping[str, str]) -> bytes:
    """Uploads in the order of their keys, those of one key in the order of their ids; one page.

    Raises `AwsError`.
    """
    prefix, shown = fields.get("prefix", ""), encoder(fields)
    key_marker, id_marker = fields.get("key-marker", ""), fields.get("upload-id-marker", "")
    after = (key_marker.encode(), id_marker or "~")  # without an id: all of that key are past
    found = [
        one
        for one in uploads.listed(bucket)
        if one.key.startswith(prefix) and (not key_marker or (one.key.encode(), one.id) > after)
    ]
    found.sort(key=lambda one: (one.key.encode(), one.id))
    most = number(fields, "max-uploads", MOST)
    page = found[:most]
    is_cut = 0 < len(page) < len(found)
    content: dict[str, Any] = {
        "Bucket": bucket,
        "KeyMarker": shown(key_marker),
        "UploadIdMarker": id_marker,
        "NextKeyMarker": shown(page[-1].key) if is_cut else None,
        "NextUploadIdMarker": page[-1].id if is_cut else None,
        "Prefix": shown(prefix),
        "EncodingType": fields.get("encoding-type"),
        "MaxUploads": most,
        "IsTruncated": str(is_cut).lower(),
        "Upload": [
            {
                "Key": shown(one.key),
                "UploadId": one.id,
                "Initiator": OWNER,
                "Owner": OWNER,
                "StorageClass": "STANDARD",
                "Initiated": moment(one.begun),
            }
            for one in page
        ],
    }
    return xml.document("ListMultipartUploadsResult", content)


def parts_page(uploads: Uploads, bucket: str, key: str, fields: Mapping[str, str]) -> bytes:
    """The parts that one upload has received, by number; one page. Raises `AwsError`."""
    after = number(fields, "part-number-marker", None)
    received = uploads.received(bucket, key, fields["uploadId"])
    found = [part for part in received if part.number > after]
    most = number(fields, "max-parts", MOST)
    page = found[:most]
    is_cut = 0 < len(page) < len(found)
    content: dict[str, Any] = {
        "Bucket": bucket,
        "Key": key,
        "UploadId": fields["uploadId"],
        "Initiator": OWNER,
        "Owner": OWNER,
        "StorageClass": "STANDARD",
        "PartNumberMarker": after,
        "NextPartNumberMarker": page[-1].number if is_cut else None,
        "MaxParts": most,
        "IsTruncated": str(is_cut).lower(),
        "Part": [
            {
                "PartNumber": part.number,
                "LastModified": moment(part.modified),
                "ETag": f'"{part.etag}"',
                "Size": part.size,
            }
            for part in page
        ],
    }
    return xml.document("ListPartsResult", content)
