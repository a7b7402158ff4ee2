"""Predictions joined to references by id: every reference is answered for, nothing is dropped."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from textmill.errors import ErrorCode, InputError, InvariantError
from textmill.evaluation.fields import field_value, key_of, not_text, only_field
from textmill.evaluation.files import RowFile
from textmill.evaluation.references import References
from textmill.evaluation.rows import Row, read_rows
from textmill.words import written

PREDICTION_FIELDS = ("generated_texts", "generated_text", "text", "prediction")
"""Where a prediction is looked for when no field is named; of a list, the first is taken."""


class State(IntEnum):
    """What became of a reference."""

    MISSING = 0
    """There is no trace of its record among the predictions."""
    SCORED = 1
    """It has a prediction."""
    FAILED = 2
    """Its record is known to have failed."""
    DUPLICATE = 3
    """Its record is answered more than once, and differently."""


class Pair(NamedTuple):
    """A prediction and the place of the reference with its id."""

    place: int
    prediction: str


class Counts(Struct, frozen=True, kw_only=True):
    """What the join found: pairs = scored + failed + missing + duplicate.

    pairs: references.
    scored: references with a prediction.
    failed: references whose record is known to have failed.
    missing: references of which there is no trace among the predictions.
    duplicate: references with several predictions that differ, so that none can be scored.
    repeated: rows among the predictions that say again what an earlier one said; no effect.
    extra: rows among the predictions without a reference, or of a record whose id could not be
        read; they score nothing.
    """

    pairs: int
    scored: int
    failed: int
    missing: int
    duplicate: int = 0
    repeated: int = 0
    extra: int = 0


class Join:
    """Streams the pairs of a predictions file and `References`; goes through once.

    A pair whose id comes again with another text was yielded already, and its state is
    `DUPLICATE` in the end: `states` decides what is scored. All attributes are complete when the
    pairs are through: rows (how many it has), states (a `State` for each reference), failures (how
    many records failed with each code), several (how many predictions held several texts, of which
    the first was taken), repeats (the first two lines with different answers) and field. Raises
    `InputError` for a prediction that is no text, and a file of which no id is known to the
    references.
    """

    def __init__(
        self,
        file: RowFile,
        references: References,
        *,
        id_field: str = "id",
        field: str | None = None,
        flag: str = "--pred",
    ) -> None:
        """`field` holds the prediction; by default the first of `PREDICTION_FIELDS` that the
        first row has, else the only field that is text and not the id. `flag` names it."""
        self.path = file.path
        self.states = bytearray(len(references))
        self.field = field
        self.rows = self.several = 0
        self.repeats: tuple[int, int] | None = None
        self._file = file
        self._references = references
        self._id_field = id_field
        self._flag = flag
        self._lines = array("q", bytes(8 * len(references)))
        self._answers = array("q", bytes(8 * len(references)))
        self._codes: dict[int, str] = {}
        self._repeated = 0
        self._extra = 0
        self._nearly: dict[int, Any] = {}

    def __iter__(self) -> Iterator[Pair]:
        stranger: Row | None = None
        for row in self._file.rows():
            self.rows += 1
            where = f"{self.path}, line {row.line}"
            failure = self._failure(row)
            if failure and row.value.get(self._id_field) is None:
                self._extra += 1
                continue
            key = key_of(row, self._id_field, where)
            place = self._references.place_of(key, untyped=row.untyped)
            text = None if failure else self._prediction(row, where)
            if place is None:
                stranger = stranger or row
                self._extra += 1
                if (close := self._references.nearly(key)) is not None:
                    self._nearly.setdefault(close, row.value[self._id_field])
            elif self._is_first(place, row.line, text):
                if text is not None:
                    self.states[place] = State.SCORED
                    yield Pair(place, text)
                else:
                    self.states[place] = State.FAILED
                    self._codes[place] = failure or ErrorCode.EMPTY
        if stranger and not any(self.states):
            raise self._no_common_id(stranger)
        self._read_errors_beside()

    def again(self) -> Join:
        """A fresh join of the same files, to go through once more."""
        return Join(
            self._file,
            self._references,
            id_field=self._id_field,
            field=self.field,
            flag=self._flag,
        )

    @property
    def counts(self) -> Counts:
        """What was found so far, and checked to add up."""
        of = Counter(self.states)
        counts = Counts(
            pairs=len(self._references),
            scored=of[State.SCORED],
            failed=of[State.FAILED],
            missing=of[State.MISSING],
            duplicate=of[State.DUPLICATE],
            repeated=self._repeated,
            extra=self._extra,
        )
        found = counts.scored + counts.failed + counts.missing + counts.duplicate
        if counts.pairs != found or counts.failed != len(self._codes):
            raise InvariantError(f"the join of {self.path} does not add up: {counts}")
        return counts

    @property
    def failures(self) -> dict[str, int]:
        """How many of the references failed with each code, most first."""
        return dict(Counter(self._codes.values()).most_common())

    @property
    def nearly(self) -> list[tuple[Any, Any]]:
        """Ids of missing references, each with the id of an extra prediction that looks like it."""
        return [
            (self._references.ids[place], other)
            for place, other in self._nearly.items()
            if self.states[place] == State.MISSING
        ]

    def code(self, place: int) -> str | None:
        """Why the record at `place` failed; None where it did not."""
        return self._codes.get(place)

    def _is_first(self, place: int, line: int, text: str | None) -> bool:
        """Whether a row is the first answer. A second one that differs makes the id a duplicate."""
        answer = 0 if text is None else hash(text) | 1
        if not self._lines[place]:
            self._lines[place], self._answers[place] = line, answer
            return True
        if answer == self._answers[place]:
            self._repeated += 1
        else:
            self.repeats = self.repeats or (self._lines[place], line)
            self.states[place] = State.DUPLICATE
            self._codes.pop(place, None)
        return False

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
            self.field = self._guessed_field(row, where)
        value = field_value(row, self.field, where, self._flag)
        if isinstance(value, list):
            self.several += len(value) > 1
            value = value[0] if value else None
        if value is not None and not isinstance(value, str):
            raise not_text(where, self.field, value, self._flag)
        return value

    def _guessed_field(self, row: Row, where: str) -> str:
        known = [name for name in PREDICTION_FIELDS if name in row.value]
        texts = [
            name
            for name, value in row.value.items()
            if isinstance(value, str) and name != self._id_field
        ]
        return only_field(known[:1] or texts, row, where, "prediction", self._flag)

    def _read_errors_beside(self) -> None:
        """Learns from the job's error file why predictions are missing."""
        for path in filter(Path.exists, errors_beside(self.path)):
            for row in read_rows(path):
                if "id" not in row.value:
                    continue
                key = key_of(row, "id", f"{path}, line {row.line}")
                place = self._references.place_of(key, untyped=row.untyped)
                if place is not None and not self._lines[place]:
                    self.states[place] = State.FAILED
                    self._codes[place] = str(row.value.get("code", "error"))

    def _no_common_id(self, row: Row) -> InputError:
        known, here = self._references.ids[0], row.value[self._id_field]
        hint = "name the id field of both files with --on, or of each with --on PREDID=REFID"
        if self._nearly:
            place, here = next(iter(self._nearly.items()))
            known = self._references.ids[place]
            hint = "these are different ids; write them alike in both files"
        return InputError(
            f"{self.path}: none of its ids is in {self._references.label}; for example "
            f"{written(here)} here and {written(known)} there",
            hint=hint,
        )


def errors_beside(path: Path) -> tuple[Path, Path]:
    """Where the job that wrote `path` keeps the records that failed."""
    plain = path.with_suffix("") if path.suffix in {".gz", ".zst"} else path
    return plain.with_suffix(".errors.jsonl"), Path(f"{plain}.errors.jsonl")
