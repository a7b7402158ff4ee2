"""Any order of calls on a store gives what a dict would give, whether runs end or are killed."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from support.stores import place_of
from textmill.errors import OutputError
from textmill.storage.atomic import UNFINISHED_SUFFIX
from textmill.storage.base import Lock, Log, Target

NAMES = st.sampled_from(["a", "a.b", "ab", "d/a", "d/e/a+ b", "d/é"])
LOGS = st.sampled_from(["logs/0", "logs/1", "log"])
PREFIXES = st.sampled_from(["a", "d/", "d/e/", "logs/", "lo"])
DATA = st.binary(max_size=20)


class StoreMachine(RuleBasedStateMachine):
    kind = "memory"
    folder: Path
    s3_url = ""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        self.place = self.stack.enter_context(place_of(self.kind, folder, self.s3_url))
        self.store = self.place.open()
        self.files: dict[str, bytes] = {}
        self.logs: dict[str, bytes] = {}
        """What was appended."""
        self.synced: dict[str, int] = {}
        """How much of it was synced."""
        self.handles: dict[str, Log] = {}
        self.target: tuple[str, Target, bytes] | None = None
        self.lock: Lock | None = None

    def teardown(self) -> None:
        self.end_run()
        self.stack.close()

    # What a run does with files.

    @rule(name=NAMES, data=DATA)
    def replace(self, name: str, data: bytes) -> None:
        self.only_writer_of(name)
        self.store.replace(name, data)
        self.files[name] = data

    @rule(name=NAMES, data=DATA)
    def create(self, name: str, data: bytes) -> None:
        self.only_writer_of(name)
        assert self.store.create(name, data) is (name not in self.files)
        self.files.setdefault(name, data)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.store.remove(name)
        self.files.pop(name, None)

    @rule(prefix=PREFIXES)
    def clear(self, prefix: str) -> None:
        self.close_logs()
        self.drop_target()
        self.store.clear(prefix)
        for kept in (self.files, self.logs, self.synced):
            for name in [name for name in kept if name.startswith(prefix)]:
                del kept[name]

    @rule(name=NAMES, data=DATA)
    def begin_target(self, name: str, data: bytes) -> None:
        self.drop_target()
        target = self.store.target(name)
        target.write(data)
        self.target = name, target, data

    @rule(data=DATA)
    def commit_target(self, data: bytes) -> None:
        if self.target:
            name, target, written = self.target
            target.write(data)
            target.commit()
            self.files[name], self.target = written + data, None

    @rule(data=DATA)
    def commit_target_unless_taken(self, data: bytes) -> None:
        if self.target:
            name, target, written = self.target
            target.write(data)
            assert target.commit(replace=False) == (name not in self.files)
            self.files.setdefault(name, written + data)
            self.target = None

    @rule()
    def drop_target(self) -> None:
        if self.target:
            self.target[1].discard()
            self.target = None

    def only_writer_of(self, name: str) -> None:
        """A name has one writer at a time, as stores demand of their callers."""
        if self.target and self.target[0] == name:
            self.drop_target()

    # What a run does with logs, and with its lock.

    @rule(name=LOGS, data=st.binary(min_size=1, max_size=20))
    def append(self, name: str, data: bytes) -> None:
        log = self.handles.setdefault(name, self.store.log(name))
        log.append(data)
        self.logs[name] = self.logs.get(name, b"") + data

    @rule(name=LOGS)
    def sync(self, name: str) -> None:
        if name in self.handles:
            self.handles[name].sync()
            self.synced[name] = len(self.logs[name])

    @rule(name=LOGS, part=st.floats(0, 1))
    def cut(self, name: str, part: float) -> None:
        if name in self.logs and name not in self.handles and self.place.keeps_unsynced:
            size = int(len(self.logs[name]) * part)
            log = self.store.log(name)
            log.cut(size)
            log.close()
            self.logs[name] = self.logs[name][:size]
            self.synced[name] = min(size, self.synced.get(name, 0))

    @rule()
    def close_logs(self) -> None:
        for log in self.handles.values():
            log.close()
        self.handles.clear()
        self.logs = self.visible_logs()

    @rule()
    def take_lock(self) -> None:
        if self.lock is None:
            self.lock = self.store.lock("job/lock")
        else:
            with pytest.raises(OutputError):
                self.place.open().lock("job/lock")

    # How runs end.

    @rule()
    def end_run(self) -> None:
        self.close_logs()
        self.drop_target()
        if self.lock:
            self.lock.release()
            self.lock = None
        self.store = self.place.open()

    @rule()
    def kill(self) -> None:
        if self.kind == "memory":
            self.die(lambda store: store.crash())
            self.synced = {name: len(data) for name, data in self.logs.items()}

    @rule(seed=st.integers(0, 2**16))
    def cut_power(self, seed: int) -> None:
        if self.kind == "memory":
            self.die(lambda store: store.power_cut(random.Random(seed)))
            for name, data in self.logs.items():
                left = self.store.log(name).read()
                assert data.startswith(left)
                assert len(left) >= self.synced.get(name, 0)
                self.logs[name] = left
            there = set(self.store.names(""))
            self.logs = {name: data for name, data in self.logs.items() if name in there}
            self.synced = {name: len(data) for name, data in self.logs.items()}

    def die(self, how) -> None:
        self.handles.clear()
        self.target = self.lock = None
        self.store = self.place.memory = how(self.place.memory)

    # What everybody sees at any time.

    @invariant()
    def files_are_those_of_the_dict(self) -> None:
        other, logs = self.place.open(), self.visible_logs()
        names = [name for name in other.names("") if name not in self.not_ours]
        assert names == sorted([*self.files, *logs])
        for name, data in self.files.items():
            assert other.read(name) == data
        for name, data in logs.items():
            assert other.log(name).read() == data

    @property
    def not_ours(self) -> set[str]:
        """Files that a store may keep for itself: a lock, and on disk the file in the making."""
        return {"job/lock", f"{self.target[0]}{UNFINISHED_SUFFIX}" if self.target else ""}

    def visible_logs(self) -> dict[str, bytes]:
        if self.place.keeps_unsynced:
            return dict(self.logs)
        return {name: self.logs[name][:size] for name, size in self.synced.items()}


@pytest.mark.parametrize(
    ("kind", "examples", "steps"),
    [
        ("local", 40, 30),
        ("memory", 100, 30),
        ("s3", 3, 12),
        ("s3-faults", 2, 8),
        pytest.param("s3", 20, 20, marks=pytest.mark.full),
        pytest.param("s3-faults", 20, 15, marks=pytest.mark.full),
    ],
)
def test_a_store_is_a_dict(
    kind: str, examples: int, steps: int, tmp_path: Path, s3_url: str, credentials: None
) -> None:
    state = {"kind": kind, "folder": tmp_path, "s3_url": s3_url}
    run_state_machine_as_test(
        type("Machine", (StoreMachine,), state),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
