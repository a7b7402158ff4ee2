"""The processes of transform jobs: started, looked after, ended. They outlive a killed gateway."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from textmill.gateway import processes
from textmill.gateway.transform.work import STOP, Means
from textmill.gateway.transform.worker import BUSY, LOCK

_WORKER = "textmill.gateway.transform.worker"
_OUTPUT = "worker.out"


class Supervisor:
    """Workers by the folder they work in. Every method returns at once, `close` excepted."""

    def __init__(self, means: Means, environment: Mapping[str, str]) -> None:
        """`environment`: what is added to this process's own, such as keys for the store."""
        self._means, self._environment = msgspec.json.encode(means), dict(environment)
        self._ours: dict[Path, subprocess.Popen[bytes]] = {}
        self._tries: dict[Path, int] = {}
        self._mutex = threading.Lock()

    def is_at_work(self, folder: Path) -> bool:
        """Whether a worker, ours or a former gateway's, works in the folder."""
        with self._mutex:
            process = self._ours.get(folder)
            if process is not None:
                if process.poll() is None:
                    return True
                del self._ours[folder]
                if process.returncode != BUSY:
                    self._tries[folder] = self._tries.get(folder, 0) + 1
        return processes.holder(folder / LOCK) is not None

    def tries(self, folder: Path) -> int:
        """How many workers have ended there; with a verdict, one is all."""
        return self._tries.get(folder, 0)

    def start(self, folder: Path) -> None:
        """Start a worker. Raises `OSError` if the system starts no process."""
        with (folder / _OUTPUT).open("ab") as output:
            process = processes.start(
                _WORKER, folder, output, self._environment, stdin=subprocess.PIPE
            )
        with self._mutex:
            self._ours[folder] = process
        assert process.stdin is not None  # noqa: S101  a pipe was asked for
        with suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(self._means)

    def stop(self, folder: Path) -> None:
        """Ask the job to stop. Its worker ends with the verdict; without one, the next does."""
        (folder / STOP).touch()
        self.end(folder)

    def end(self, folder: Path) -> None:
        """End the worker there, ours or a former gateway's, if there is one."""
        with self._mutex:
            process = self._ours.get(folder)
        if process is not None:
            process.terminate()
        elif pid := processes.holder(folder / LOCK):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def forget(self, folder: Path) -> None:
        """The job has ended."""
        with self._mutex:
            process = self._ours.pop(folder, None)
            self._tries.pop(folder, None)
        if process is not None:
            process.wait()

    def close(self, seconds: float = 10.0) -> None:
        """End our workers; their jobs go on when a gateway is started again."""
        with self._mutex:
            ours = list(self._ours.values())
        for process in ours:
            process.terminate()
        for process in ours:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
