"""Where a server is, and what of it is meant: `http://host:8000/v1/completions#model-name`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit

from msgspec import Struct

from textmill.errors import UsageError

CHAT, COMPLETIONS = "chat/completions", "completions"
"""The two routes: one user message for each text, or the text as it is."""

_EXAMPLE = "for example --model http://127.0.0.1:8000/v1 or https://host/v1#model-name"


class ServerAddress(Struct, frozen=True, kw_only=True):
    """A server's address without credentials; safe to print and to store.

    base: what `/models` and the route are under. model: None means the only one it has.
    encrypted: https. loopback: it is this machine, so nobody listens on the way.
    """

    base: str
    route: str
    model: str | None
    encrypted: bool
    loopback: bool

    @property
    def url(self) -> str:
        """Where requests go."""
        return f"{self.base}/{self.route}"


def is_address(model: object) -> bool:
    """Whether a model's name is the address of a server."""
    return isinstance(model, str) and re.match(r"https?://", model, re.IGNORECASE) is not None


def parse_address(text: str) -> ServerAddress:
    """Read an address as `--model` takes it. Raises `UsageError`.

    What may be a secret is refused without being repeated: user names and passwords, queries.
    """
    parts = _split(text)
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "the server's address holds a user name or password, which every list of processes"
            " would show",
            hint="put the key into a file and name it with --api-key-file, or set OPENAI_API_KEY",
        )
    if parts.query:
        raise UsageError("the server's address has a query (?…), which is not sent", hint=_EXAMPLE)
    path = parts.path.rstrip("/")
    route = next((r for r in (CHAT, COMPLETIONS) if path.endswith("/" + r)), None)
    base = path.removesuffix("/" + route) if route else path
    scheme = parts.scheme.lower()
    return ServerAddress(
        base=f"{scheme}://{parts.netloc}{base}",
        route=route or CHAT,
        model=unquote(parts.fragment) or None,
        encrypted=scheme == "https",
        loopback=_is_loopback(parts.hostname or ""),
    )


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket that is not closed
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise UsageError("the model looks like a server's address but is none", hint=_EXAMPLE)
    return parts


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
