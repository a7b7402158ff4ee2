"""The parts of a page that show records: some with their texts, many as a table of numbers."""

from __future__ import annotations

from collections.abc import Iterable

from textmill.html.build import Child, Element, fragment, tag
from textmill.html.parts import given, note
from textmill.report.values import Card, Examples, Group, Numbers, Text
from textmill.words import counted

ORDERS = {
    "file": "in file order",
    "rising": "lowest score first",
    "falling": "highest score first",
    "up": "most up first",
    "down": "most down first",
}


def cards(examples: Examples, *, compared: bool, scored: bool) -> Element:
    """Records with their texts, and what they can be chosen, searched and sorted by."""
    orders = [
        key
        for key in ORDERS
        if key == "file" or (key in {"rising", "falling"} and scored) or compared
    ]
    shown = counted(len(examples.cards), "record")
    return fragment(
        note(
            f"The texts of {shown} are on this page, each up to its first {examples.limit:,}"
            " characters"
            + ("; words that prediction and reference share are marked." if scored else ".")
        ),
        tag("form", _choice(examples.groups), _search("cards-search", "Search texts and ids"),
            _select("cards-order", "Order", [(key, ORDERS[key]) for key in orders]),
            tag("p", id="cards-count", role="status"), id="cards-tools", class_="tools",
            hidden=True),
        tag("div", map(_card, examples.cards), id="cards"),
    )  # fmt: skip


def _choice(groups: Iterable[Group]) -> Element:
    choices = [("all", "All", "", "file")]
    choices += [(one.key, one.title, one.note, one.order) for one in groups]
    return tag(
        "fieldset",
        tag("legend", "Show"),
        [
            tag(
                "label",
                tag("input", type="radio", name="group", value=key, data_note=text,
                    data_order=order),
                tag("span", title),
            )
            for key, title, text, order in choices
        ],
        class_="choice",
    )  # fmt: skip


def _search(key: str, label: str) -> Element:
    return tag("label", f"{label} ", tag("input", type="search", id=key, autocomplete="off"))


def _select(key: str, label: str, options: Iterable[tuple[str, Child]]) -> Element:
    found = [tag("option", text, value=value) for value, text in options]
    return tag("label", f"{label} ", tag("select", found, id=key))


def _card(card: Card) -> Element:
    data = {f"data_{name}": f"{value:.6g}" for name, value in card.numbers.items()}
    values = [tag("div", tag("dt", name), tag("dd", value)) for name, value in card.values]
    texts = [
        fragment(tag("dt", label), tag("dd", _text(text), class_="text"))
        for label, text in card.texts
    ]
    return tag(
        "article",
        tag(
            "header",
            tag("h3", "id ", given(card.id), id=f"r-{card.place}-title"),
            [tag("span", badge, class_="badge") for badge in card.badges],
        ),
        tag("dl", values, class_="values") if values else None,
        tag("dl", texts, class_="texts"),
        id=f"r-{card.place}",
        aria_labelledby=f"r-{card.place}-title",
        tabindex="-1",
        data_groups=" ".join(card.groups),
        **data,
    )


def _text(text: Text) -> Child:
    pieces = [
        tag("mark", one.text) if one.shared else one.text
        for one in text.segments
    ]  # fmt: skip
    nothing = tag("i", "nothing") if not pieces else None
    more = tag("small", f" … {text.cut:,} more characters") if text.cut else None
    return [tag("bdi", pieces, dir="auto"), nothing, more]


def numbers(found: Numbers, *, what: str) -> Element:
    """A table of many records that the page's script fills, sorts, filters and searches."""
    whole = (
        f"All {counted(found.total, 'record')}."
        if found.shown == found.total
        else f"{found.shown:,} of {counted(found.total, 'record')}: those with texts on this page,"
        " and others at even distances in the file."
    )
    return fragment(
        tag("h3", f"{what} as a table", id="records-title"),
        note(
            whole + " Ids with a link have their texts above.",
            f" Ids are cut to their first {found.id_chars} characters." if found.id_chars else None,
        ),
        tag("p", "The table needs JavaScript, which this browser does not run here.",
            id="records-without"),
        tag("form", id="records-tools", class_="tools", hidden=True),
        tag("p", id="records-count", role="status"),
        tag("div", id="records-table", class_="scroll", role="region",
            aria_labelledby="records-title"),
        tag("nav", id="records-pages", class_="pages", aria_label="Pages of the table",
            hidden=True),
        tag("data", id="records-data", value=found.packed, hidden=True),
    )  # fmt: skip
