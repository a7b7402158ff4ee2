"""The command line as a user runs it: a real process, its exit code and what it printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

SOURCE = Path(__file__).parents[2] / "src"


class Ran(Struct):
    """What a process did."""

    code: int
    out: str
    err: str


def environment(**extra: str) -> dict[str, str]:
    """The process's environment: nothing of the user's that textmill reads."""
    home = "TEXTMILL_HOME"  # `conftest.py` has set it
    kept = {
        k: v for k, v in os.environ.items() if k == home or not k.startswith(("HF_", "TEXTMILL_"))
    }
    for name in ("HYPER_PARAMS", "OPENAI_API_KEY"):
        kept.pop(name, None)
    return {**kept, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error", **extra}


def textmill(
    *arguments: str | Path,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    env: dict[str, str] | None = None,
    timeout: float = 120,
    prefix: Sequence[str] = (),
) -> Ran:
    """Run `textmill` with these arguments; fails the test if it prints a traceback.

    prefix: a command to run it by.
    """
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "textmill", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        env=env or environment(),
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in ran.err, ran.err
    return ran


def start_run(source: str | Path, output: Path, *flags: str) -> subprocess.Popen[bytes]:
    """Start `textmill run` on the echo engine, to be stopped half-way."""
    # A signal may come between opening a file and keeping it, which Python warns of.
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "textmill", "run", source, "-o", output),
            *("--engine", "echo", *flags),
        ],
        env=environment(PYTHONWARNINGS="default::UserWarning"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def wait_for_parts(process: subprocess.Popen[bytes], output: Path, count: int) -> None:
    """Return when the job has begun so many windows, or has ended."""
    parts = output.with_name(output.name + ".job") / "parts"
    while process.poll() is None and len(list(parts.glob("*"))) < count:
        time.sleep(0.002)


def write_lines(path: Path, *rows: Any) -> Path:
    """Write rows as JSON Lines; bytes are written as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSON Lines file; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
