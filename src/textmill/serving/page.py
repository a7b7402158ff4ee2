"""The live page: one file without outside parts, and the figures that it draws."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Any

from starlette.responses import Response

from textmill.serving.endpoint import Endpoint

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def _page() -> tuple[bytes, str]:
    """The page and its policy: nothing runs or is loaded but what stands in it."""
    text = files("textmill.serving").joinpath("page.html").read_text("utf-8")
    digests = {kind: _digest(content) for kind, content in _INLINE.findall(text)}
    policy = (
        f"default-src 'none'; script-src '{digests['script']}'; style-src '{digests['style']}';"
        " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    )
    return text.encode(), policy


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def page_response() -> Response:
    """The page."""
    body, policy = _page()
    headers = {"content-security-policy": policy, "referrer-policy": "no-referrer"}
    return Response(body, headers=headers, media_type="text/html; charset=utf-8")


def live_figures(endpoint: Endpoint) -> dict[str, Any]:
    """What the page shows: now, over the last minute, and second by second."""
    capabilities = endpoint.model.engine.capabilities
    return {
        "model": endpoint.model.name,
        "engine": f"{capabilities.name} {capabilities.precision}",
        "state": str(endpoint.state),
        "slo_seconds": endpoint.slo_seconds,
        "now": endpoint.ends.figures(),
        "minute": endpoint.metrics.lately(),
        "seconds": endpoint.metrics.window(),
    }
