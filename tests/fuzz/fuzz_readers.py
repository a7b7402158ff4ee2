"""Fuzzing of one reader, guided by coverage: `fuzz_readers.py FORMAT [libFuzzer's options]`.

    PYTHONPATH=src python tests/fuzz/fuzz_readers.py csv -max_total_time=600 CORPUS_FOLDER

Whatever the bytes and however few at a time they come, a reader raises nothing but `InputError`,
its rows are numbered without a gap, and all it says can be written as JSON in UTF-8.
"""

from __future__ import annotations

import io
import json
import sys

import atheris

with atheris.instrument_imports():
    from textmill.core import Record
    from textmill.errors import InputError
    from textmill.params.schema import USER_NAMES
    from textmill.records.builder import RecordBuilder
    from textmill.records.formats import INPUT_FORMATS, open_reader, open_writer
    from textmill.records.openai_request import ANSWER_COLUMN
    from textmill.records.results import error_line, result_line
    from textmill.records.shape import Shape

SEEDS = {
    "jsonl": b'{"id": 1, "text_inputs": ["a", "b"], "seed": 1, "x": {"y": null}}\n',
    "csv": b'id,text_inputs,seed,x\r\n1,"a, ""b""\n",5,c\n"2",d,,"e"\n',
    "tsv": b'id\ttext_inputs\tseed\tx\n1\t"a\tb"\t5\tc\n',
    "lines": b"one\r\n\ntwo \xc3\xa9\n",
    "openai": b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {'
    b'"model": "m", "messages": [{"role": "system", "content": "a"}, {"role": "user", "content":'
    b' [{"type": "text", "text": "b"}]}], "temperature": 0.5, "top_p": 1, "n": 2, "stop": ["x"], '
    b'"max_tokens": 5, "logprobs": false, "user": "u"}}\n{"custom_id": "b",'
    b' "url": "/v1/completions", "body": {"prompt": ["a"]}}\n',
}


class Dribble:
    """A source that gives `size` bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._size = io.BytesIO(data), size

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, self._size) if size >= 0 else self._size)


def check(format_: str, data: bytes) -> None:
    """Read `data` whole and, after its first byte says so, a few bytes at a time."""
    keep = (ANSWER_COLUMN,) if format_ == "openai" else ("x",)
    shape = Shape(parameters=USER_NAMES, keep=keep)
    size = data[0] if data and data[0] else 1 << 20
    try:
        reader = open_reader(format_, RecordBuilder(shape))
        chunks = reader.read(Dribble(data[1:], size), "in")
        rows = [row for chunk in chunks for row in chunk]
    except InputError:
        return
    assert [row.ordinal for row in rows] == list(range(len(rows)))
    assert reader.count(io.BytesIO(data[1:])) >= len(rows)
    writer = open_writer("openai" if format_ == "openai" else "csv", keep, model="m")
    for row in rows:
        if isinstance(row, Record):
            line = result_line(row, row.texts)
            writer.encode([line[:-1]]).decode()
        else:
            line = error_line(row)
        assert line.count(b"\n") == 1
        json.loads(line.decode())


def main() -> None:
    """Run one target."""
    format_ = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if format_ not in SEEDS:
        known = ", ".join(name for name in INPUT_FORMATS if name in SEEDS)
        sys.exit(f"usage: fuzz_readers.py FORMAT [options of libFuzzer]; FORMAT is {known}")
    check(format_, b"\0" + SEEDS[format_])
    atheris.Setup(sys.argv, lambda data: check(format_, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
