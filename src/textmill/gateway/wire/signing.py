"""Signatures of version 4: whether a request was signed with a key that is known here.

Verification needs the request as it went over the wire: the path and the query still encoded.
"""

from __future__ import annotations

import configparser
import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, quote

from msgspec import Struct

from textmill.errors import InputError, UsageError
from textmill.gateway.wire.faults import AwsError
from textmill.gateway.wire.routing import S3, Scope

UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_SKEW = timedelta(minutes=15)
MAX_EXPIRY_SECONDS = 7 * 24 * 3600

_SIGNED = re.compile(r"SignedHeaders=([^,\s]+)")
_SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")
_SPACES = re.compile(r" +")
_ALGORITHM = "AWS4-HMAC-SHA256"


class Signed(Struct, frozen=True, kw_only=True):
    """What a signature is made of.

    path, query: still percent-encoded. headers: by lower-case names. body_sha256: of the body as
    it was received, in hexadecimal; None if it is not at hand, then a header has to say it.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body_sha256: str | None


def read_keys(path: Path) -> dict[str, str]:
    """Secrets by access keys, from a file like ~/.aws/credentials. Raises `UsageError`."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no file of keys: {error}", hint=_FORMAT) from error
    found = {}
    for name in parser.sections():
        section = parser[name]
        if "aws_access_key_id" in section and "aws_secret_access_key" in section:
            found[section["aws_access_key_id"]] = section["aws_secret_access_key"]
    if not found:
        raise UsageError(f"{path} holds no key", hint=_FORMAT)
    return found


_FORMAT = "write it like ~/.aws/credentials: [default], aws_access_key_id, aws_secret_access_key"


def _unsigned(request: Signed) -> AwsError:
    """In the words of S3, whose requests are hardly ever POSTs, or of the other services."""
    if request.method == "POST":
        return AwsError("MissingAuthenticationTokenException", "the request is not signed", 403)
    if "AWSAccessKeyId=" in request.query:
        message = "addresses are to be presigned by version 4 (boto3: signature_version='s3v4')"
        return AwsError("AccessDenied", message, 403)
    return AwsError("AccessDenied", "the request is not signed", 403)


def verify(request: Signed, scope: Scope | None, keys: Mapping[str, str], now: datetime) -> None:
    """Raise `AwsError` unless the request was signed with one of `keys`, and lately."""
    if scope is None:
        raise _unsigned(request)
    secret = keys.get(scope.access_key)
    if secret is None:
        code = "InvalidAccessKeyId" if scope.service == S3 else "UnrecognizedClientException"
        raise AwsError(code, "the access key is not known here", 403)
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    if "authorization" in request.headers:
        names, signature = _said(request.headers["authorization"])
        at = request.headers.get("x-amz-date", "")
        _check_time(at, now, MAX_SKEW)
    else:
        names, signature = query.get("X-Amz-SignedHeaders", ""), query.get("X-Amz-Signature", "")
        at = query.get("X-Amz-Date", "")
        _check_time(at, now, _expiry(query.get("X-Amz-Expires", "")))
    expected = _signature(request, scope, secret, names.split(";"), at)
    if not hmac.compare_digest(expected, signature):
        code = "SignatureDoesNotMatch" if scope.service == S3 else "InvalidSignatureException"
        raise AwsError(code, "the signature is not that of the request and the key", 403)


def _said(authorization: str) -> tuple[str, str]:
    names, signature = _SIGNED.search(authorization), _SIGNATURE.search(authorization)
    if not authorization.startswith(_ALGORITHM) or names is None or signature is None:
        raise AwsError("IncompleteSignature", "the signature is not complete", 403)
    if "host" not in names[1].split(";"):
        raise AwsError("IncompleteSignature", "the host must be signed", 403)
    return names[1], signature[1]


def _check_time(at: str, now: datetime, most: timedelta) -> None:
    try:
        then = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise AwsError("IncompleteSignature", "the signature has no time", 403) from None
    if not -MAX_SKEW <= now - then <= most:
        raise AwsError("RequestTimeTooSkewed", "the signature's time is too far from now", 403)


def _expiry(text: str) -> timedelta:
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:9]) <= MAX_EXPIRY_SECONDS:
        raise AwsError("AuthorizationQueryParametersError", "X-Amz-Expires is wrong", 403)
    return timedelta(seconds=int(text))


def _signature(request: Signed, scope: Scope, secret: str, names: list[str], at: str) -> str:
    if at[:8] != scope.date:
        raise AwsError("IncompleteSignature", "the scope has another day than the time", 403)
    terms = f"{scope.date}/{scope.region}/{scope.service}/aws4_request"
    canonical = hashlib.sha256(_canonical(request, scope, names).encode()).hexdigest()
    text = f"{_ALGORITHM}\n{at}\n{terms}\n{canonical}"
    key = f"AWS4{secret}".encode()
    for part in (scope.date, scope.region, scope.service, "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def _canonical(request: Signed, scope: Scope, names: list[str]) -> str:
    lines = [
        f"{name}:{_SPACES.sub(' ', request.headers.get(name, '').strip())}\n" for name in names
    ]
    # S3 signs the path as it is sent, all others encode it once more.
    path = request.path if scope.service == S3 else quote(request.path, safe="/~")
    return "\n".join(
        [
            request.method,
            path,
            _query(request.query),
            "".join(lines),
            ";".join(names),
            _body(request),
        ]
    )


def _query(query: str) -> str:
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    kept = [(name, value) for name, _, value in pairs if name != "X-Amz-Signature"]
    return "&".join(f"{name}={value}" for name, value in sorted(kept))


def _body(request: Signed) -> str:
    """What the signature says of the body. A digest that is stated is compared by who reads it."""
    stated = request.headers.get("x-amz-content-sha256")
    if stated is not None:
        return stated
    if "authorization" not in request.headers:
        return UNSIGNED
    return request.body_sha256 or hashlib.sha256(b"").hexdigest()
