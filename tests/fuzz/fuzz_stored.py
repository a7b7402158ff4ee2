"""Fuzzing of what is read beneath the formats: `fuzz_stored.py TARGET [libFuzzer's options]`.

    PYTHONPATH=src python tests/fuzz/fuzz_stored.py parts -max_total_time=600 CORPUS_FOLDER

TARGET is gzip or zstd (compressed inputs), parts or journal (a job's own files). Whatever the
bytes, nothing but `InputError` is raised; what a part or a journal gives is what stands before the
byte at which it is said to end.
"""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris
import zstandard

with atheris.instrument_imports():
    from textmill.errors import InputError
    from textmill.storage.decompress import Stored, decompressed
    from textmill.storage.memory import MemoryStore
    from textmill.transform.journal import BatchStarted, Events, event_line, history
    from textmill.transform.parts import PartWriter, Row, read_part

LINES = b"one\ntwo\n" * 20


def check_compressed(data: bytes) -> None:
    """Read all; a seek back to the start reads the same."""
    try:
        reader = decompressed(Stored(io.BytesIO(data)), "in")
        while reader.read(4096):
            pass
    except InputError:
        return


def check_part(data: bytes) -> None:
    """What a part gives is given again by its whole frames alone."""
    store = MemoryStore()
    # So that the fuzzer comes past the checksums: a frame of lines as they are.
    lines = data.split(b"\n")[:-1] if data[:1] == b"\1" else []
    if lines:
        body = b"".join(line + b"\n" for line in lines)
        marker = b'{"frame":%d,"crc32":%d,"rows":null}\n' % (len(lines), zlib.crc32(body))
        data = body + marker
    store.log("part").append(data)
    try:
        part, end = read_part(store.log("part"), "part")
    except InputError:
        return
    assert end <= len(data)
    again = MemoryStore()
    again.log("part").append(data[:end])
    assert read_part(again.log("part"), "part") == (part, end)


def check_journal(data: bytes) -> None:
    """The same of a journal."""
    store = MemoryStore()
    store.log("journal").append(data)
    events = Events(store.log("journal"), "journal")
    try:
        found = history(events)
    except InputError:
        return
    again = MemoryStore()
    again.log("journal").append(data[: events.end])
    assert history(Events(again.log("journal"), "journal")) == found


def _part() -> bytes:
    store = MemoryStore()
    writer = PartWriter(store.log("part"))
    writer.append([Row(n=0), Row(n=1)], window_rows=2)
    writer.sync()
    return store.log("part").read()


TARGETS: dict[str, tuple[Callable[[bytes], None], bytes]] = {
    "gzip": (check_compressed, gzip.compress(LINES) * 2),
    "zstd": (check_compressed, zstandard.compress(LINES) * 2),
    "parts": (check_part, _part()),
    "journal": (check_journal, event_line(BatchStarted(1, 2)) * 2),
}


def main() -> None:
    """Run one target."""
    name = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if name not in TARGETS:
        known = ", ".join(TARGETS)
        sys.exit(f"usage: fuzz_stored.py TARGET [options of libFuzzer]; TARGET is {known}")
    check, seed = TARGETS[name]
    check(seed)
    for folder in filter(Path.is_dir, map(Path, sys.argv[1:])):
        (folder / "seed").write_bytes(seed)
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
