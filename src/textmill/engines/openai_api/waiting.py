"""How long to wait: what servers say in headers, and what to do when they say nothing. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import blake2b

from msgspec import Struct


class Retries(Struct, frozen=True, kw_only=True):
    """How stubborn to be.

    attempts: of one request, before its record fails. timeouts: attempts that may time out.
    first_delay_s, max_delay_s: of the waits between them, which double.
    patience_s: how long a server may answer nothing at all before the job stops.
    """

    attempts: int = 8
    timeouts: int = 2
    first_delay_s: float = 0.5
    max_delay_s: float = 30.0
    patience_s: float = 300.0

    def delay_s(self, failures: int, *key: object) -> float:
        """The wait after so many failures, at least 1: half of it fixed, half by the key's hash.

        So many requests that failed together do not come back together, and a run can be
        repeated.
        """
        longest = min(self.first_delay_s * 2.0 ** min(failures - 1, 60), self.max_delay_s)
        digest = blake2b(repr((failures, *key)).encode(), digest_size=4).digest()
        return longest * (0.5 + int.from_bytes(digest) / 2**33)


MAX_ASKED_S = 3600.0
"""The longest wait that a server may ask for."""

_REMAINING, _RESET = "x-ratelimit-remaining-", "x-ratelimit-reset-"
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_EPOCH, _EPOCH_MS = 1e9, 1e12
"""Numbers over these are moments, not durations."""


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that `Retry-After` asks for, at least 0; None if it asks for nothing readable.

    A date is compared with the answer's own `Date`, so that a wrong clock here does no harm.
    """
    asked = headers.get("retry-after", "").strip()
    seconds = _number(asked)
    if seconds is not None:
        return seconds
    until = _date(asked)
    if until is None:
        return None
    return max(0.0, (until - (_date(headers.get("date", "")) or now)).total_seconds())


def exhausted_s(headers: Mapping[str, str], now: datetime) -> float:
    """Seconds until every used-up rate limit is refilled; 0 when none is used up."""
    waits = [
        _reset_s(headers.get(_RESET + name.removeprefix(_REMAINING), ""), now)
        for name, left in headers.items()
        if name.startswith(_REMAINING) and _number(left.strip()) == 0
    ]
    return max(waits, default=0.0)


def _reset_s(text: str, now: datetime) -> float:
    """Seconds of "6m0s", "20ms", "12.5" or a moment in seconds or milliseconds since 1970."""
    text = text.strip()
    number = _number(text)
    if number is None:
        pairs = _DURATION.findall(text)
        whole = "".join(value + unit for value, unit in pairs) == text
        return sum(float(value) * _UNITS[unit] for value, unit in pairs) if whole else 0.0
    if number > _EPOCH_MS:
        number /= 1000
    return max(0.0, number - now.timestamp()) if number > _EPOCH else number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
