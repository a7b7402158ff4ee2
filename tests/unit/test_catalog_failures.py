"""Errors of disk and network that are hard to bring about for real, as the user reads them."""

from __future__ import annotations

import errno
import os

import httpx2
import pytest

from textmill.catalog.failures import explain
from textmill.errors import ModelError, ModelNotFound

ADDRESS = "https://hub.example"


def oserror(code: int) -> OSError:
    return OSError(code, os.strerror(code), "/cache/x")


@pytest.mark.parametrize(
    ("error", "said", "way_out"),
    [
        (oserror(errno.ENOSPC), "No space left", "TEXTMILL_HOME"),
        (oserror(errno.EACCES), "/cache/x", "rights"),
        (OSError("Consistency check failed: size"), "ended early", "Run the same line again"),
        (httpx2.ReadTimeout(""), "ReadTimeout", "Run the same line again"),
        (httpx2.ReadError("reset by peer"), "reset by peer", "Run the same line again"),
        (httpx2.ProxyError("407"), "407", "HTTPS_PROXY"),
        (httpx2.TooManyRedirects("20"), ADDRESS, "Run the same line again"),
        (ValueError("Expecting value"), "not answer like a model hub", "HF_ENDPOINT"),
    ],
)
def test_foreign_errors_say_what_to_do(error: Exception, said: str, way_out: str) -> None:
    ours = explain(error, ADDRESS, "o/n", "main")
    assert type(ours) is ModelError
    assert said in ours.message
    assert way_out in (ours.hint or "")


def test_a_name_that_cannot_be_a_repository() -> None:
    from huggingface_hub.errors import HFValidationError

    ours = explain(HFValidationError("too long"), ADDRESS, "o/" + "n" * 200, "main")
    assert type(ours) is ModelNotFound
    assert "too long" in ours.message
