r"""Result lines as files: JSON Lines as they are, CSV and TSV as a table.

The table has the columns `id`, those that the job keeps, `generated_text` and `generated_texts`.
The first text stands as it is in `generated_text`. `generated_texts` is empty where it is the only
one, else the JSON array of all of them, so what was written can be told exactly:
`json.loads(generated_texts) if generated_texts else [generated_text]`.

Cells are JSON strings as their text and all other JSON values as they are written; null is an empty
cell, and so is a column that a record lacks. A cell is quoted when it holds the delimiter, a quote,
`\n` or `\r`. Rows end with `\n`. Cells that a spreadsheet takes for a formula (`=1+1`) are written
untouched.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from msgspec import Raw

from textmill.core import JsonText
from textmill.errors import UsageError
from textmill.records.strict import decode_string
from textmill.records.unfit import quoted

ID_COLUMN, TEXT_COLUMN, TEXTS_COLUMN = "id", "generated_text", "generated_texts"

_decode_line = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode


class JsonlWriter:
    """Writes result lines as they are."""

    def encode(self, lines: Sequence[JsonText]) -> bytes:
        """The lines, each with its end."""
        return b"".join([b"%b\n" % line for line in lines])

    def finish(self) -> bytes:
        """Nothing follows the last line."""
        return b""


def check_table_columns(keep: Sequence[str]) -> None:
    """Raise `UsageError` for a column to keep whose name the table has of its own."""
    if TEXT_COLUMN in keep:
        raise UsageError(
            f"the column {quoted(TEXT_COLUMN)} cannot be kept: the table has one of its own",
            hint="rename the column in the input, or write JSON Lines",
        )


class DelimitedWriter:
    """Writes result lines as CSV or TSV, the header first."""

    def __init__(self, delimiter: bytes, keep: Sequence[str]) -> None:
        """`keep`: the columns that the job keeps. Raises `UsageError` for a name of our own."""
        check_table_columns(keep)
        self._delimiter = delimiter.decode()
        self._to_quote = re.compile(f'[{re.escape(self._delimiter)}"\r\n]').search
        self._keep = tuple(keep)
        self._header = self._row([ID_COLUMN, *keep, TEXT_COLUMN, TEXTS_COLUMN])

    def encode(self, lines: Sequence[JsonText]) -> bytes:
        """One row for each line."""
        return self._take_header() + "".join([self._line(line) for line in lines]).encode()

    def finish(self) -> bytes:
        """The header, if there was no row."""
        return self._take_header()

    def _take_header(self) -> bytes:
        header, self._header = self._header, ""
        return header.encode()

    def _line(self, line: JsonText) -> str:
        fields = _decode_line(line)
        texts = fields[TEXTS_COLUMN]
        first, *others = _decode_texts(texts)
        kept = [_cell(fields[name]) if name in fields else "" for name in self._keep]
        several = bytes(texts).decode() if others else ""
        return self._row([_cell(fields[ID_COLUMN]), *kept, first, several])

    def _row(self, cells: Sequence[str]) -> str:
        written = self._delimiter.join(
            [
                '"' + cell.replace('"', '""') + '"' if self._to_quote(cell) else cell
                for cell in cells
            ]
        )
        return written + "\n"


def _cell(value: Raw) -> str:
    """A JSON string's text; nothing for null; any other value as it is written."""
    text = bytes(value)
    if text == b"null":
        return ""
    return decode_string(text) if text[:1] == b'"' else text.decode()
