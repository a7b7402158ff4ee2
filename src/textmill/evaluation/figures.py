"""Figures as people read them."""

from __future__ import annotations

from textmill.evaluation.base import SACRE_METRICS


def number(name: str, value: float, *, sign: bool = False) -> str:
    """Four digits after the point, two where the scale goes to 100.

    sign: with + or -, which 0 has not; +0.0000 and -0.0000 are what was rounded to that.
    """
    digits = 2 if name in SACRE_METRICS else 4
    return f"{value:+.{digits}f}" if sign and value else f"{value or 0.0:.{digits}f}"


def interval(name: str, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """As in `0.2230 to 0.2356`; nothing of nothing."""
    if low is None or high is None:
        return ""
    return f"{number(name, low, sign=sign)} to {number(name, high, sign=sign)}"


def p_text(value: float) -> str:
    """p with four digits; smaller ones are not told apart by 10,000 draws."""
    return f"{value:.4f}"
