"""What all pages are made of: sections, tables, figures, charts with their scales."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from textmill.html.build import Child, Element, tag


class Head(NamedTuple):
    """A column. number: its cells stand right, in figures of one width."""

    title: str
    number: bool = False
    note: str | None = None


def given(text: str) -> Element:
    """A text from elsewhere, whose direction and characters stay within it."""
    return tag("bdi", text, dir="auto")


class Section(NamedTuple):
    """A part of a page that can be linked to as `#key`."""

    key: str
    title: str
    content: tuple[Child, ...]

    def element(self) -> Element:
        """With its heading."""
        name = f"{self.key}-title"
        heading = tag("h2", self.title, id=name)
        return tag("section", heading, self.content, id=self.key, aria_labelledby=name)


def section(key: str, title: str, *content: Child) -> Section:
    """A part of a page."""
    return Section(key, title, content)


def table(caption: str, heads: Sequence[Head], rows: Iterable[Sequence[Child]]) -> Element:
    """A table whose first column names its rows; a narrow screen scrolls it sideways."""
    columns = [
        tag("th", head.title, scope="col", class_="n" if head.number else None, title=head.note)
        for head in heads
    ]
    body = [tag("tr", _cells(row, heads)) for row in rows]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", columns)),
            tag("tbody", body),
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex="0",
    )


def _cells(row: Sequence[Child], heads: Sequence[Head]) -> Iterable[Element]:
    for at, (cell, head) in enumerate(zip(row, heads, strict=True)):
        kind = "n" if head.number else None
        yield tag("td", cell, class_=kind) if at else tag("th", cell, scope="row", class_=kind)


def figures(pairs: Iterable[tuple[str, Child]]) -> Element:
    """Single numbers, each under what it is."""
    found = [tag("div", tag("dt", label), tag("dd", value)) for label, value in pairs]
    return tag("dl", found, class_="figures")


def chart(
    title: str, drawing: Element, *, top: str, left: str, right: str, note: Child = None
) -> Element:
    """A drawing with its scale: what its upper edge and the ends of its lower one stand for."""
    return tag(
        "figure",
        tag("figcaption", title),
        tag("div", tag("span", top, class_="top"), drawing, class_="plot"),
        tag("div", tag("span", left), tag("span", right), class_="ends", aria_hidden="true"),
        tag("p", note, class_="note") if note else None,
    )


def details(title: str, *content: Child) -> Element:
    """What is shown when it is asked for."""
    return tag("details", tag("summary", title), content)


def note(*content: Child) -> Element:
    """A sentence that helps to read what stands above it."""
    return tag("p", content, class_="note")
