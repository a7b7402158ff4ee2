"""Runs `textmill` command lines in forked children, and makes them fail where they are told to.

`python -m support.crashing_child` imports textmill once and then forks for each request that
comes in on standard input, so a run costs a few milliseconds of start instead of a third of a
second. `support.crashing` speaks to it; nothing else should.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_AUDITED = {
    *("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink"),
    "fcntl.flock",
}
_CALLS = {"write", "writelines", "flush", "fsync", "fdatasync", "truncate", "ftruncate"}
_WRITERS = tuple(f"{os.sep}textmill{os.sep}{part}{os.sep}" for part in ("storage", "transform"))


class Tripwire:
    """Counts what a process does to the files of a folder; acts when a number is reached.

    An event is a call that opens for writing, renames, removes, makes, cuts or locks a file of
    the folder, or a call of write, flush, fsync and the like out of textmill's own storage and
    transform layers. It is counted *before* it takes effect. The state of the disk after event k
    is the state before event k + 1, so dying at every event visits every state between two calls.
    """

    def __init__(self, folder: str, act: Callable[[int, str], None]) -> None:
        """`act` is told each event's number, from 1, and what it is."""
        self._folder, self._act = folder, act
        self._lock = threading.Lock()
        self._count = 0

    def arm(self) -> None:
        """Begin to count. It cannot be undone: audit hooks stay for the life of a process."""
        sys.addaudithook(self._audit)
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if self._opens_for_writing(*arguments):
                self._tell(f"open {arguments[0]}")
        elif event in _AUDITED and (event == "fcntl.flock" or self._touches(event, arguments)):
            self._tell(f"{event} {arguments[0]}")

    def _opens_for_writing(self, path: object, mode: object, flags: int, *_: object) -> bool:
        return isinstance(path, str) and self._inside(path) and bool(flags & _WRITE_FLAGS)

    def _touches(self, event: str, arguments: tuple[Any, ...]) -> bool:
        """Names relative to an open folder are those of a tree that is being removed."""
        path = arguments[0]
        if isinstance(path, int):
            return True
        at_folder = any(isinstance(one, int) and one >= 0 for one in arguments[1:])
        relative_to_fd = event in {"os.remove", "os.rmdir"} and at_folder
        return relative_to_fd or self._inside(os.fspath(path))

    def _inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self._folder + os.sep)

    def _profile(self, frame: Any, event: str, function: Any) -> None:
        if event != "c_call" or getattr(function, "__name__", "") not in _CALLS:
            return
        if any(part in frame.f_code.co_filename for part in _WRITERS):
            self._tell(f"{function.__name__} in {frame.f_code.co_qualname}")

    def _tell(self, what: str) -> None:
        with self._lock:
            self._count += 1
            number = self._count
        self._act(number, what)


def _action(request: dict[str, Any]) -> Callable[[int, str], None]:
    """What a tripwire does: write events down, and raise or signal itself at one of them."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC)
    at, error, number = request["at"], request["error"], request["signal"]

    def act(event: int, what: str) -> None:
        os.write(log, f"{what}\n".encode())
        if event != at:
            return
        if error is not None:
            raise OSError(error, os.strerror(error))
        os.kill(os.getpid(), number)

    return act


def _become(request: dict[str, Any], hold: int | None) -> None:
    """In the child: take over its files, limits and traps, then wait for `hold`."""
    os.setsid()
    stdin = os.open(request.get("stdin", os.devnull), os.O_RDONLY)
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    err = os.open(request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for target, source in enumerate((stdin, out, err)):
        os.dup2(source, target)
        os.close(source)
    os.chdir("/")
    if hold is not None:
        os.read(hold, 1)
        os.close(hold)
    if limit := request.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if "trip" in request:
        trip = request["trip"]
        Tripwire(trip["folder"], _action(trip)).arm()
    sys.argv = ["textmill", *request["arguments"]]


def _preload() -> None:
    """Import what a run imports, so that only the job's own calls are left to count."""
    for name in json.loads(os.environ.get("PRELOAD", "[]")):
        importlib.import_module(name)


def _serve(requests: int, replies: int) -> bool:
    """Fork for each request. Returns True in a child that is to run its command line."""
    while line := _read_line(requests):
        request = json.loads(line)
        hold, go = os.pipe() if request.get("hold") else (None, None)
        pid = os.fork()
        if not pid:
            os.close(replies)
            if go is not None:
                os.close(go)
            _become(request, hold)
            return True
        _reply(replies, {"pid": pid})
        if hold is not None and go is not None:
            os.close(hold)
            _read_line(requests)
            os.write(go, b"x")
            os.close(go)
        _, status = os.waitpid(pid, 0)
        _reply(replies, {"code": os.waitstatus_to_exitcode(status)})
    return False


def _read_line(descriptor: int) -> bytes:
    """Up to a line's end and no further: what follows is not for a forked child."""
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(descriptor, 1)):
        line += byte
    return line


def _reply(replies: int, value: dict[str, Any]) -> None:
    os.write(replies, json.dumps(value).encode() + b"\n")


def main() -> None:
    """Serve until standard input ends; in a child, run `textmill` to its exit."""
    _preload()
    replies = os.dup(1)
    if not _serve(0, replies):
        return
    if listing := os.environ.get("LIST_MODULES"):
        _list_modules_at_exit(Path(listing))
    from textmill.cli.main import main as textmill

    textmill()


def _list_modules_at_exit(path: Path) -> None:
    import atexit

    atexit.register(
        lambda: path.write_text(
            json.dumps([n for n, m in sys.modules.items() if getattr(m, "__spec__", None)])
        )
    )


if __name__ == "__main__":
    main()
