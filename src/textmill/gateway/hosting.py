"""The processes of endpoints: `textmill serve` for each, asked over HTTP, and nothing of its code.

FOLDER/serve.lock is held by the process, FOLDER/serve.json says what it serves, FOLDER/serve.out
what it printed: first the line that ends with its address.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from textmill.errors import TextmillError
from textmill.gateway import processes
from textmill.gateway.identity import Identity
from textmill.gateway.printed import Printed
from textmill.gateway.transform.modeldata import fetch_model
from textmill.gateway.transform.work import ECHO, Means
from textmill.storage.connecting import StoreOptions
from textmill.storage.local import LocalStore
from textmill.words import written

SERVED, OUTPUT, LOCK = "serve.json", "serve.out", "serve.lock"
ANSWER_SECONDS = 65.0
"""SageMaker's limit for one answer is a minute."""

_PING_SECONDS = 2.0
_TAIL_CHARACTERS = 600
_ADDRESS = re.compile(r"(http://[0-9.:\[\]a-z]+)\s*$")


class Served(Struct, frozen=True, kw_only=True):
    """What an endpoint's process serves, and how."""

    name: str
    model: Identity
    hyper_params: str | None
    means: Means


class Reply(Struct, frozen=True):
    """What an endpoint's process answered."""

    status: int
    content_type: str
    body: bytes


class Hosting:
    """Endpoints' processes by the folder each has. All methods but `ask` return at once."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: what is added to this process's own, such as keys for the store."""
        self._environment = dict(environment)
        self._ours: dict[Path, subprocess.Popen[bytes]] = {}
        self._asked: set[int] = set()
        self._logs: dict[Path, Printed] = {}
        self._mutex = threading.Lock()

    def start(self, folder: Path, served: Served) -> None:
        """Start a process in a folder that has none. Raises `OSError`, `OutputError`."""
        folder.mkdir(exist_ok=True)
        LocalStore(folder).replace(SERVED, msgspec.json.encode(served))
        lock = processes.taken(folder / LOCK)
        if lock is None:
            raise BlockingIOError(errno.EAGAIN, "a process is there", str(folder))
        try:
            self.log(folder, ended=True)
            with (folder / OUTPUT).open("wb") as output:
                self._logs[folder].began()
                process = processes.start(
                    __name__,
                    folder,
                    output,
                    self._environment,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[lock],
                )
        finally:
            os.close(lock)
        with self._mutex:
            self._ours[folder] = process
        self._asked.discard(process.pid)

    def is_running(self, folder: Path) -> bool:
        """Whether a process, ours or a former gateway's, is there."""
        with self._mutex:
            process = self._ours.get(folder)
            if process is not None and process.poll() is not None:
                del self._ours[folder]
        return processes.holder(folder / LOCK) is not None

    def is_ending(self, folder: Path) -> bool:
        """Whether the process was asked to end; it may answer still."""
        return processes.holder(folder / LOCK) in self._asked

    def is_ready(self, folder: Path) -> bool:
        """Whether the process answers /ping with 200."""
        url = address(folder)
        if url is None:
            return False
        with suppress(OSError, http.client.HTTPException):
            return _request(url, "GET", "/ping", b"", {}, seconds=_PING_SECONDS).status == 200
        return False

    def ask(self, folder: Path, body: bytes, headers: Mapping[str, str]) -> Reply:
        """An answer of /invocations. Raises `OSError` if there is none."""
        url = address(folder) if self.is_running(folder) else None
        if url is None:  # an ended process's address may be another program's by now
            raise ConnectionError("the endpoint has no process")
        try:
            return _request(url, "POST", "/invocations", body, headers, seconds=ANSWER_SECONDS)
        except http.client.HTTPException as error:
            raise ConnectionError(f"the endpoint's answer is none: {written(error)}") from error

    def last_words(self, folder: Path) -> str:
        """The end of what the process printed, on one line."""
        try:
            text = (folder / OUTPUT).read_bytes().decode("utf-8", "replace")
        except OSError:
            return ""
        return " ".join(text.split())[-_TAIL_CHARACTERS:]

    def log(self, folder: Path, *, ended: bool) -> None:
        """Bring the folder's log up to what its process has printed. Raises `OSError`."""
        if folder not in self._logs:
            self._logs[folder] = Printed(folder, OUTPUT)
        self._logs[folder].collect(ended=ended)

    def stop(self, folder: Path) -> None:
        """Ask the process to end; it answers first what it has taken. To be called until it has:
        one that is only being started cannot be asked yet, and one that was asked is not again."""
        pid = processes.holder(folder / LOCK)
        if pid and pid not in self._asked:
            self._asked.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def remove(self, folder: Path) -> None:
        """Remove a folder whose process has ended."""
        self._logs.pop(folder, None)
        shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Kill those of our processes that have not ended when they were asked to."""
        with self._mutex:
            ours = list(self._ours.values())
        for process in ours:
            process.kill()
            process.wait()


def address(folder: Path) -> str | None:
    """Where the process of a folder listens; None while it has not said so."""
    try:
        with (folder / OUTPUT).open(encoding="utf-8", errors="replace") as output:
            for line in output:
                if match := _ADDRESS.search(line):
                    return match[1]
    except OSError:
        pass
    return None


def _request(
    url: str, method: str, path: str, body: bytes, headers: Mapping[str, str], *, seconds: float
) -> Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request(method, path, body, dict(headers))
        found = connection.getresponse()
        return Reply(found.status, found.getheader("content-type") or "", found.read())
    finally:
        connection.close()


def main(folder: Path) -> int:
    """Become the `textmill serve` of a folder, once its model's data is here."""
    (folder / LOCK).write_text(str(os.getpid()))  # it has this number to its end
    served = msgspec.json.decode((folder / SERVED).read_bytes(), type=Served)
    means = served.means
    options = StoreOptions(endpoint_url=means.endpoint_url, region=means.region)
    try:
        model = None if means.engine == ECHO else fetch_model(served.model, folder, options)
    except TextmillError as error:
        sys.stdout.write(f"error: {error}\n")
        return 2
    flags = ["--host", "127.0.0.1", "--port", "0", "--name", served.name, "--quiet"]
    flags += ["--max-body-mb", "25"]
    flags += ["--engine", means.engine, "--precision", means.precision]
    flags += [] if model is None else ["--model", model]
    flags += [] if means.threads is None else ["--threads", str(means.threads)]
    flags += [] if means.download else ["--offline"]
    env = {**os.environ, "TEXTMILL_HOME": means.home, "PYTHONUNBUFFERED": "1"}
    env.pop("HYPER_PARAMS", None)
    if served.hyper_params is not None:
        env["HYPER_PARAMS"] = served.hyper_params
    command = [sys.executable, "-P", "-m", "textmill", "serve", *flags]
    return os.execve(sys.executable, command, env)  # noqa: S606  ourselves, with the lock


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
