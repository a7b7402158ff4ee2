"""Tables, JSON, sizes and download bars on the terminal; plain text where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from textmill.catalog.fetch import Progress, Transfer


def print_json(value: object) -> None:
    """Indented JSON on standard output."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


def print_table(
    header: tuple[str, ...], lines: list[tuple[str, ...]], *, optional: tuple[str, ...] = ()
) -> None:
    """A table on a terminal, tab-separated lines elsewhere.

    optional: columns to leave out, the first first, as long as the terminal is too narrow.
    """
    if not sys.stdout.isatty():
        for line in (header, *lines):
            sys.stdout.write("\t".join(line) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for column in optional:
        if (
            sum(max(map(len, cells)) + 2 for cells in zip(header, *lines, strict=True))
            > console.width
        ):
            at = header.index(column)
            header = header[:at] + header[at + 1 :]
            lines = [line[:at] + line[at + 1 :] for line in lines]
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in header:
        table.add_column(title, no_wrap=title not in {"REPOSITORY", "FOR"})
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    console.print(table)


def human_bytes(count: int) -> str:
    """A number of bytes as people say it: 950 B, 21.1 MB, 3.1 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


@contextmanager
def download_bar(name: str) -> Iterator[Progress | None]:
    """A progress bar on standard error while a model is fetched, on a terminal only."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Bar(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task(name, total=None)

        def update(at: Transfer) -> None:
            bar.update(
                task,
                description=f"{name} {at.file}",
                completed=at.done_bytes,
                total=at.total_bytes,
            )

        yield update
