"""What predictions are measured against: by id, with sources and the columns of slices."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from textmill.errors import InputError
from textmill.evaluation.fields import (
    blurred,
    duplicate,
    field_value,
    id_key,
    id_name,
    id_text,
    key_of,
    not_text,
    only_field,
)
from textmill.evaluation.files import RowFile
from textmill.evaluation.options import Tokenizer
from textmill.evaluation.rows import Row
from textmill.evaluation.spool import Spool
from textmill.evaluation.tokens import DEFAULT_TOKENIZER, is_misread
from textmill.words import written

MAX_GROUPS = 200


class Wanted(NamedTuple):
    """One record's references, and the text the model was given where it is known."""

    references: list[str]
    source: str | None


class Column:
    """The values of one field, numbered as they are met."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.codes = array("i")
        self._values: dict[Hashable, tuple[Any, int]] = {}

    @property
    def labels(self) -> dict[str, int]:
        """Each value as people read it, with its number; all texts in quotes where they would be
        taken for others, as 1 and "1" in one column."""
        values = [value for value, _ in self._values.values()]
        plain = [_label(value) for value in values]
        if len(set(plain)) < len(plain):
            plain = [json.dumps(value, ensure_ascii=False) if isinstance(value, str) else label
                     for value, label in zip(values, plain, strict=True)]  # fmt: skip
        return {label: code for code, label in enumerate(plain)}

    def add(self, row: Row, where: str) -> None:
        """One more record's value. Raises `InputError` for a list, an object, or too many."""
        value = row.value.get(self.name)
        if isinstance(value, list | dict):
            raise InputError(
                f"{where}: field {written(self.name)} holds several values; slices need one",
                hint="name another field with --by",
            )
        _, code = self._values.setdefault(id_key(value), (value, len(self._values)))
        self.codes.append(code)
        if len(self._values) > MAX_GROUPS:
            raise InputError(
                f"{where}: field {written(self.name)} has more than {MAX_GROUPS} different values",
                hint="slices need a field with few values; name another with --by",
            )


