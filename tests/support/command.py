"""The command line as a user runs it: a real process, its exit code and what it printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from support.waiting import wait_for

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
    """Return when the job has begun so many windows; fails the test if it ends before."""
    parts = output.with_name(output.name + ".job") / "parts"
    wait_while_it_runs(process, lambda: len(list(parts.glob("*"))) >= count)


def wait_while_it_runs(process: subprocess.Popen[bytes], condition: Callable[[], object]) -> None:
    """Return when the condition is true; fails the test if the process ends before."""

    def is_so() -> object:
        assert process.poll() is None, f"it ended, with {process.returncode}, before that was so"
        return condition()

    wait_for(is_so, every=0.002)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Fails the test if the process had ended by itself."""
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@contextmanager
def held(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Stops the process for a while; fails the test if it had ended."""
    process.send_signal(signal.SIGSTOP)
    seen = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert seen is not None
    assert seen.si_code == os.CLD_STOPPED, "it ended before it could be stopped"
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def write_lines(path: Path, *rows: Any) -> Path:
    """Write rows as JSON Lines; bytes are written as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All rows of a JSON Lines file; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
