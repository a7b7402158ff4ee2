"""Elements of a page. Whatever text they are given is shown as text, whatever is in it.

There is no way to hand markup over: text is escaped when an element is written, names of tags and
attributes are checked, and attributes that could run or load something are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape
from typing import Union

from msgspec import Struct

Child = Union["Element", str, int, float, None, Iterable["Child"]]
"""What may stand in an element. None is nothing, so that a part can be left out."""
Attribute = str | int | float | bool | None
"""True is an attribute without a value; None and False are none."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_VOID = frozenset({"br", "circle", "hr", "input", "line", "link", "meta", "path", "rect"})
_SELF_CLOSING = frozenset({"circle", "line", "path", "rect"})
_CODE = frozenset({"script", "style"})
_REFUSED = re.compile(r"on.*|style|src.*|action|formaction|data|background|poster|ping|xmlns.*")
_LINK = re.compile(r"#|data:,$")

CONTROLS = {
    **{code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **dict.fromkeys(range(0xD800, 0xE000), 0xFFFD),
    **dict.fromkeys(range(0xFDD0, 0xFDF0), 0xFFFD),
    **{plane << 16 | last: 0xFFFD for plane in range(17) for last in (0xFFFE, 0xFFFF)},
}
"""Characters that a page must not hold, and the pictures or the mark that stand for them."""


class Element(Struct, frozen=True):
    """A tag with attributes, as (name, value), and what is in it. Without a name, only that."""

    name: str
    attributes: tuple[tuple[str, str | None], ...] = ()
    children: tuple[Child, ...] = ()

    def __str__(self) -> str:
        return "".join(_written(self))


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Element:
    """An element. `class_` and `for_` stand for what Python reserves, `_` within a name for `-`.

    Raises `ValueError` for names that are none, and for attributes that could run or load.
    """
    if not _NAME.fullmatch(name) or name in _CODE:
        raise ValueError(f"{name!r} is not the name of an element that pages are built of")
    if name in _VOID and children:
        raise ValueError(f"{name} holds nothing")
    given = ((_attribute_name(key), value) for key, value in attributes.items())
    kept = tuple(
        (key, None if value is True else _attribute_value(key, value))
        for key, value in given
        if value is not None and value is not False
    )
    return Element(name, kept, children)


def fragment(*children: Child) -> Element:
    """Children without an element around them."""
    return Element("", (), children)


def code(name: str, text: str) -> Element:
    """A `script` or `style` of our own. Raises `ValueError` where the text would end it early."""
    if name not in _CODE or re.search(r"</|<!--", text):
        raise ValueError(f"this text cannot stand in {name}")
    return Element(name, (), (text,))


def visible(text: str) -> str:
    """The text as a page can hold it: controls as their pictures, what is no character as �."""
    return text.replace("\r\n", "\n").translate(CONTROLS)


def _attribute_name(key: str) -> str:
    name = key.rstrip("_").replace("_", "-")
    if not _NAME.fullmatch(name) or _REFUSED.fullmatch(name.lower()):
        raise ValueError(f"{name!r} is not an attribute that pages are built of")
    return name


def _attribute_value(name: str, value: str | float) -> str:
    text = number_text(value) if isinstance(value, float) else str(value)
    if name == "href" and not _LINK.match(text):
        raise ValueError(f"a page links to its own parts only, not to {text!r}")
    return text


def number_text(value: float) -> str:
    """A coordinate in as few digits as one needs."""
    return f"{value:.1f}".removesuffix(".0")


def _written(child: Child) -> Iterable[str]:
    if child is None:
        return
    if isinstance(child, Element):
        yield from _element(child)
    elif isinstance(child, str):
        yield escape(visible(child), quote=False)
    elif isinstance(child, int | float):
        yield str(child)
    else:
        for one in child:
            yield from _written(one)


def _element(element: Element) -> Iterable[str]:
    name = element.name
    if not name:
        yield from _written(element.children)
        return
    yield "<" + name
    for key, value in element.attributes:
        yield f" {key}" if value is None else f' {key}="{escape(visible(value))}"'
    if name in _VOID:
        yield "/>" if name in _SELF_CLOSING else ">"
        return
    yield ">"
    if name in _CODE:
        yield from (str(text) for text in element.children)
    else:
        yield from _written(element.children)
    yield f"</{name}>"
