"""What a record looks like: which column is the id, which the text, which a parameter."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import SequenceMatcher
from typing import Literal

import msgspec
from msgspec import Struct

from textmill.core import JsonText
from textmill.errors import UsageError
from textmill.records.jsonpath import Path
from textmill.records.prompt import Prompt
from textmill.records.unfit import quoted

ORDINAL_ID = "@ordinal"
"""As `Shape.id_field`: the records have no id and are numbered, from 0, over all inputs."""

TEXT_FIELD = "text_inputs"
"""The column that holds the text, or a list of texts, when there is no prompt."""

OUTPUT_FIELDS = ("id", "generated_texts")
"""The keys that an output line has of its own."""

_MIN_LETTERS_TO_COMPARE = 6
_LIKENESS = 0.8


class Shape(Struct, frozen=True, kw_only=True):
    """How to read a record out of a JSON object, or with an input filter or a join, of any JSON.

    id_field: the column with the id, or `@ordinal`.
    prompt: the template of the text; None takes `text_inputs` as it is.
    keep: columns to copy to the output.
    parameters: the names of generation parameters.
    record_params: whether records may carry parameters of their own; if not, a column named like
        one is a column like any other.
    input_filter: what of a row the record is made of; the id and the columns to keep are found
        in the whole row as well.
    join: whether the output is the whole row with the result in it.

    Raises `UsageError` for a `keep` that would collide with the output's own keys, or with a join.
    """

    id_field: str = "id"
    prompt: Prompt | None = None
    keep: tuple[str, ...] = ()
    parameters: frozenset[str] = frozenset()
    record_params: bool = True
    input_filter: Path | None = None
    join: bool = False

    def __post_init__(self) -> None:
        if self.join and self.keep:
            raise UsageError(
                f"there is nothing to keep ({', '.join(self.keep)}): a join writes every column",
                hint="choose columns of the joined row with an output filter instead",
            )
        for name in OUTPUT_FIELDS:
            if name in self.keep:
                raise UsageError(
                    f"the column {quoted(name)} cannot be kept: the output has a {name} of its own",
                    hint="the id is always written"
                    if name == self.id_field
                    else "rename the column in the input",
                )
        if len(set(self.keep)) < len(self.keep):
            raise UsageError(f"a column is to be kept twice: {', '.join(self.keep)}")

    @property
    def takes_rows(self) -> bool:
        """Whether rows are wanted whole, and may be any JSON value."""
        return self.join or self.input_filter is not None

    @property
    def needed_columns(self) -> frozenset[str]:
        """The columns without whose value there is no record; kept ones are only copied."""
        text = self.prompt.columns if self.prompt else {TEXT_FIELD}
        params = self.parameters - self.data_columns if self.record_params else frozenset()
        return frozenset({self.id_field, *text}) | params

    @property
    def data_columns(self) -> frozenset[str]:
        """The columns that are read as data, so they are no parameters whatever their name."""
        text = self.prompt.columns if self.prompt else {TEXT_FIELD}
        return frozenset({self.id_field, *self.keep, *text})


class Plan(Struct, frozen=True, kw_only=True):
    """What to do with records that have a certain set of columns.

    params: those that are generation parameters.
    kept: those to copy, as (column, its key as JSON text).
    unused: those that nothing reads.
    misspelt: a column that looks like a parameter, and that parameter.
    """

    params: tuple[str, ...]
    kept: tuple[tuple[str, JsonText], ...]
    unused: tuple[str, ...]
    misspelt: tuple[str, str] | None


def plan_columns(shape: Shape, columns: Collection[str]) -> Plan:
    """Say what each of a record's columns is for."""
    data = shape.data_columns
    known = shape.parameters if shape.record_params else frozenset()
    others = [name for name in columns if name not in data]
    unused = tuple(name for name in others if name not in known)
    return Plan(
        params=tuple(name for name in others if name in known),
        kept=tuple((name, msgspec.json.encode(name)) for name in shape.keep if name in columns),
        unused=unused,
        misspelt=_first_misspelt(unused, known),
    )


def _first_misspelt(names: Iterable[str], parameters: frozenset[str]) -> tuple[str, str] | None:
    for name in names:
        if meant := meant_parameter(name, parameters):
            return name, meant
    return None


def meant_parameter(name: str, parameters: Iterable[str]) -> str | None:
    """The parameter that `name` is most likely a misspelling of, if any.

    Either the same letters in another style (`maxLength`, `top-k`), or nearly the same name
    (`max_lenght`). Short parameters are not compared loosely: `speed` is a column, not `seed`.
    """
    near = [(likeness, known) for known in parameters if (likeness := _likeness(name, known))]
    return max(near)[1] if near else None


def _likeness(name: str, known: str) -> float | Literal[0]:
    if _squashed(name) == _squashed(known):
        return 1.0
    if len(known) < _MIN_LETTERS_TO_COMPARE or abs(len(name) - len(known)) > len(known) // 2:
        return 0
    ratio = SequenceMatcher(None, name, known).ratio()
    return ratio if ratio > _LIKENESS else 0


def _squashed(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()
