"""What the gateway keeps of its resources: killed, damaged, of another version, on a full disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys

import pytest

from support.command import environment
from support.crashing import NEEDS_STRACE, strace_works
from textmill.errors import OutputError, UsageError
from textmill.gateway.database import MIGRATIONS, connect
from textmill.gateway.registry import DATABASE, Kind, Registry, Resource

NEWER = (*MIGRATIONS, ("ALTER TABLE resource ADD COLUMN more TEXT", "CREATE TABLE event (n INT)"))


def resource(name, **more):
    return Resource(
        kind=Kind.MODEL,
        region="us-east-1",
        name=name,
        arn=f"arn:{name}",
        created=1.5,
        modified=2.5,
        said={"ModelName": name, "text": "é😀"},
        **more,
    )


def kept(folder):
    registry = Registry(folder)
    try:
        return {one.name: one for one in registry.all(Kind.MODEL)}
    finally:
        registry.close()


def test_what_was_put_changed_and_removed_is_found_again(tmp_path):
    registry = Registry(tmp_path)
    for name in ("Name", "name", "gone"):  # names differ in case
        registry.put(resource(name))
    registry.change(resource("name"), status="x", tags={"a": "b"})
    registry.remove(resource("gone"))
    registry.remove(resource("gone"))
    registry.close()
    assert kept(tmp_path) == {
        "Name": resource("Name"),
        "name": resource("name", status="x", tags={"a": "b"}),
    }


def test_the_state_is_the_user_s_own(tmp_path):
    Registry(tmp_path / "state").close()
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state" / DATABASE).stat().st_mode) == 0o600


def test_a_folder_belongs_to_one_gateway_until_it_is_closed(tmp_path):
    first = Registry(tmp_path)
    with pytest.raises(UsageError, match="another gateway works in"):
        Registry(tmp_path)
    first.close()
    Registry(tmp_path).close()


def test_migrations_are_made_once_and_keep_what_is_there(tmp_path):
    registry = Registry(tmp_path)
    registry.put(resource("kept"))
    registry.close()
    for _ in range(2):
        database = connect(tmp_path / DATABASE, NEWER)
        assert database.execute("PRAGMA user_version").fetchone() == (len(NEWER),)
        assert database.execute("SELECT name, more FROM resource").fetchall() == [("kept", None)]
        assert database.execute("SELECT * FROM event").fetchall() == []
        database.close()


def test_a_migration_that_fails_half_way_changes_nothing(tmp_path):
    registry = Registry(tmp_path)
    registry.put(resource("kept"))
    registry.close()
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(OutputError, match="cannot be used"):
        connect(tmp_path / DATABASE, (*MIGRATIONS, (*NEWER[-1], "CREATE TABLE resource (n)")))
    assert (tmp_path / DATABASE).read_bytes() == before
    assert kept(tmp_path) == {"kept": resource("kept")}


def test_a_database_of_a_newer_version_is_refused_and_stays(tmp_path):
    connect(tmp_path / DATABASE, NEWER).close()
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(UsageError, match=r"newer textmill.*version is 2, this one knows 1"):
        Registry(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == before


def test_another_program_s_database_is_refused_and_stays(tmp_path):
    other = sqlite3.connect(tmp_path / DATABASE)
    other.execute("CREATE TABLE theirs (n)")
    other.close()
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(UsageError, match="another program's database"):
        Registry(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == before


@pytest.mark.parametrize("damage", ["no database", "cut", "torn page", "a row that is no resource"])
def test_a_damaged_database_is_told_at_the_start(tmp_path, damage):
    registry = Registry(tmp_path)
    for n in range(200):
        registry.put(resource(f"n{n}"))
    registry.close()
    path = tmp_path / DATABASE
    content = path.read_bytes()
    if damage == "no database":
        path.write_bytes(b"{}" * 2000)
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "torn page":
        path.write_bytes(content[:8192] + os.urandom(4096) + content[12288:])
    else:
        database = sqlite3.connect(path)
        database.execute("UPDATE resource SET described = '{' WHERE name = 'n7'")
        database.commit()
        database.close()
    with pytest.raises(UsageError, match=re.escape(f"{path} is damaged: ")):
        Registry(tmp_path)
    path.rename(tmp_path / "away")  # as the hint says
    assert kept(tmp_path) == {}


def test_what_could_not_be_written_is_not_known(tmp_path):
    registry = Registry(tmp_path)
    registry.put(resource("kept"))
    registry._database.execute("PRAGMA max_page_count = 2")
    with pytest.raises(OutputError, match=f"{DATABASE} cannot be used: database or disk is full"):
        registry.put(resource("large", reason="x" * 100_000))
    assert registry.get(Kind.MODEL, "us-east-1", "large") is None
    registry.put(resource("kept", status="later"))
    registry.close()
    assert kept(tmp_path) == {"kept": resource("kept", status="later")}


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / DATABASE).mkdir()
    with pytest.raises(OutputError, match=re.escape(os.strerror(errno.EISDIR))):
        Registry(tmp_path)


CHILD = """
from pathlib import Path
import sys
from unit.test_gateway_database import resource
from textmill.gateway.registry import Registry
registry = Registry(Path(sys.argv[1]))
for step, act in enumerate((
    lambda: registry.put(resource("a")),
    lambda: registry.put(resource("b", reason="x" * 20_000)),
    lambda: registry.change(resource("a"), status="changed"),
    lambda: registry.remove(resource("b")),
)):
    act()
    print(step, flush=True)
