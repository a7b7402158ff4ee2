"""What does not add up is never committed: rows in = ok + failed + invalid, each ordinal once."""

from __future__ import annotations

import pytest

from support.jobs import OUTPUT
from textmill.core import JsonText
from textmill.errors import InvariantError
from textmill.records.writers import JsonlWriter
from textmill.storage.memory import MemoryStore
from textmill.transform.commit import OutputPlan, merge
from textmill.transform.job import JobFolder
from textmill.transform.journal import Carried
from textmill.transform.parts import PartWriter, Raw, Row


def line(ordinal: int) -> JsonText:
    return b'{"id": %d, "generated_texts": ["t"]}' % ordinal


def job(*windows: list[int], complete: bool = True, **changed: object) -> JobFolder:
    """A job whose windows have these rows; `changed`: fields of all of them."""
    folder = JobFolder(MemoryStore(), OUTPUT)
    for number, ordinals in enumerate(windows):
        writer = PartWriter(folder.part(number))
        rows = [Row(n, **{"ok": Raw(line(n)), **changed}) for n in ordinals]  # type: ignore[arg-type]
        writer.append(rows, window_rows=len(rows) if complete else None)
        writer.sync()
    return folder


def merged(folder: JobFolder, windows: int, rows_in: int) -> bytes | None:
    merge(folder, windows, rows_in, OutputPlan(open_writer=lambda _: JsonlWriter()), Carried())
    return folder.store.read(OUTPUT)


def test_windows_are_merged_in_input_order() -> None:
    assert merged(job([2, 0, 1], [3]), 2, 4) == b"".join(line(n) + b"\n" for n in range(4))


@pytest.mark.parametrize(
    ("folder", "windows", "rows_in", "message"),
    [
        (job([0, 1], [2]), 2, 4, "4 rows were read, but 3 ok"),
        (job([0, 1], [2]), 1, 3, "3 rows were read, but 2 ok"),
        (job([0, 1], [2]), 2, 2, "2 rows were read, but 3 ok"),
        (job([0, 2], [3]), 2, 3, "part 0: expected rows 0 to 1, each once"),
        (job([0, 1], [1, 2]), 2, 4, "part 1: expected rows 2 to 3, each once"),
        (job([1, 2], [0]), 2, 3, "part 0: expected rows 0 to 1, each once"),
        (job([0, 1], complete=False), 1, 2, "part 0: expected rows"),
    ],
)
def test_what_does_not_add_up_is_exit_70_and_no_output(
    folder: JobFolder, windows: int, rows_in: int, message: str
) -> None:
    with pytest.raises(InvariantError, match=message) as caught:
        merged(folder, windows, rows_in)
    assert caught.value.exit_code == 70
    assert folder.store.read(OUTPUT) is None
    assert folder.store.read(folder.manifest_name) is None
    assert folder.store.read(folder.errors_name) is None