class References:
    """The references of one file or of several.

    Texts are held in a `Spool`; ids in memory, about 100 bytes each. misread: how many the
    tokenizer cannot read; empty: the places of those without text. Raises `InputError` for files
    without rows, two rows with one id, and rows without the id, a text, or a field of `by`.
    """

    def __init__(
        self,
        files: Sequence[RowFile],
        *,
        id_field: str = "id",
        field: str | None = None,
        source: str | None = None,
        by: Sequence[str] = (),
        tokenizer: Tokenizer = DEFAULT_TOKENIZER,
    ) -> None:
        """`field` holds the text, or the texts as a list; by default the only field that is one
        or the other and not the id, the source or a column of `by`."""
        self.misread = 0
        self.empty = array("q")
        self.files = files
        self.ids: list[Any] = []
        self.places: dict[Hashable, int] = {}
        self.field = field or ""
        self.source = source
        self.columns = [Column(name) for name in dict.fromkeys(by)]
        self.reference_chars, self.source_chars = array("q"), array("q")
        self.most = self.fewest = 0
        self._id_field = id_field
        self._tokenizer = tokenizer
        self._untyped = False
        self._by_text: dict[str, int] | None = None
        self._texts = Spool()
        self._lines = array("q")
        self._starts: list[int] = []
        for file in files:
            self._starts.append(len(self.ids))
            for row in file.rows():
                self._add(row, file.path)
        if not self.ids:
            raise InputError(f"{self.label}: no references in it")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Wanted:
        """What is wanted of the record at `place`, its position over all files."""
        source, *texts = self._texts[place]
        return Wanted([text or "" for text in texts], source)

    @property
    def label(self) -> str:
        """The files, for messages."""
        return ", ".join(map(str, self.files))

    @property
    def per_record(self) -> str:
        """How many references a record has: `1`, or `1-3`."""
        return str(self.most) if self.most == self.fewest else f"{self.fewest}-{self.most}"

    @cached_property
    def order(self) -> Sequence[int]:
        """All places in the order of their ids: which records are drawn for an interval depends
        on this order, so it must depend neither on the files' order nor on what is compared."""
        names = [id_name(value) for value in self.ids]
        return sorted(range(len(self)), key=names.__getitem__)

    def place_of(self, key: Hashable, *, untyped: bool) -> int | None:
        """Where the reference with this id (`id_key`) is.

        untyped: the id comes from a table of texts, where "1" may have been the number 1.
        """
        place = self.places.get(key)
        if place is None and (untyped or self._untyped):
            if self._by_text is None:
                self._by_text = {id_text(known): at for known, at in self.places.items()}
            place = self._by_text.get(id_text(key))
        return place

    def nearly(self, key: Hashable) -> int | None:
        """Where a reference is whose id differs in nothing but what tables change (`blurred`)."""
        return self._blurred.get(blurred(key))

    @cached_property
    def _blurred(self) -> dict[str, int]:
        return {blurred(known): place for known, place in self.places.items()}

    def _add(self, row: Row, path: Path) -> None:
        where = f"{path}, line {row.line}"
        key = key_of(row, self._id_field, where)
        self._untyped = self._untyped or row.untyped
        if key in self.places:
            raise self._repeated(row, path, self.places[key])
        if not self.field:
            self.field = self._only_field(row, where)
        texts = _texts(row, self.field, where)
        self.most = max(self.most, len(texts))
        self.fewest = min(self.fewest or len(texts), len(texts))
        source = _source(row, self.source, where)
        self._texts.append([source, *texts])
        self._look_at(texts)
        self.reference_chars.append(len(texts[0]))
        self.source_chars.append(len(source or ""))
        for column in self.columns:
            if not self.ids:
                field_value(row, column.name, where, "--by")
            column.add(row, where)
        self.places[key] = len(self.ids)
        self.ids.append(row.value[self._id_field])
        self._lines.append(row.line)

    def _look_at(self, texts: Sequence[str]) -> None:
        filled = [text for text in texts if text.strip()]
        if not filled:
            self.empty.append(len(self.ids))
        self.misread += bool(filled) and all(is_misread(one, self._tokenizer) for one in filled)

    def _only_field(self, row: Row, where: str) -> str:
        others = {self._id_field, self.source, *(one.name for one in self.columns)}
        fields = [
            name for name, value in row.value.items() if name not in others and _is_wanted(value)
        ]
        return only_field(fields, row, where, "reference", "--ref")

    def _repeated(self, row: Row, path: Path, place: int) -> InputError:
        earlier = self.files[bisect_right(self._starts, place) - 1].path
        if earlier == path:
            return duplicate(row, self._id_field, path, self._lines[place])
        return InputError(
            f"{path}, line {row.line} has the id {written(row.value[self._id_field])}, which "
            f"{earlier}, line {self._lines[place]} has too",
            hint="ids must be unique; remove one of the rows, or name another field with --on",
        )


def _texts(row: Row, field: str, where: str) -> list[str]:
    """One reference or several. Raises `InputError` for anything but texts."""
    value = field_value(row, field, where, "--ref")
    if value == []:
        raise InputError(
            f"{where}: field {written(field)} is an empty list", hint="a record needs a reference"
        )
    if not _is_wanted(value):
        raise not_text(where, field, value, "--ref")
    return [value] if isinstance(value, str) else value


def _is_wanted(value: object) -> TypeGuard[str | list[str]]:
    """A text, or several."""
    texts = value if isinstance(value, list) and value else [value]
    return all(isinstance(text, str) for text in texts)


def _source(row: Row, field: str | None, where: str) -> str | None:
    if field is None:
        return None
    value = field_value(row, field, where, "--source")
    if not isinstance(value, str):
        raise not_text(where, field, value, "--source")
    return value


def _label(value: object) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, str) and value.strip():
        return value
    return json.dumps(value, ensure_ascii=False)
