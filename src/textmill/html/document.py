"""A whole page: one file that loads nothing, and a policy that would not let it."""

from __future__ import annotations

import base64
import hashlib

from textmill.html.build import Child, Element, code, tag

HEAD_BYTES = 200
"""So much of a page is enough for `is_ours`."""


def policy(style: str, script: str | None = None, *, connect: bool = False) -> str:
    """The policy of a page with this style and script: nothing else runs, nothing is loaded.

    connect: the page may ask the server it comes from.
    """
    rules = ["default-src 'none'", f"style-src '{_digest(style)}'", "img-src data:"]
    if script is not None:
        rules += [f"script-src '{_digest(script)}'", "require-trusted-types-for 'script'"]
        rules += ["trusted-types 'none'"]
    if connect:
        rules.append("connect-src 'self'")
    return "; ".join([*rules, "base-uri 'none'", "form-action 'none'"])


def document(
    title: str, *body: Child, style: str, script: str | None = None, connect: bool = False
) -> str:
    """The page as text, in UTF-8. The script runs once the page is there. connect: see `policy`."""
    rules = policy(style, script, connect=connect)
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        _made_by(),
        tag("meta", http_equiv="Content-Security-Policy", content=rules),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        code("style", style),
    )
    content = tag("body", *body, code("script", script) if script is not None else None)
    return f"<!doctype html>\n{tag('html', head, content, lang='en')}\n"


def is_ours(beginning: bytes) -> bool:
    """Whether a file with these first bytes is a page of this module's."""
    return beginning.startswith(b"<!doctype html>") and f"{_made_by()}".encode() in beginning


def _made_by() -> Element:
    return tag("meta", name="generator", content="textmill")


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
