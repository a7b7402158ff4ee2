"""Bodies to records: the parts that all dialects share. Limits come before parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from textmill.core import JsonText, Record, Rejected
from textmill.params import KNOWN_NAMES, USER_NAMES
from textmill.records.builder import RecordBuilder
from textmill.records.shape import ORDINAL_ID, TEXT_FIELD, Shape
from textmill.records.strict import is_deeper, parse_object, repeated_key
from textmill.records.unfit import Unfit, quoted
from textmill.serving.asked import unreadable
from textmill.serving.limits import Limits
from textmill.serving.refusals import Code, Refused, code_of

Columns = Mapping[str, JsonText]

_encode = msgspec.json.Encoder().encode
_FILE = "the call"


class Reader:
    """Reads the calls of one endpoint. Not thread-safe."""

    def __init__(self, shape: Shape, limits: Limits) -> None:
        """`shape`: its prompt and parameters; ids are the dialects' own matter."""
        self._shape = msgspec.structs.replace(shape, id_field=ORDINAL_ID)
        self._builder = RecordBuilder(self._shape)
        self._limits = limits

    @property
    def shape(self) -> Shape:
        """How records are made of columns."""
        return self._shape

    def object(self, body: bytes, what: str = "the body") -> dict[str, JsonText]:
        """The members of a body that is one JSON object. Raises `Refused`."""
        check_nesting(body, self._limits.max_nesting)
        try:
            fields = parse_object(body)
            key = repeated_key(body.replace(b"\n", b" "), fields)
        except Unfit as error:
            message = error.message.replace("the line", what)
            raise Refused(code_of(error.code), message) from error
        if key is not None:
            raise unreadable(f"the key {quoted(key)} appears twice in {what}", Code.BAD_JSON)
        if len(fields) > self._limits.max_fields:
            allowed = self._limits.max_fields
            raise unreadable(
                f"{what} has {len(fields)} keys; {allowed} are allowed", Code.TOO_LARGE
            )
        return {name: bytes(value) for name, value in fields.items()}

    def refuse_unknown(self, columns: Columns, known: frozenset[str]) -> None:
        """Raise `Refused` for a key that is neither known, nor data, nor a parameter."""
        allowed = known | self._shape.data_columns | KNOWN_NAMES
        for name in columns:
            if name not in allowed:
                valid = ", ".join(sorted(USER_NAMES))
                message = f"{quoted(name)} is not a key of this payload; parameters are: {valid}"
                raise unreadable(message, Code.BAD_PARAMETER)

    def row(self, columns: Columns, ordinal: int, line: int = 1) -> Record | Rejected:
        """A record of columns; a bad one is a value."""
        return self._builder.build(columns, ordinal, _FILE, line)

    def texts(self, texts: Sequence[str], parameters: Columns) -> list[Record | Rejected]:
        """One record for each text, all with the same parameters."""
        self._limits.check_texts(len(texts))
        field = self.text_field()
        return [self.row({**parameters, field: _encode(t)}, n) for n, t in enumerate(texts)]

    def text_field(self) -> str:
        """The column that a lone text is put into. Raises `Refused` if there are several."""
        if self._shape.prompt is None:
            return TEXT_FIELD
        columns = sorted(self._shape.prompt.columns)
        if len(columns) != 1:
            names = ", ".join(columns)
            raise unreadable(f"this endpoint's prompt needs the fields {names}: send an object")
        return columns[0]


def check_nesting(body: bytes, most: int) -> None:
    """Raise `Refused` for JSON that is nested deeper than `most` levels."""
    if is_deeper(body, most):
        raise unreadable(f"nested deeper than {most} levels", Code.TOO_LARGE)


def text_of(body: bytes) -> str:
    """The body as text. Raises `Refused`."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise unreadable(f"not UTF-8 at byte {error.start + 1}", Code.BAD_JSON) from None
    if not text.strip():
        raise unreadable("there is no text", Code.EMPTY)
    return text
