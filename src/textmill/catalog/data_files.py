"""Which files of a data set are meant. Pure: names in, names out.

A path within a data set is, in this order: a file's name; a glob (`*` within a folder, `**` across
folders); a folder; or the beginning of shard names, `3.0.0/test` for
`3.0.0/test-00000-of-00003.parquet` and its sisters. Folders and beginnings mean Parquet files; a
file's name or a glob may mean other data (JSON Lines, CSV, text). Scripts and everything else are
never meant.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

from textmill.errors import InputError
from textmill.words import written

PARQUET = ".parquet"
DATA = re.compile(r".*\.(parquet|jsonl?|ndjson|csv|tsv|txt)(\.(gz|zst))?", re.DOTALL)
_SHARD = re.compile(r"(-\d+-of-\d+)?(-[0-9a-f]{16})?\.parquet")
"""What follows the name of a split in the name of a shard; some writers add a fingerprint."""
_NUMBERED = re.compile(r"/\d+\.parquet")
_MAX_LISTED = 12


def choose_data_files(data_set: str, names: Collection[str], path: str) -> tuple[str, ...]:
    """The files of `data_set` that `path` means, sorted by name; all shards for no path.

    Raises `InputError`, with what there is, for a path without a match, and for no path where
    there are several splits: which one is meant must be said.
    """
    data = sorted(name for name in names if DATA.fullmatch(name))
    if path in names:
        found = [path] if path in data else []
    elif glob.has_magic(path):
        pattern = path.split("/")
        found = [name for name in data if _matches(name.split("/"), pattern)]
    else:
        found = _below(path, [name for name in data if name.endswith(PARQUET)])
    if not found:
        raise _no_match(data_set, path, path in names, data)
    if not path and len(splits := _splits(found)) > 1:
        raise InputError(
            f"{data_set} has several parts; say which one is meant",
            hint=f"as in {data_set}/{splits[-1]}; there are {_listed(splits)}",
        )
    _check(data_set, found)
    return tuple(found)


def _below(path: str, parquet: Sequence[str]) -> list[str]:
    """The shards in a folder, or of a split."""
    if not path:
        return list(parquet)
    inside = [name for name in parquet if name.startswith(f"{path}/")]
    return inside or [
        name for name in parquet if name.startswith(path) and _SHARD.fullmatch(name[len(path) :])
    ]


def _splits(names: Iterable[str]) -> list[str]:
    """The splits that these shards are of, as paths that mean them, sorted."""
    return sorted({_SHARD.sub("", _NUMBERED.sub("", name)) for name in names})


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Folder by folder; `**` is any number of them."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skip:], pattern[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _check(data_set: str, names: Iterable[str]) -> None:
    """Refuse names that would lead out of the cache: no hub gives such ones."""
    for name in names:
        if any(part in {"", ".", ".."} or "\\" in part or "\0" in part for part in name.split("/")):
            raise InputError(
                f"{data_set} names a file {written(name)}, which is no place in a folder"
            )


def _no_match(data_set: str, path: str, there: bool, data: Sequence[str]) -> InputError:
    if there:
        return InputError(
            f"{data_set}: {path} is no data file", hint="Parquet, JSON Lines, CSV and text are."
        )
    parquet = [name for name in data if name.endswith(PARQUET)]
    what = f"no file of {data_set} matches {path}" if path else f"{data_set} has no Parquet files"
    if parquet:
        return InputError(what, hint=f"There are {_listed(_splits(parquet))}.")
    repository = data_set.partition("@")[0]
    others = f" There are {_listed(data)}." if data else ""
    return InputError(
        what,
        hint=f"It has no Parquet files; the hub makes some for many data sets: "
        f"{repository}@~parquet{others and '.'}{others}",
    )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {more} more" if more > 0 else "")
