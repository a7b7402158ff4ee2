"""The libraries of the extra `[serve]`, asked for when something is to listen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.errors import UsageError

if TYPE_CHECKING:
    from textmill.serving.server import Listen


def listen_type() -> type[Listen]:
    """`server.Listen`. Raises `UsageError` without starlette and uvicorn."""
    try:
        from textmill.serving.server import Listen
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("textmill"):
            raise
        raise UsageError(
            f"an endpoint needs {error.name}, which is not installed",
            hint='pip install "textmill[serve]"',
        ) from error
    return Listen
