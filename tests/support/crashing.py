"""Jobs that are killed, or whose system calls fail, at chosen points; and what must hold then.

Two ways to choose a point:

- strace: every system call of the job that touches its folder is a point, found by a first
  traced run and hit again by `inject` with the call's path and its number on that path. A kill
  comes when the call is entered, before it has any effect. The disk after call k is the disk
  before call k + 1, so the kills visit every state that lies between two calls.
- a tripwire inside the process (`crashing_child.Tripwire`), which needs no strace.

A short write is made honest by a shim around `write` (`short_writes`): the bytes it reports are
written and no others. strace cannot do that: a call whose result it replaces is not made.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import Struct

from support.command import environment, textmill

TESTS = Path(__file__).parents[1]
NEEDS_STRACE = "needs strace and leave to trace: apt-get install strace, dnf install strace, …"
NEEDS_COMPILER = "needs a C compiler (cc) for the shim around write: apt-get install gcc, …"
KEPT_APART = {"finished", "run", "command", "inputs"}
"""Fields of a manifest that tell one run of a job from another, or name paths."""


class Exit(Struct, frozen=True):
    """How a run ended: exit code (negative for a signal), what it printed, events of a tripwire."""

    code: int
    out: str
    err: str
    events: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    hit: str = ""


class Call(Struct, frozen=True):
    """One system call on the job's files.

    path: by which it is found again; n: its number, from 1, among the calls of that name and path
    in its thread. main: whether it is the main thread's. everywhere_n: its number among the calls
    of that name on any of the job's files. changes: whether it may change the disk.
    """

    name: str
    path: str
    n: int
    everywhere_n: int
    main: bool
    changes: bool


class Child:
    """A process that forks into runs of `textmill`; one run at a time. A context manager."""

    def __init__(self, scratch: Path, **env: str) -> None:
        """`scratch`: a folder for what the runs print; `env`: added to their environment."""
        scratch.mkdir(exist_ok=True)
        self._scratch, self._events, self._running = scratch, scratch / "events", 0
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "support.crashing_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(PRELOAD=_modules_of_a_run(), **env),
            bufsize=0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(120)
            self._process.stdout.close()

    def run(self, arguments: Sequence[str | Path], **request: Any) -> Exit:
        """Run to the end. `request`: see `crashing_child._become`."""
        pid = self._start(arguments, **request)
        return self._end(pid)

    def trip(self, arguments: Sequence[str | Path], folder: Path, **options: Any) -> Exit:
        """Run with a tripwire to the end, which is a kill where `at` is given alone."""
        self.start_trip(arguments, folder, **options)
        return self.ended()

    def start_trip(
        self,
        arguments: Sequence[str | Path],
        folder: Path,
        *,
        at: int | None = None,
        error: int | None = None,
        number: int = signal.SIGKILL,
        **request: Any,
    ) -> None:
        """Start a run that, at event `at`, fails with `error` or gets the signal `number`."""
        trip: dict[str, Any] = {"folder": str(folder), "log": str(self._events)}
        trip |= {"at": at, "error": error, "signal": number}
        self._running = self._start(arguments, trip=trip, **request)

    def stopped(self) -> bool:
        """Wait until the run stands still (True), or has ended (False)."""
        assert self._process.stdout
        while not select.select([self._process.stdout], [], [], 0)[0]:
            with suppress(OSError):
                if _state(self._running)[0] in "Tt":
                    return True
            time.sleep(0.002)
        return False

    def go_on(self) -> Exit:
        """Let a run that stands still go on to its end."""
        os.kill(self._running, signal.SIGCONT)
        return self.ended()

    def ended(self) -> Exit:
        """How the run with a tripwire has ended."""
        ended = self._end(self._running)
        return msgspec.structs.replace(ended, events=tuple(self._events.read_text().splitlines()))

    def traced(
        self,
        arguments: Sequence[str | Path],
        folder: Path,
        inject: Injection | None = None,
        **request: Any,
    ) -> Exit:
        """Run under strace; `calls` are those on files of `folder`, `hit` is what was injected."""
        self.start_traced(arguments, folder, inject, **request)
        return self.ended_traced()

    def start_traced(
        self,
        arguments: Sequence[str | Path],
        folder: Path,
        inject: Injection | None = None,
        **request: Any,
    ) -> None:
        """Start a run under strace."""
        log = self._scratch / "strace"
        self._running = self._start(arguments, hold=True, **request)
        self._tracing = folder, inject, log
        self._tracer = tracer = subprocess.Popen(
            [
                *("strace", "-p", str(self._running), "-y", "-o", log, "-e", "signal=none"),
                *_options(inject),
            ],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert tracer.stderr
        while "attached" not in (line := tracer.stderr.readline()):
            if not line:
                self._send(b"go\n")
                self._end(self._running)
                raise AssertionError(f"strace did not start: {NEEDS_STRACE}")
        self._send(b"go\n")

    def stopped_traced(self) -> bool:
        """Wait until a run whose injection is `signal=STOP` stands still, the call being done.

        Under strace a process that stands still looks like one whose call is being looked at, so
        the call must be in the log and nothing may move for a while.
        """
        _, inject, log = self._tracing
        assert self._process.stdout
        assert inject
        while not select.select([self._process.stdout], [], [], 0.02)[0]:
            done = log.read_text(errors="replace").count(f"{inject.call.name}(")
            if done >= inject.call.n and _state(self._running)[0] == "t":
                time.sleep(0.05)
                if log.read_text(errors="replace").count(f"{inject.call.name}(") == done:
                    return True
        return False

    def ended_traced(self) -> Exit:
        """How the run under strace has ended."""
        folder, inject, log = self._tracing
        ended = self._end(self._running)
        self._tracer.communicate(timeout=120)
        text = log.read_text(errors="replace")
        hit = _what_was_hit(text, ended.code) if inject else ""
        return msgspec.structs.replace(ended, calls=tuple(parse_calls(text, folder)), hit=hit)

    def go_on_traced(self) -> Exit:
        """Let a run under strace that stands still go on to its end."""
        os.kill(self._running, signal.SIGCONT)
        return self.ended_traced()

    def _start(self, arguments: Sequence[str | Path], **request: Any) -> int:
        full = {
            "arguments": [str(one) for one in arguments],
            "out": str(self._scratch / "out"),
            "err": str(self._scratch / "err"),
            **request,
        }
        self._send(json.dumps(full).encode() + b"\n")
        return int(self._reply(120)["pid"])

    def _end(self, pid: int, timeout: float = 120) -> Exit:
        try:
            code = int(self._reply(timeout)["code"])
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._reply(120)
            raise
        assert not left_behind(pid), f"processes outlive the run: {left_behind(pid)}"
        out, err = ((self._scratch / name).read_text(errors="replace") for name in ("out", "err"))
        return Exit(code, out, err)

    def _send(self, data: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(data)

    def _reply(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise TimeoutError("the run does not end")
        reply: dict[str, Any] = json.loads(self._process.stdout.readline())
        return reply


def _environment(**extra: str) -> dict[str, str]:
    """Warnings are errors, but for files left open by an error: their process is about to end."""
    path = os.pathsep.join([environment()["PYTHONPATH"], str(TESTS)])
    warnings = "error,ignore::ResourceWarning"
    return {**environment(**extra), "PYTHONPATH": path, "PYTHONWARNINGS": warnings}


@cache
def _modules_of_a_run() -> str:
    """What one small run imports, as JSON; imported beforehand, it is no part of a run."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        source, listing = Path(folder) / "in.jsonl", Path(folder) / "modules"
        source.write_text('{"id": 0, "text_inputs": "t"}\n{\n')
        request = {
            "arguments": ["run", str(source), "-o", f"{folder}/out.jsonl", "--engine", "echo"],
            "out": os.devnull,
            "err": os.devnull,
        }
        subprocess.run(
            [sys.executable, "-B", "-m", "support.crashing_child"],
            input=json.dumps(request).encode() + b"\n",
            env=_environment(LIST_MODULES=str(listing)),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        names = json.loads(listing.read_text())
    return json.dumps([name for name in names if not name.startswith(("__", "support"))])


# Which system calls, and how they are hit


CHANGES = (
    *("write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "sync_file_range"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"),
    *("truncate", "ftruncate", "fallocate", "link", "linkat", "symlink", "symlinkat", "flock"),
    *("sendfile", "copy_file_range", "fchmod", "chmod", "utimensat"),
)
READS = ("read", "pread64", "close")
OPENS = ("open", "openat", "creat")
CALLS = (*CHANGES, *READS, *OPENS)


class Injection(Struct, frozen=True):
    """What strace does to one call: `fault` is `signal=KILL` or `error=ENOSPC`.

    lasting: to all later calls of that name on `paths` as well, as when a disk stays full.
    """

    call: Call
    fault: str
    lasting: tuple[str, ...] = ()


def _options(inject: Injection | None) -> list[str]:
    if inject is None:
        return ["-f", "-e", f"trace={','.join(CALLS)}"]
    call = inject.call
    paths = inject.lasting or (call.path,)
    when = f"{call.everywhere_n}+" if inject.lasting else str(call.n)
    follow = [] if call.main else ["-f"]
    chosen = [option for path in paths for option in ("-P", path)]
    return [
        *follow,
        *chosen,
        *("-e", f"trace={call.name}"),
        *("-e", f"inject={call.name}:{inject.fault}:when={when}"),
    ]


def _what_was_hit(log: str, code: int) -> str:
    lines = [line for line in log.splitlines() if "(INJECTED)" in line]
    if not lines and code == -signal.SIGKILL:
        lines = [line for line in log.splitlines() if line.endswith("= ?")]
    return lines[0] if lines else ""


_LINE = re.compile(r"^(?:(\d+) +)?(\w+)\((.*)$")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"(?<![\w>])\d+<([^>]*)>")


