"""Who may ask, and how often. Keys are compared in constant time, and never shown. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from textmill.batching.clock import Clock
from textmill.errors import UsageError
from textmill.storage.keys import key_file_text
from textmill.words import written

_LEAST_KEY = 16
_MOST_CLIENTS = 10_000
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Keys:
    """The keys that open the endpoint; only their digests are kept."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """`keys`: each by the name that logs and rate limits know it by."""
        self._digests = {name: _digest(key) for name, key in keys.items()}

    def name_of(self, key: str | None) -> str | None:
        """Whose key it is; None for a wrong one. Takes as long for every wrong key."""
        given = _digest(key or "")
        found = None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = name
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def read_keys(path: Path) -> Keys:
    """The keys of a file: one a line, with a name before it or not; `#` begins a comment line.

    Raises `UsageError` for a file without keys, for a key that is short or that no header can
    carry, and for one that stands twice.
    """
    lines = key_file_text(path).splitlines()
    keys: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name = words[0] if len(words) == 2 else f"key-{number}"
        if len(words) > 2 or not _is_key(words[-1]):
            raise UsageError(
                f"{path}, line {number}: write KEY or NAME KEY, the key of {_LEAST_KEY} or more"
                " letters, digits and signs of ASCII",
                hint="make one with: openssl rand -hex 32",
            )
        if name in keys or words[-1] in keys.values():
            raise UsageError(f"{path}, line {number}: the key or its name stands there twice")
        keys[name] = words[-1]
    if not keys:
        raise UsageError(f"the key file {path} holds no key")
    return Keys(keys)


def _is_key(word: str) -> bool:
    return len(word) >= _LEAST_KEY and all("!" <= character <= "~" for character in word)


def key_in(headers: Mapping[str, str]) -> str | None:
    """The key that a call brings: as a bearer token, as `x-api-key`, or as a browser's password."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        return _password(value.strip())
    return headers.get("x-api-key")


def _password(credentials: str) -> str | None:
    try:
        text = base64.b64decode(credentials, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    return text.partition(":")[2]


class Rate(Struct, frozen=True, kw_only=True):
    """How often one client may ask. burst: calls at once before the rate counts."""

    per_second: float
    burst: float


def parse_rate(text: str) -> Rate:
    """`50/s` or `600/m`, as many at once. Raises `UsageError`."""
    number, _, unit = text.partition("/")
    seconds = {"s": 1, "m": 60, "h": 3600}.get(unit.strip() or "s")
    try:
        count = float(number)
    except ValueError:
        count = 0.0
    if seconds is None or not 0 < count < 1e9:
        raise UsageError(
            f"rate limit {written(text)}: write a number and a unit, as in 50/s or 600/m"
        )
    return Rate(per_second=count / seconds, burst=max(1.0, count))


class RateLimiter:
    """A bucket of tokens for each client; the clients that asked last are remembered."""

    def __init__(self, rate: Rate, clock: Clock) -> None:
        self._rate, self._clock = rate, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str) -> float:
        """Take one token: 0 if there was one, else the seconds until there is."""
        now = self._clock.now()
        tokens, since = self._buckets.pop(client, (self._rate.burst, now))
        tokens = min(self._rate.burst, tokens + (now - since) * self._rate.per_second)
        enough = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if enough else tokens, now)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (1.0 - tokens) / self._rate.per_second


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    return host in _LOOPBACK or host.startswith("127.")


def host_name(host: str) -> str:
    """The name in a `Host` header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_foreign(headers: Mapping[str, str], own_hosts: Sequence[str] | None) -> bool:
    """Whether a web page of another site sends this, or a name that was bent to this machine.

    own_hosts: names that this endpoint answers to; None where a key protects it, or nobody knows.
    A client that names no host at all, as HTTP/1.0 allows, is no browser.
    """
    host = headers.get("host", "")
    if host and own_hosts is not None and host_name(host) not in {*own_hosts, *_LOOPBACK}:
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit_host(origin) != host.lower()


def urlsplit_host(origin: str) -> str:
    """Host and port of an origin; empty for one that is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
