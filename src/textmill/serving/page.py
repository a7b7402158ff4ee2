"""The live page: one file without outside parts, and the figures that it draws."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from starlette.responses import Response

from textmill.html.build import Element, tag
from textmill.html.document import document, policy
from textmill.html.styles import base_style
from textmill.serving.endpoint import Endpoint


@cache
def _page() -> tuple[bytes, str]:
    """The page and its policy: nothing runs or is loaded but what stands in it."""
    folder = files("textmill.serving")
    style = base_style() + folder.joinpath("page.css").read_text("utf-8")
    script = folder.joinpath("page.js").read_text("utf-8")
    text = document("textmill endpoint", _body(), style=style, script=script, connect=True)
    rules = policy(style, script, connect=True)
    return text.encode(), f"{rules}; frame-ancestors 'none'"


def _body() -> Element:
    """What the script fills."""
    return tag(
        "main",
        tag(
            "header",
            tag("h1", "textmill", id="model"),
            tag("span", id="engine", class_="dim"),
            tag("span", "connecting …", id="state", class_="state", role="status"),
        ),
        tag(
            "section",
            class_="tiles",
            id="tiles",
            aria_label="Figures now and over the last minute",
        ),
        tag("section", class_="charts", id="charts", aria_label="The last five minutes"),
        tag(
            "footer",
            "The last five minutes, second by second. This page only reads.",
            class_="dim",
        ),
    )


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