"""
STATES = [
    {},
    {"a": resource("a")},
    {"a": resource("a"), "b": resource("b", reason="x" * 20_000)},
    {"a": resource("a", status="changed"), "b": resource("b", reason="x" * 20_000)},
    {"a": resource("a", status="changed")},
]
"""After so many steps."""
CALLS = ("openat", "pwrite64", "fdatasync", "fsync", "ftruncate", "unlink")


def run_child(folder, log, *options):
    traced = [
        "strace",
        "-f",
        "-o",
        log,
        "-P",
        folder / DATABASE,
        "-P",
        f"{folder / DATABASE}-journal",
    ]
    traced += ["-P", folder, "-e", f"trace={','.join(CALLS)}", *options]
    path = os.pathsep.join([environment()["PYTHONPATH"], *sys.path])
    return subprocess.run(
        [*traced, sys.executable, "-c", CHILD, folder],
        env=environment(PYTHONPATH=path),
        capture_output=True,
        check=False,
    )


def check_killed_at(tmp_path, call, n):
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
    (tmp_path / "state").mkdir()
    inject = f"inject={call}:signal=KILL:when={n}"
    ran = run_child(tmp_path / "state", tmp_path / "log", "-e", inject)
    assert ran.returncode < 0, ran.stderr
    done = len(ran.stdout.split())
    assert kept(tmp_path / "state") in STATES[done : done + 2], (call, n)


@pytest.mark.skipif(not strace_works(), reason=NEEDS_STRACE)
@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.full, id="all"), pytest.param(9, id="some")]
)
def test_a_gateway_killed_at_a_call_knows_what_it_answered(tmp_path, every):
    """What was answered is there, what was not answered is there whole or not at all."""
    (tmp_path / "state").mkdir()
    ran = run_child(tmp_path / "state", tmp_path / "log")
    assert ran.returncode == 0, ran.stderr
    assert kept(tmp_path / "state") == STATES[-1]
    made = re.findall(r"^\d+ +(\w+)\(", (tmp_path / "log").read_text(), re.MULTILINE)
    points = [(call, n) for call in CALLS for n in range(1, made.count(call) + 1)]
    assert len(points) > 40, made
    for call, n in points[::every]:
        check_killed_at(tmp_path, call, n)
