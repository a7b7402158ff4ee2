"""What went wrong with an object store, in plain words: obstore's errors are pages long."""

from __future__ import annotations

import errno
import re

from textmill.errors import is_panic

_PASSING_STATUS = {408, 429}
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
"""Of this machine's disk, where a request was read from or written to it."""
_STATUS = re.compile(r"status code: (\d{3})(?: ([^:]*))?")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_LONGEST = 300

_NO_CREDENTIALS = (
    "169.254.169.254",
    "/latest/api/token",
    "metadata.google.internal",
    "missing credentials",
    "NoCredentials",
    "no credentials",
)
_SET_KEYS = "set the keys"
"""Stands for what `_KEY_HELP` says of the cloud that was asked."""
_KEY_HELP = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (a profile's:"
    " aws configure export-credentials --format env)",
    "gcs": "set GOOGLE_APPLICATION_CREDENTIALS to a key file, or log in with"
    " gcloud auth application-default login",
    "azure": "set AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, or AZURE_CLIENT_ID,"
    " AZURE_TENANT_ID and AZURE_CLIENT_SECRET",
}

# (any of these in the error, the reason, what to do); the first that fits.
_KNOWN: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (_NO_CREDENTIALS, "no credentials were found", _SET_KEYS),
    (
        ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"),
        "there is no such bucket",
        "check the bucket's name",
    ),
    (
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "without LOCATION"),
        "the bucket is in another region",
        "set AWS_REGION to the bucket's region",
    ),
    (
        ("ExpiredToken", "TokenRefreshRequired", "RequestExpired"),
        "the credentials have expired",
        "get new ones and run the same line again",
    ),
    (
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthenticationFailed"),
        "the credentials are not valid",
        _SET_KEYS,
    ),
    (
        ("PermissionDenied", "Unauthenticated", "status code: 403", "status code: 401"),
        "access is denied",
        "the credentials need the right to list the bucket, and to get, put and delete its objects",
    ),
    (
        ("builder error",),
        "plain http is for endpoints that are named on the command line",
        "give the endpoint as an option, or use https",
    ),
    (
        ("SlowDown", "status code: 503", "status code: 429"),
        "the store is too busy, and stayed so for as long as it was asked",
        "run the same line again later: it goes on where it stopped",
    ),
    (
        ("kind: Connect,", "ConnectError"),
        "it cannot be reached",
        "check the network, the endpoint and the region",
    ),
    (
        ("kind: Interrupted", "ConnectionReset", "IncompleteMessage"),
        "the connection broke again and again",
        "check the network; run the same line again: it goes on where it stopped",
    ),
    (
        ("kind: Timeout", "timed out"),
        "it did not answer in time",
        "check the network; run the same line again: it goes on where it stopped",
    ),
    (
        ("invalid path", "Could not parse path", "surrogates not allowed"),
        "a name here has an empty part, `.`, `..` or a control character",
        "give such objects another name, or leave them out",
    ),
)


def is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed in a moment: the store is busy, or the network
    broke. Answers that mean no (4xx) and missing credentials do not pass."""
    from obstore.exceptions import BaseError, GenericError, JoinError

    if isinstance(error, BaseError) and not isinstance(error, GenericError | JoinError):
        return False
    if not isinstance(error, BaseError) and type(error) is not OSError:
        return False
    if isinstance(error, OSError) and error.errno in _DISK:
        return False
    text = str(error)
    if any(word in text for word in (*_NO_CREDENTIALS, "builder error", "without LOCATION")):
        return False
    status = _STATUS.search(text)
    return status is None or int(status[1]) >= 500 or int(status[1]) in _PASSING_STATUS


def reason_and_hint(error: BaseException, provider: str) -> tuple[str, str | None]:
    """Why, in words, and what to do about it. provider: `s3`, `gcs` or `azure`."""
    if is_panic(error):
        return (
            f"obstore cannot go on ({error}); credentials from files or the environment may be"
            " malformed",
            None,
        )
    text = f"{type(error).__name__} {error}"
    for signs, reason, hint in _KNOWN:
        if any(sign in text for sign in signs):
            return reason, _KEY_HELP[provider] if hint is _SET_KEYS else hint
    if isinstance(error, FileNotFoundError):
        return "it is not there", "check the spelling"
    return _short(str(error)), None


def login_reason_and_hint(error: BaseException, provider: str) -> tuple[str, str]:
    """Why no client can be made of the login in the environment, and what to do about it."""
    first_line = str(error).partition("\n")[0]
    return re.sub(r"^Generic \w+ error: ", "", first_line)[:_LONGEST], _KEY_HELP[provider]


def _short(text: str) -> str:
    """The server's code and message if it sent some, else the first line; never a query string,
    which may hold a signature."""
    status, code, message = _STATUS.search(text), _CODE.search(text), _MESSAGE.search(text)
    parts = [found[1] for found in (code, message) if found]
    if status:
        parts.insert(0, f"status {status[1]}")
    first_line = re.sub(r"\?\S*", "", text.partition("\n")[0])
    return (": ".join(parts) or first_line)[:_LONGEST]
