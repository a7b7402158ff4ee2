"""Predictions joined to references by id: every reference is answered for, nothing is dropped."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from textmill.errors import ErrorCode, InputError, InvariantError
from textmill.evaluation.rows import Row, read_rows

PREDICTION_FIELDS = ("generated_texts", "generated_text", "text", "prediction")
"""Where a prediction is looked for when no field is named; of a list, the first is taken."""


class Pair(NamedTuple):
    """A prediction and the reference with its id; `place` is that of the reference in its file."""

    place: int
    prediction: str
    reference: str


class Counts(Struct, frozen=True, kw_only=True):
    """What the join found: pairs = scored + failed + missing.

    pairs: references, so the number of pairs that a mean is taken over.
    scored: references with a prediction.
    failed: references whose record is known to have failed; they score 0.
    missing: references of which there is no trace among the predictions; they score 0.
    extra: rows among the predictions without a reference, or of a record whose id could not be
        read; they score nothing.
    """

    pairs: int
    scored: int
    failed: int
    missing: int
    extra: int


class References:
    """The references of one file or of several, held in memory.

    Takes about 100 bytes per record and its id and text. Raises `InputError` for files without
    rows, two rows with one id, and rows without the id or the text.
    """

    def __init__(
        self, paths: Path | Sequence[Path], *, id_field: str = "id", field: str | None = None
    ) -> None:
        """`field` holds the text; by default the only field that is text and not the id."""
        self.paths = [paths] if isinstance(paths, Path) else list(paths)
        self.texts: list[str] = []
        self.places: dict[Hashable, int] = {}
        self.field = field or ""
        self._id_field = id_field
        self._lines = array("q")
        self._starts: list[int] = []
        for path in self.paths:
            self._starts.append(len(self.texts))
            for row in read_rows(path):
                self._add(row, path)
        if not self.texts:
            raise InputError(f"{self.label}: no references in it")

    @property
    def label(self) -> str:
        """The files, for messages."""
        return ", ".join(map(str, self.paths))

    def _add(self, row: Row, path: Path) -> None:
        where = f"{path}, line {row.line}"
        key = _key_of(row, self._id_field, where)
        if key in self.places:
            raise self._repeated(row, path, self.places[key])
        self.field = self.field or _only_text_field(
            row, self._id_field, where, "reference", "--ref"
        )
        self.places[key] = len(self.texts)
        self.texts.append(_reference(row, self.field, where))
        self._lines.append(row.line)

    def _repeated(self, row: Row, path: Path, place: int) -> InputError:
        earlier = self.paths[bisect_right(self._starts, place) - 1]
        if earlier == path:
            return _duplicate(row, self._id_field, path, self._lines[place])
        return InputError(
            f"{path}, line {row.line} has the id {row.value[self._id_field]!r}, which "
            f"{earlier}, line {self._lines[place]} has too",
            hint="ids must be unique; remove one of the rows, or name another field with --on",
        )


class Join:
    """Streams the pairs of a predictions file and `References`; goes through once.

    counts, failures (how many records failed with each code), several (how many predictions
    held several texts, of which the first was taken) and field are complete when the pairs are
    through. Raises `InputError` for two predictions with one id, a prediction that is
    no text, and a file of which no id is known to the references.
    """

    def __init__(
        self,
        path: Path,
        references: References,
        *,
        id_field: str = "id",
        field: str | None = None,
    ) -> None:
        """`field` holds the prediction; by default the first of `PREDICTION_FIELDS` that the
        first row has, else the only field that is text and not the id."""
        self._path = path
        self._references = references
        self._id_field = id_field
        self._lines = array("q", bytes(8 * len(references.texts)))
        self._extra: dict[Hashable, int] = {}
        self._unreadable = 0
        self._codes: dict[int, str] = {}
        self.field = field
        self.several = 0

    def __iter__(self) -> Iterator[Pair]:
        stranger: Row | None = None
        for row in read_rows(self._path):
            where = f"{self._path}, line {row.line}"
            failure = self._failure(row)
            if failure and row.value.get(self._id_field) is None:
                self._unreadable += 1
                continue
            index = self._place(row, where)
            text = None if failure else self._prediction(row, where)
            if index is None:
                stranger = stranger or row
            elif text is None:
                self._codes[index] = failure or ErrorCode.EMPTY
            else:
                yield Pair(index, text, self._references.texts[index])
        if stranger and not any(self._lines):
            raise self._no_common_id(stranger)
        self._read_errors_beside()

    @property
    def counts(self) -> Counts:
        """What was found so far, and checked to add up."""
        pairs = len(self._references.texts)
        failed = len(self._codes)
        answered = sum(1 for line in self._lines if line)
        known = sum(1 for index in self._codes if self._lines[index])
        counts = Counts(
            pairs=pairs,
            scored=answered - known,
            failed=failed,
            missing=pairs - answered - (failed - known),
            extra=len(self._extra) + self._unreadable,
        )
        if counts.pairs != counts.scored + counts.failed + counts.missing or counts.missing < 0:
            raise InvariantError(f"the join of {self._path} does not add up: {counts}")
        return counts

    @property
    def failures(self) -> dict[str, int]:
        """How many of the references failed with each code, most first."""
        return dict(Counter(self._codes.values()).most_common())

    def _place(self, row: Row, where: str) -> int | None:
        """Which reference the row answers; None for none. Refuses a second answer."""
        key = _key_of(row, self._id_field, where)
        index = self._references.places.get(key)
        earlier = self._extra.get(key, 0) if index is None else self._lines[index]
        if earlier:
            raise _duplicate(row, self._id_field, self._path, earlier)
        if index is None:
            self._extra[key] = row.line
        else:
            self._lines[index] = row.line
        return index

    def _failure(self, row: Row) -> str | None:
        """The code of a row that reports an error in place of a prediction."""
        fields = row.value.keys()
        if self.field in fields or (not self.field and not fields.isdisjoint(PREDICTION_FIELDS)):
            return None
        if "error" in fields or fields >= {"code", "message"}:
            return str(row.value.get("code", "error"))
        return None

    def _prediction(self, row: Row, where: str) -> str | None:
        """The predicted text; None for null and for an empty list."""
        if not self.field:
            known = [name for name in PREDICTION_FIELDS if name in row.value]
            self.field = (
                known[0]
                if known
                else _only_text_field(row, self._id_field, where, "prediction", "--pred")
            )
        value = _field(row, self.field, where, "--pred")
        if isinstance(value, list):
            self.several += len(value) > 1
            value = value[0] if value else None
        if value is not None and not isinstance(value, str):
            raise _not_text(where, self.field, value, "--pred")
        return value

    def _read_errors_beside(self) -> None:
        """Learns from the job's error file why predictions are missing."""
        for path in filter(Path.exists, errors_beside(self._path)):
            for row in read_rows(path):
                if "id" not in row.value:
                    continue
                key = _key_of(row, "id", f"{path}, line {row.line}")
                index = self._references.places.get(key)
                if index is not None and not self._lines[index]:
                    self._codes[index] = str(row.value.get("code", "error"))

    def _no_common_id(self, row: Row) -> InputError:
        known = next(iter(self._references.places))
        return InputError(
            f"{self._path}: none of its ids is in {self._references.label}; for example "
            f"{row.value[self._id_field]!r} here and {known!r} there",
            hint="name the id field of both files with --on, or of each with --on PREDID=REFID; "
            'the number 1 and the text "1" are different ids',
        )


