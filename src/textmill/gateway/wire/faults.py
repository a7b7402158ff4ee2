"""Errors as AWS's clients know them: a code, a message, an HTTP status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class AwsError(Exception):
    """An answer that is an error.

    code: as clients match on it. status: of HTTP. more: further members of the error's body.
    """

    def __init__(
        self, code: str, message: str, status: int = 400, more: Mapping[str, Any] | None = None
    ) -> None:
        self.code, self.message, self.status = code, message, status
        self.more = dict(more or {})
        super().__init__(f"{code}: {message}")


def invalid(message: str) -> AwsError:
    """What SageMaker answers to requests that cannot be used as they are."""
    return AwsError("ValidationException", message)


def not_found(message: str) -> AwsError:
    """What SageMaker answers for a thing that is not there. SDKs look for `Could not find`."""
    return AwsError("ValidationException", f"Could not find {message}.")


def unreadable(message: str) -> AwsError:
    """A body that is not what its protocol says."""
    return AwsError("SerializationException", message)