def parse_calls(log: str, folder: Path) -> list[Call]:
    """The calls of a log of `strace -y` that touch `folder` or what is in it, in order.

    To close a file that was only read cannot fail, and is left out.
    """
    calls = list(_parsed(log, folder))
    written = {call.path for call in calls if call.changes and call.name not in OPENS}
    return [call for call in calls if call.name != "close" or call.path in written]


def _parsed(log: str, folder: Path) -> Iterator[Call]:
    seen: Counter[tuple[str, ...]] = Counter()
    first_thread: str | None = None
    for line in log.splitlines():
        found = _LINE.match(line)
        if not found or found[2] not in CALLS:
            continue
        thread, name, rest = found[1] or "", found[2], found[3]
        first_thread = thread if first_thread is None else first_thread
        arguments = rest.rpartition(") = ")[0] or rest
        paths = list(dict.fromkeys(_paths(name, arguments, folder)))
        for path in paths:
            seen[thread, name, path] += 1
        if paths:
            seen[thread, name] += 1
            yield Call(
                name=name,
                path=paths[0],
                n=seen[thread, name, paths[0]],
                everywhere_n=seen[thread, name],
                main=thread == first_thread,
                changes=_changes(name, arguments),
            )


def _paths(name: str, arguments: str, folder: Path) -> Iterator[str]:
    """Paths within the folder that strace's -P would match; file content is no path."""
    quoted = [] if name in {"write", "pwrite64", "writev", "read"} else _QUOTED.findall(arguments)
    for path in (*quoted, *_DESCRIPTOR.findall(arguments)):
        if path == str(folder) or path.startswith(f"{folder}/"):
            yield path