def errors_beside(path: Path) -> tuple[Path, Path]:
    """Where the job that wrote `path` keeps the records that failed."""
    plain = path.with_suffix("") if path.suffix in {".gz", ".zst"} else path
    return plain.with_suffix(".errors.jsonl"), Path(f"{plain}.errors.jsonl")


def id_key(value: object) -> Hashable:
    """Equal for equal JSON values, and different for different ones.

    Numbers are equal by value (1 and 1.0), objects whatever the order of their keys. Python
    would also hold true and 1 for equal; JSON does not. Raises `ValueError` for other values.
    """
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", *map(id_key, value))
    if isinstance(value, dict):
        return ("object", frozenset((key, id_key(item)) for key, item in value.items()))
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{value!r} is not a JSON value, so it cannot be an id")


def id_fields(on: str) -> tuple[str, str]:
    """The id fields of predictions and of references, from `FIELD` or `PREDFIELD=REFFIELD`."""
    left, equals, right = on.partition("=")
    if not left or (equals and not right):
        raise InputError(f"--on {on}: not the name of a field", hint="as in --on id")
    return left, right or left


def _key_of(row: Row, id_field: str, where: str) -> Hashable:
    try:
        return id_key(_field(row, id_field, where, "--on"))
    except ValueError as error:
        raise InputError(f"{where}: {error}", hint="name another field with --on") from error


def _field(row: Row, name: str, where: str, flag: str) -> Any:
    if name not in row.value:
        raise InputError(
            f"{where}: no field {name!r}; there are {_names(row)}",
            hint=f"name the right one with {flag}",
        )
    return row.value[name]


def _only_text_field(row: Row, id_field: str, where: str, what: str, flag: str) -> str:
    texts = [name for name, value in row.value.items() if isinstance(value, str)]
    texts = [name for name in texts if name != id_field]
    if len(texts) != 1:
        raise InputError(
            f"{where}: cannot tell which field is the {what}; there are {_names(row)}",
            hint=f"name it with {flag}, as in {flag} {texts[-1] if texts else 'text'}",
        )
    return texts[0]


def _reference(row: Row, field: str, where: str) -> str:
    value = _field(row, field, where, "--ref")
    if not isinstance(value, str):
        raise _not_text(where, field, value, "--ref")
    return value


def _not_text(where: str, field: str, value: object, flag: str) -> InputError:
    shown = repr(value)
    shown = shown if len(shown) <= 40 else shown[:40] + "…"
    return InputError(
        f"{where}: field {field!r} is {shown}, not text", hint=f"name the text with {flag}"
    )


def _duplicate(row: Row, id_field: str, path: Path, earlier: int) -> InputError:
    return InputError(
        f"{path}: lines {earlier} and {row.line} have the same id {row.value[id_field]!r}",
        hint="ids must be unique; remove one of the lines, or name another field with --on",
    )


def _names(row: Row) -> str:
    return ", ".join(repr(name) for name in row.value) or "no fields at all"
