"""A file of SQLite that one process writes: opened, checked, and brought to today's schema.

`PRAGMA user_version` counts the migrations that a file has had. Each is a transaction of its own,
so a process that is killed within one leaves the file as it was before.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from textmill.errors import OutputError, UsageError

APPLICATION_ID = 0x746D6C6C
"""By which a file says that it is the gateway's (`PRAGMA application_id`): "tmll"."""
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE resource (kind TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,"
        " described BLOB NOT NULL, PRIMARY KEY (kind, region, name)) WITHOUT ROWID",
    ),
)
"""Each the statements that lead from a schema to the next one. Only ever appended to."""

_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def connect(path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> sqlite3.Connection:
    """Open a file, which is made if need be. The caller sees to it that one thread uses it.

    A transaction is on disk when it ends: SQLite's rollback journal, synced together with its
    folder. Raises `UsageError` if the file is damaged, not the gateway's, or of a newer version;
    `OutputError` if it cannot be used.
    """
    with told(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        with told(path):
            connection.execute("PRAGMA synchronous = EXTRA")
            _check(connection, path, len(migrations))
            _migrate(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Tell errors of SQLite and of the disk as ours. Raises `UsageError` or `OutputError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED:
            raise damaged(path, str(error)) from error
        raise OutputError(
            f"{path} cannot be used: {error}",
            hint="look at the disk's free space and the folder's permissions",
        ) from error


def damaged(path: Path, why: str) -> UsageError:
    """What to raise about a file that cannot be understood."""
    return UsageError(
        f"{path} is damaged: {why}",
        hint="move it away; what it described is then unknown to the gateway",
    )


def _check(connection: sqlite3.Connection, path: Path, known: int) -> None:
    application, version = (
        _number(connection, f"PRAGMA {name}") for name in ("application_id", "user_version")
    )
    is_empty = not _number(connection, "SELECT count(*) FROM sqlite_master")
    if application != APPLICATION_ID and not is_empty:
        raise UsageError(f"{path} is another program's database", hint="give another --state")
    if version > known:
        raise UsageError(
            f"{path} is of a newer textmill: its version is {version}, this one knows {known}",
            hint="start the version of textmill that wrote it, or give another --state",
        )
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise damaged(path, found)


def _migrate(connection: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    done = _number(connection, "PRAGMA user_version")
    for version, statements in enumerate(migrations[done:], done + 1):
        with transaction(connection):
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version}")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is executed in the block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _number(connection: sqlite3.Connection, query: str) -> int:
    (found,) = connection.execute(query).fetchone()
    return int(found)
