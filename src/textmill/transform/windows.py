"""Rows of input gathered into windows, and windows made ready for the engine.

A window is what is sorted and cut into batches together. Which rows it holds depends on the input
alone, so a resumed job finds the same windows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from textmill.core import Params, Record, Rejected, Request
from textmill.engines.base import Engine, Tokenizer
from textmill.errors import ErrorCode, ParameterError
from textmill.params.precedence import Resolver
from textmill.records.ids import SeenIds, reject_repeated
from textmill.records.jsonpath import Path
from textmill.records.unfit import Unfit
from textmill.transform.filtering import check_filter
from textmill.transform.plan import MAX_WINDOW_CHARS

Rows = list[Record | Rejected]

Encoded = list[int] | str
"""Token ids of a text, or why there are none."""

_MAX_CHECKED = 4096


class Window(Struct):
    """Consecutive rows, ready for the engine.

    rows: how many rows; ordinals run from `first` without a gap.
    records, rejected: what they are. requests: one for each text of each record.
    truncated: ordinals of records whose input was cut (only with --truncate).
    """

    number: int
    first: int
    rows: int
    records: dict[int, Record]
    rejected: list[Rejected]
    requests: list[Request]
    truncated: set[int]


def gather(chunks: Iterable[Rows], sizes: Iterable[int]) -> Iterator[Rows]:
    """Regroup chunks of rows into windows of the given sizes; the last may be shorter."""
    limits = iter(sizes)
    limit, rows, chars = next(limits), [], 0
    for chunk in chunks:
        for row in chunk:
            rows.append(row)
            chars += _size(row)
            if len(rows) == limit or chars >= MAX_WINDOW_CHARS:
                yield rows
                limit, rows, chars = next(limits), [], 0
    if rows:
        yield rows


def _size(row: Record | Rejected) -> int:
    """Characters that a row holds in memory."""
    if isinstance(row, Rejected):
        return len(row.message)
    size = len(row.id) + sum(map(len, row.texts)) + len(row.source or b"")
    return size + sum([len(key) + len(value) for key, value in row.kept]) if row.kept else size


def reject_duplicates(windows: Iterable[Rows]) -> Iterator[Rows]:
    """Replace each record whose id an earlier record had by a rejection."""
    seen = SeenIds()
    for rows in windows:
        yield reject_repeated(rows, seen)


def reject(record: Record, code: ErrorCode, message: str) -> Rejected:
    """The record as a row that cannot be worked on."""
    return Rejected(
        ordinal=record.ordinal,
        id=record.id,
        file=record.file,
        line=record.line,
        code=code,
        message=message,
    )


class Preparer:
    """Records to requests: parameters resolved and checked, texts tokenized, lengths checked.

    max_input_tokens: the longest input, or None. truncate: cut longer inputs, else reject them.
    output_filter: a record whose result would not have what it asks for is rejected, not computed.
    """

    def __init__(
        self,
        resolver: Resolver,
        tokenizer: Tokenizer,
        engine: Engine,
        *,
        max_input_tokens: int | None,
        truncate: bool,
        output_filter: Path | None = None,
    ) -> None:
        self._resolver, self._tokenizer, self._engine = resolver, tokenizer, engine
        self._max_input_tokens, self._truncate = max_input_tokens, truncate
        self._output_filter = output_filter
        self._checked: dict[int, Params] = {}
        self._suffix: dict[str | None, int] = {}

    def prepare(self, number: int, rows: Rows) -> Window:
        """One window of rows made ready. Raises nothing for a bad record: it is rejected."""
        records: dict[int, Record] = {}
        rejected: list[Rejected] = []
        jobs: list[tuple[Record, Params]] = []
        for row in rows:
            if isinstance(row, Rejected):
                rejected.append(row)
                continue
            try:
                params = self.params_of(row)
                self._check_filter(row, params)
                jobs.append((row, params))
            except ParameterError as error:
                rejected.append(reject(row, ErrorCode.BAD_PARAMETER, str(error)))
            except Unfit as error:
                rejected.append(reject(row, error.code, error.message))
        window = Window(number, rows[0].ordinal, len(rows), records, rejected, [], set())
        for (record, params), ids in zip(jobs, self._encode(jobs), strict=True):
            self._admit(window, record, params, ids)
        return window

    def params_of(self, record: Record) -> Params:
        """The record's parameters. Raises `ParameterError` for what cannot be honoured."""
        params = self._resolver.for_record(record.params)
        if id(params) not in self._checked:
            self._engine.check(params)
            self._suffix_tokens(params.src_lang)  # refuses a language the model does not know
            if len(self._checked) >= _MAX_CHECKED:
                self._checked.clear()
            self._checked[id(params)] = params  # held, so that its id stays its own
        return params

    def _check_filter(self, record: Record, params: Params) -> None:
        if self._output_filter is not None:
            texts = len(record.texts) * params.num_return_sequences
            check_filter(self._output_filter, record, texts)

    def _suffix_tokens(self, src_lang: str | None) -> int:
        if src_lang not in self._suffix:
            self._suffix[src_lang] = count_suffix_tokens(self._tokenizer, src_lang)
        return self._suffix[src_lang]

    def _encode(self, jobs: Sequence[tuple[Record, Params]]) -> list[list[Encoded]]:
        """Token ids of each record's texts: one tokenizer call for each source language."""
        by_language: dict[str | None, list[int]] = {}
        for at, (_, params) in enumerate(jobs):
            by_language.setdefault(params.src_lang, []).append(at)
        encoded: list[list[Encoded]] = [[]] * len(jobs)
        for src_lang, places in by_language.items():
            texts = [text for at in places for text in jobs[at][0].texts]
            ids = iter(self._tokenize(texts, src_lang))
            for at in places:
                encoded[at] = [next(ids) for _ in jobs[at][0].texts]
        return encoded

    def _tokenize(self, texts: list[str], src_lang: str | None) -> list[Encoded]:
        """Token ids of each text, or what the tokenizer says of it."""
        try:
            return [*self._tokenizer.encode(texts, src_lang=src_lang)]
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, only its text may suffer
            if len(texts) == 1:
                return [f"the model's tokenizer fails on the text: {type(error).__name__}: {error}"]
            half = len(texts) // 2
            return self._tokenize(texts[:half], src_lang) + self._tokenize(texts[half:], src_lang)

    def _admit(self, window: Window, record: Record, params: Params, found: list[Encoded]) -> None:
        encoded = [ids for ids in found if ids and not isinstance(ids, str)]
        if len(encoded) < len(found):
            why = next((ids for ids in found if isinstance(ids, str)), "the text has no tokens")
            window.rejected.append(reject(record, ErrorCode.BAD_RECORD, why))
        else:
            self._admit_tokens(window, record, params, encoded)

    def _admit_tokens(
        self, window: Window, record: Record, params: Params, encoded: list[list[int]]
    ) -> None:
        limit = self._max_input_tokens
        if limit is not None and (longest := max(map(len, encoded))) > limit:
            if not self._truncate:
                message = f"{longest} input tokens, the limit is {limit}; --truncate cuts them"
                window.rejected.append(reject(record, ErrorCode.TOO_LONG, message))
                return
            window.truncated.add(record.ordinal)
            suffix = self._suffix_tokens(params.src_lang)
            encoded = [shortened(ids, limit, suffix) for ids in encoded]
        window.records[record.ordinal] = record
        for index, ids in enumerate(encoded):
            window.requests.append(Request(record.ordinal, index, ids, params))


def shortened(ids: list[int], limit: int, suffix_tokens: int) -> list[int]:
    """At most `limit` ids: the text is cut, the special tokens that end an input stay.

    A limit below their number keeps the last of them.
    """
    if len(ids) <= limit:
        return ids
    suffix = ids[len(ids) - min(suffix_tokens, limit) :]
    return ids[: limit - len(suffix)] + suffix


def count_suffix_tokens(tokenizer: Tokenizer, src_lang: str | None) -> int:
    """How many special tokens end an input: 1 for T5 (`</s>`), 2 for mBART (`</s>`, language)."""
    empty, one = tokenizer.encode(["", "a"], src_lang=src_lang)
    count = 0
    while count < min(len(empty), len(one)) and empty[-1 - count] == one[-1 - count]:
        count += 1
    return count
