"""A model behind a server of its own process, for a load test of it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from textmill.errors import ModelError

_STOP_S = 30.0


@contextmanager
def served(model: str, slo: float | None) -> Iterator[str]:
    """The address of `textmill serve --model MODEL`. Raises `ModelError` if it does not start."""
    target = [] if slo is None else ["--slo", f"{slo * 1000:g}ms"]
    command = [sys.executable, "-m", "textmill", "serve", "--model", model, "--port", "0"]
    process = subprocess.Popen(  # noqa: S603  our own module
        [*command, "--quiet", *target], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101  a pipe was asked for
        found = re.search(r"https?://\S+", process.stdout.readline())
        if found is None:
            raise ModelError(f"{model} cannot be served")
        yield found[0]
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
