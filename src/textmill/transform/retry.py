"""`--retry-failed`: rows that the engine could not answer are computed again, all others stay.

An unfinished job forgets its failed rows where they are, when its next run begins. A finished one
is opened again: its parts are made from its output and error file, without the failed rows, and the
job goes on from there.
Rows that could not become a request fail again in any run, so they stay as they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from textmill.errors import InvariantError, OutputError
from textmill.storage.decompress import text_lines
from textmill.transform.job import JobFolder
from textmill.transform.journal import Carried, Events, Retried, event_line
from textmill.transform.parts import PartWriter, Row
from textmill.transform.plan import JobSpec, window_sizes
from textmill.transform.windows import Rows, gather


def ask_again(folder: JobFolder) -> None:
    """Have the next run of an unfinished job forget its failed rows first (`forget_failures`).

    The caller holds the job's lock.
    """
    log, label = folder.journal()
    events = Events(log, label)
    deque(events, maxlen=0)
    log.cut(events.end)
    log.append(event_line(Retried(forgotten=False)))
    log.sync()
    log.close()


def forget_failures(folder: JobFolder) -> None:
    """Take the failed rows out of the parts. To be repeated if it was cut short."""
    for number in folder.part_numbers:
        part, end = folder.read_part(number)
        if failed := [Row(row.n, again=True) for row in part.rows if row.failed]:
            _write_part(folder, number, failed, end=end)


class _Error(Struct):
    """Of an error line, what says which row it is of and whether it is to be done again."""

    line: int
    code: str
    attempts: int
    file: str | None = None


_decode_error = msgspec.json.Decoder(_Error).decode


def reopen(
    folder: JobFolder,
    spec: JobSpec,
    manifest: dict[str, Any],
    chunks: Iterable[Rows],
    *,
    command: Sequence[str] | None = None,
) -> None:
    """Make a finished job with failures unfinished again. The caller holds the job's lock.

    chunks: the job's input, as it was. Its files are as it wrote them. Raises `OutputError`.
    """
    if spec.output_format != "jsonl":
        raise OutputError(
            f"{folder.label} is {spec.output_format}: only a job with results as JSON Lines can be"
            " opened again",
            hint="start over with --fresh, or run the failed rows as a job of their own",
        )
    folder.forget_rows()
    results = text_lines(folder.store, folder.name)
    errors = text_lines(folder.store, folder.errors_name)
    before = [one["name"] for one in manifest["inputs"]]
    names = dict(zip([one.name for one in spec.inputs], before, strict=False))
    rows = _Replay(results, errors, names)
    for number, window in enumerate(gather(chunks, window_sizes())):
        done = rows.of(window)
        whole = len(window) if len(done) == len(window) else None
        _write_part(folder, number, done, window_rows=whole)
    rows.check()
    log, _ = folder.journal()
    counts = {name: manifest["counts"].get(name, 0) for name in Carried.__struct_fields__}
    log.append(event_line(Carried(**counts)))
    log.sync()
    log.close()
    folder.describe(spec, command)


class _Replay:
    """The rows of a finished job again, from its two files, both in input order."""

    def __init__(
        self, results: Iterator[bytes], errors: Iterator[bytes], names: Mapping[str, str]
    ) -> None:
        """`names`: what the finished job called each input; the same file may be spelt anew."""
        self._results, self._errors, self._names = results, errors, names
        self._error_line = next(errors, None)

    def of(self, window: Rows) -> list[Row]:
        """The window's rows, but for those that failed."""
        found = (self._row(row.ordinal, row.line, row.file) for row in window)
        return [row for row in found if not row.failed]

    def _row(self, ordinal: int, line: int, file: str) -> Row:
        if self._error_line is not None:
            error = _decode_error(self._error_line)
            if error.line == line and error.file in {None, file, self._names.get(file)}:
                row = Row(ordinal, error=Raw(self._error_line), code=error.code)
                row.failed = error.attempts > 0
                self._error_line = next(self._errors, None)
                return row
        result = next(self._results, None)
        if result is None:
            raise _mismatch()
        return Row(ordinal, ok=Raw(result))

    def check(self) -> None:
        """Raise `InvariantError` unless every line was used."""
        if self._error_line is not None or next(self._results, None) is not None:
            raise _mismatch()


def _mismatch() -> InvariantError:
    return InvariantError("the lines of output and error file are not those of the input's rows")


def _write_part(
    folder: JobFolder,
    number: int,
    rows: list[Row],
    *,
    end: int = 0,
    window_rows: int | None = None,
) -> None:
    writer = PartWriter(folder.part(number), end=end)
    writer.append(rows, window_rows=window_rows)
    writer.sync()
    writer.close()