def _changes(name: str, arguments: str) -> bool:
    if name in OPENS:
        return any(flag in arguments for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"))
    return name not in READS


@cache
def strace_works() -> bool:
    """Whether strace is there, is allowed to attach, and finds its injections hit."""
    if not shutil.which("strace"):
        return False
    traced = ["strace", "-o", os.devnull, "-e", "inject=rmdir:error=EXDEV", "rmdir", "/nowhere"]
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(traced, capture_output=True, text=True, env=env, check=False)
    if "ross-device" not in done.stderr:
        return False
    sleeper = subprocess.Popen(["sleep", "20"])
    tracer = subprocess.Popen(
        ["strace", "-o", os.devnull, "-p", str(sleeper.pid)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr
    attached = "attached" in tracer.stderr.readline()
    sleeper.kill()
    sleeper.wait()
    tracer.communicate()
    return attached


@contextmanager
def short_writes(folder: Path) -> Iterator[Callable[..., dict[str, str]] | None]:
    """A function that gives the environment in which writes below a path are short.

    `die_at=k`: the process is killed after half of the k-th write. None without a compiler.
    """
    if not shutil.which("cc"):
        yield None
        return
    source, shim = folder / "short.c", folder / "short.so"
    source.write_text(_SHIM)
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)

    def env(below: Path, *, die_at: int = 0) -> dict[str, str]:
        return {"LD_PRELOAD": str(shim), "SHORT_BELOW": str(below), "SHORT_DIE_AT": str(die_at)}

    yield env


_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long count;

/* Writes half of what it is given, as a disk that is nearly full or a signal makes write do. */
ssize_t write(int fd, const void *data, size_t size) {
  static ssize_t (*real)(int, const void *, size_t);
  if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  const char *below = getenv("SHORT_BELOW"), *die_at = getenv("SHORT_DIE_AT");
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0 || !below) return real(fd, data, size);
  path[n] = 0;
  if (strncmp(path, below, strlen(below))) return real(fd, data, size);
  ssize_t written = real(fd, data, size > 1 ? size / 2 : size);
  if (die_at && ++count == atol(die_at)) kill(getpid(), SIGKILL);
  return written;
}
"""


# What must hold


class Job:
    """A command line over a folder that can be laid out afresh, and what it must come to.

    prepare: fills an empty folder with the input and whatever an earlier run left there.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        prepare: Callable[[Path], None],
        *flags: str,
        from_stdin: bool = False,
    ) -> None:
        self.name = name
        self._flags, self._from_stdin = flags, from_stdin
        self._home, self._template = home, home / "template"
        self._template.mkdir(parents=True)
        prepare(self._template)
        self.before = snapshot(self._template)
        clean = self.lay_out("clean")
        stdin = (clean / "in.jsonl").read_bytes() if from_stdin else None
        ran = textmill(*self.arguments(clean), stdin=stdin)
        assert ran.code in (0, 3), ran.err
        self.code = ran.code
        self.expected = snapshot(clean)
        self.resumed = json.loads((clean / "out.manifest.json").read_bytes())["run"]["resumed_rows"]
        """Rows that the uninterrupted run found done."""

    def arguments(self, folder: Path) -> list[str]:
        """The line, with absolute paths."""
        source = "-" if self._from_stdin else str(folder / "in.jsonl")
        return ["run", source, "-o", str(folder / "out.jsonl"), *self._flags]

    def request(self, folder: Path) -> dict[str, str]:
        """What a run needs besides its line."""
        return {"stdin": str(folder / "in.jsonl")} if self._from_stdin else {}

    def lay_out(self, place: str) -> Path:
        """The folder as it was before the run; always at the same path for one `place`."""
        folder = self._home / place
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._template, folder)
        return folder

    def check_visible(self, folder: Path) -> None:
        """After any crash: each output is whole, old or new, and a new manifest is the last."""
        now = snapshot(folder)
        for name in ("out.jsonl", "out.errors.jsonl", "out.manifest.json"):
            allowed = (None, self.before.get(name), self.expected.get(name))
            assert now.get(name) in allowed, f"{name} is neither the old one nor the new one"
        manifest = self.expected["out.manifest.json"]
        if now.get("out.manifest.json") == manifest != self.before.get("out.manifest.json"):
            for name in ("out.jsonl", "out.errors.jsonl"):
                assert now.get(name) == self.expected.get(name), f"committed, but {name} is not"

    def check_ended(self, ended: Exit, folder: Path) -> bool:
        """After a fault that does not kill: complete, or a clear message. Returns which."""
        assert "Traceback" not in ended.err, ended.err
        assert "Exception ignored" not in ended.err, ended.err
        if ended.code == self.code:
            self._check_outputs(folder)
            return True
        assert ended.code in (2, 70), (ended.code, ended.err)
        message = ended.err.strip().splitlines()
        assert any(line.startswith("error: ") for line in message), ended.err
        return False

    def check_resumed(self, ended: Exit, folder: Path) -> None:
        """The same line has come to what an uninterrupted run comes to, and nothing else."""
        assert ended.code == self.code, (ended.code, ended.err)
        assert "Traceback" not in ended.err, ended.err
        self._check_outputs(folder)
        assert sorted(snapshot(folder)) == sorted(self.expected), "something was left behind"

    @staticmethod
    def digest(data: bytes) -> str:
        """As a manifest has it."""
        return hashlib.sha256(data).hexdigest()

    def _check_outputs(self, folder: Path) -> None:
        now = snapshot(folder)
        for name, content in self.expected.items():
            assert now.get(name) == content, f"{name} differs"


