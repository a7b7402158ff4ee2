"""Figures as people read them."""

from __future__ import annotations

from textmill.evaluation.base import SACRE_METRICS

ROUNDING = 1e-12
"""Of sums of many values between 0 and 100."""


def number(name: str, value: float, *, sign: bool = False) -> str:
    """Four digits after the point, two where the scale goes to 100.

    sign: with + or -, which 0 has not, nor what is 0 but for the rounding of sums; +0.0000 and
    -0.0000 are smaller than the last digit, and on that side of 0.
    """
    digits = 2 if name in SACRE_METRICS else 4
    exact = value if abs(value) > ROUNDING else 0.0
    return f"{exact:+.{digits}f}" if sign and exact else f"{exact:.{digits}f}"


def gap(name: str, value: float) -> str:
    """A signed distance, of which no side matters where it is smaller than the last digit."""
    unsigned = number(name, abs(value))
    return number(name, value, sign=True) if float(unsigned) else unsigned


def interval(name: str, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """As in `0.2230 to 0.2356`; nothing of nothing."""
    if low is None or high is None:
        return ""
    return f"{number(name, low, sign=sign)} to {number(name, high, sign=sign)}"


def p_text(value: float) -> str:
    """p with four digits; smaller ones are not told apart by 10,000 draws."""
    return f"{value:.4f}"
