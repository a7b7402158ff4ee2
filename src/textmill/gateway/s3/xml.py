"""S3's XML: what is answered, and the two documents that clients send."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape

from textmill.gateway.wire.faults import AwsError

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_MAX_DEPTH = 8

Tree = Mapping[str, Any]


def document(root: str, content: Tree) -> bytes:
    """A document. A list stands for several elements of its name; None for no element."""
    body = f'<{root} xmlns="{NAMESPACE}">{_members(content)}</{root}>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()


def error_body(error: AwsError, id_: str) -> bytes:
    """An error, which has no namespace."""
    inner = _members({"Code": error.code, "Message": error.message, **error.more, "RequestId": id_})
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()


def _members(content: Tree) -> str:
    parts = []
    for name, value in content.items():
        for one in value if isinstance(value, list) else [value]:
            if one is not None:
                inner = _members(one) if isinstance(one, Mapping) else _text(str(one))
                parts.append(f"<{name}>{inner}</{name}>")
    return "".join(parts)


def _text(text: str) -> str:
    """Text as XML 1.0 can hold it; keys with other characters are given percent-encoded."""
    kept = "".join(c if c >= " " or c in "\t\n\r" else "\ufffd" for c in text)
    return escape(kept, {"\r": "&#13;"})


def elements(body: bytes, path: str) -> list[dict[str, str]]:
    """The texts of the children of each element at `path` (`Delete/Object`).

    No entity, no document type and no processing instruction is read. Raises `AwsError`.
    """
    reader = _Reader(tuple(path.split("/")))
    try:
        reader.parser.Parse(body, True)
    except (expat.ExpatError, ValueError) as error:
        raise AwsError("MalformedXML", f"the body is no such XML: {error}") from error
    return reader.found


class _Reader:
    """Follows the parser to the elements that are wanted."""

    def __init__(self, path: tuple[str, ...]) -> None:
        self._path = path
        self._at: tuple[str, ...] = ()
        self.found: list[dict[str, str]] = []
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._refuse

    def _start(self, name: str, _: Any) -> None:
        self._at = (*self._at, name.rpartition(":")[2])
        if len(self._at) > _MAX_DEPTH:
            raise ValueError("it is nested too deep")
        if self._at == self._path:
            self.found.append({})

    def _end(self, _: str) -> None:
        self._at = self._at[:-1]

    def _characters(self, text: str) -> None:
        if self._at[:-1] == self._path:
            name = self._at[-1]
            self.found[-1][name] = self.found[-1].get(name, "") + text

    def _refuse(self, *_: Any) -> None:
        raise ValueError("it has a document type")


def names(found: Iterable[Mapping[str, str]], name: str) -> list[str]:
    """One member of each element. Raises `AwsError` where it is missing."""
    texts = [one.get(name) for one in found]
    if None in texts or not texts:
        raise AwsError("MalformedXML", f"an element has no {name}")
    return [text for text in texts if text is not None]
