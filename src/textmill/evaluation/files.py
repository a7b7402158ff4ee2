"""Files of rows that may be read again, whatever they are: what comes once is put down first."""

from __future__ import annotations

import stat
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from textmill.errors import InputError, OutputError
from textmill.evaluation.rows import Row, read_rows
from textmill.storage.base import CHUNK_BYTES, STANDARD_INPUT, input_errors
from textmill.storage.inputs import digest, same_file, standard_input

_STANDARD_INPUT = (STANDARD_INPUT, "/dev/stdin")


class RowFile:
    """A file of rows; `str` gives its name.

    path: as it was given; `-` is standard input. A pipe is copied into a temporary file, which
    goes with the object, when it is first read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @cached_property
    def is_pipe(self) -> bool:
        """Whether its bytes come only once."""
        if str(self) == STANDARD_INPUT:
            return True
        with input_errors(str(self)):
            mode = self.path.stat().st_mode if self.path.exists() else stat.S_IFREG
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))

    def rows(self) -> Iterator[Row]:
        """As `read_rows`, from the start each time."""
        return read_rows(self._place, str(self))

    def sha256(self) -> str:
        """Of all its bytes as they were stored, or came, in hex. Raises `InputError`."""
        return digest(str(self._place))

    @cached_property
    def _place(self) -> Path:
        return self._copy() if self.is_pipe else self.path

    def _copy(self) -> Path:
        copy = tempfile.NamedTemporaryFile(prefix="textmill-")  # noqa: SIM115  closed with the object
        weakref.finalize(self, copy.close)
        with ExitStack() as stack:
            with input_errors(str(self)):
                if str(self) in _STANDARD_INPUT:
                    stream = standard_input()
                else:
                    stream = stack.enter_context(self.path.open("rb"))
            while data := self._chunk(stream):
                self._put_down(data, copy)
        return Path(copy.name)

    def _chunk(self, stream: BinaryIO) -> bytes:
        with input_errors(str(self)):
            return stream.read(CHUNK_BYTES)

    def _put_down(self, data: bytes, copy: IO[bytes]) -> None:
        try:
            copy.write(data)
            copy.flush()
        except OSError as error:
            raise OutputError(
                f"{self} comes only once, and cannot be put down in {tempfile.gettempdir()}:"
                f" {error.strerror}",
                hint="make room, or name another folder in TMPDIR",
            ) from error


class Files(NamedTuple):
    """What is scored, what it is compared with, and what was wanted."""

    predictions: RowFile
    baseline: RowFile | None
    references: Sequence[RowFile]

    def all(self) -> list[RowFile]:
        """Each of them, the predictions first."""
        baseline = [self.baseline] if self.baseline else []
        return [self.predictions, *baseline, *self.references]


def refuse_pipes_named_twice(files: Sequence[RowFile]) -> None:
    """Raise `InputError` where the second to read a pipe would find nothing in it."""
    pipes = [str(one) for one in files if one.is_pipe]
    for one, other in combinations(pipes, 2):
        if same_file(one, other):
            raise InputError(
                f"{one} and {other} are the same pipe, which can be read only once",
                hint="write one of the two to a file",
            )
