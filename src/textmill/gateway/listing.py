"""Pages of resources: filters, order, and a token that goes on after the last one shown."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from textmill.gateway.registry import Resource
from textmill.gateway.wire.faults import AwsError, invalid

DEFAULT_PAGE = 10
"""How many SageMaker shows where a request does not say."""

SortKey = tuple[Any, str]
_NUMBER = (int, float)


def page(
    resources: Iterable[Resource], asked: Mapping[str, Any]
) -> tuple[list[Resource], str | None]:
    """One page of resources, and the token of the next; None at the end.

    asked: the members of a List request. A token is good for the same filters and order only.
    What is created or removed between two pages moves nothing else. Raises `AwsError`.
    """
    descending = asked.get("SortOrder", "Descending") == "Descending"
    by = asked.get("SortBy", "CreationTime")
    key, question = _sort_key(by), _digest(asked)
    after = _read_token(asked.get("NextToken"), question, _NUMBER if by == "CreationTime" else str)
    found = sorted((one for one in resources if _fits(one, asked)), key=key, reverse=descending)
    if after is not None:
        found = [one for one in found if (key(one) < after if descending else key(one) > after)]
    shown = found[: asked.get("MaxResults", DEFAULT_PAGE)]
    token = _token(key(shown[-1]), question) if len(shown) < len(found) else None
    return shown, token


def _fits(one: Resource, asked: Mapping[str, Any]) -> bool:
    status = asked.get("StatusEquals")
    contains = asked.get("NameContains")
    return (
        (status is None or one.status == status)
        and (contains is None or contains.lower() in one.name.lower())
        and _within(one.created, asked, "CreationTime")
        and _within(one.modified, asked, "LastModifiedTime")
    )


def _within(seconds: float, asked: Mapping[str, Any], name: str) -> bool:
    after, before = asked.get(f"{name}After"), asked.get(f"{name}Before")
    return (after is None or seconds > after.timestamp()) and (
        before is None or seconds < before.timestamp()
    )


def _sort_key(by: str) -> Callable[[Resource], SortKey]:
    fields: dict[str, Callable[[Resource], Any]] = {
        "Name": lambda one: one.name,
        "Status": lambda one: one.status,
        "CreationTime": lambda one: one.created,
    }
    field = fields[by]
    return lambda one: (field(one), one.name)


def _digest(asked: Mapping[str, Any]) -> str:
    said = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asked.items()
        if name not in {"NextToken", "MaxResults"}
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def _token(after: SortKey, question: str) -> str:
    data = json.dumps([question, *after]).encode()
    return base64.urlsafe_b64encode(data).decode()


def _read_token(token: str | None, question: str, kind: Any) -> SortKey | None:
    if token is None:
        return None
    try:
        of, key, name = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, RecursionError) as error:
        raise _bad_token() from error
    if not isinstance(key, kind) or not isinstance(name, str):
        raise _bad_token()
    if of != question:
        raise invalid("NextToken belongs to a list with other filters or another order")
    return key, name


def _bad_token() -> AwsError:
    return invalid("NextToken is none that was given out")
