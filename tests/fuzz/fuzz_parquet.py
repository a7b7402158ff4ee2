"""atheris: `PYTHONPATH=src:tests python -m fuzz.fuzz_parquet -max_total_time=600 [CORPUS]`.

Whatever the bytes are, reading ends in rows or in an `InputError`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["textmill"]):
    from support.parquet_damage import damaged, outcome, sample


def seeds(folder: Path) -> None:
    """Whole files and slightly damaged ones to begin with."""
    for compression in ("none", "zstd", "snappy"):
        for count in (1, 5, 60):
            data = sample(count=count, compression=compression)
            (folder / f"{compression}-{count}").write_bytes(data)
            (folder / f"{compression}-{count}-damaged").write_bytes(damaged(data, count))


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Half of the time as a transfer or a disk would damage it, half as the fuzzer likes."""
    if seed % 2 and len(data) > 100:
        return damaged(data, seed)[:max_size]
    return atheris.Mutate(data, max_size)


def one(data: bytes) -> None:
    found = outcome(data)
    assert found in {"rows", "refused"}, found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seeds(Path(folder))
        atheris.Setup(
            [*sys.argv, "-max_len=20000", "-rss_limit_mb=4096", folder],
            one,
            custom_mutator=mutate,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
