"""The reference page is the table."""

from __future__ import annotations

from pathlib import Path

from textmill.params import PARAMETERS
from textmill.params.reference import page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "parameters.md"


def test_the_page_is_up_to_date() -> None:
    """After a change: python -m textmill.params.reference > docs/reference/parameters.md"""
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_parameter_is_on_the_page() -> None:
    for row in PARAMETERS:
        assert f"### `{row.name}`\n" in page()