def snapshot(folder: Path) -> dict[str, Any]:
    """All files below a folder by name; of a manifest, what does not tell runs apart."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name + "/"] = b""
        elif name.endswith(".manifest.json"):
            manifest = json.loads(path.read_bytes())
            found[name] = {k: v for k, v in manifest.items() if k not in KEPT_APART}
        else:
            found[name] = path.read_bytes()
    return found


# Processes


def left_behind(session: int, patience: float = 30) -> list[int]:
    """Processes of a session that are still alive after `patience` seconds; they are killed."""
    deadline = time.monotonic() + patience
    while alive := session_members(session):
        if time.monotonic() > deadline:
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return alive
        time.sleep(0.01)
    return []


def session_members(session: int) -> list[int]:
    """Living processes of a session, its leader included."""
    return [pid for pid, stat in _processes() if int(stat[3]) == session and stat[0] not in "ZX"]


def descendants(pid: int) -> list[int]:
    """Living processes that `pid` has started, directly or not."""
    parents = {child: int(stat[1]) for child, stat in _processes() if stat[0] not in "ZX"}
    found: list[int] = []
    reached = {pid}
    while new := [child for child, parent in parents.items() if parent in reached - {child}]:
        new = [child for child in new if child not in reached]
        if not new:
            break
        found += new
        reached.update(new)
    return found


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Each process with its state."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                yield int(entry.name), _state(int(entry.name))


def _state(pid: int) -> list[str]:
    """/proc/PID/stat from the state on: state, parent, group, session, …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


ERRORS_OF = {
    "ENOSPC": (*OPENS, "write", "fsync", "fdatasync", "rename", "mkdir", "link", "close"),
    "EIO": CALLS,
    "EINTR": ("openat", "read", "write", "fsync", "fdatasync", "flock", "ftruncate", "close"),
    "EDQUOT": ("openat", "write", "fsync", "fdatasync", "mkdir", "link", "close"),
    "EACCES": ("openat", "rename", "unlink", "unlinkat", "rmdir", "mkdir", "link", "truncate"),
}
"""Which error each call may answer with, in earnest."""

ERROR_NUMBERS = {name: getattr(errno, name) for name in ERRORS_OF}
