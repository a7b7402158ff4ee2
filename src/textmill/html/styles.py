"""The style that all pages share: colours, type, tables, charts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def base_style() -> str:
    """As CSS. A page's own rules follow it."""
    return files("textmill.html").joinpath("base.css").read_text("utf-8")
