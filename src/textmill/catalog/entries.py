"""The catalog's data: what is known about each model before anything is downloaded.

The entries live in `models.toml`, beside this module. Nothing here touches the network.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec
from msgspec import Struct

from textmill.errors import ModelNotFound
from textmill.words import written

JUMPSTART = "huggingface-text2text-"
"""What the ids of JumpStart's text-to-text models start with; it may be left out."""


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model of the catalog.

    id: its name here; for JumpStart's models JumpStart's own id.
    summary: what it is good for, in one line.
    repository: the Hugging Face repository behind it; None for the embedded demo model.
    revision: branch, tag or commit of that repository.
    model_type: as in the repository's config.json.
    size: number of parameters, as its authors state it.
    licence: as the repository's card states it; "not stated" when it does not.
    languages: ISO codes; "multilingual" for more than about ten.
    versions: JumpStart's versions that mean these weights, oldest first.
    prompt: template for one record; `{document}` is the text.
    parameters: generation parameters that its authors recommend.
    unsupported: why textmill cannot run it; None when it can.
    """

    id: str
    summary: str
    model_type: str
    size: str
    licence: str
    repository: str | None = None
    revision: str = "main"
    languages: tuple[str, ...] = ("en",)
    versions: tuple[str, ...] = ()
    prompt: str = "{document}"
    parameters: dict[str, Any] = {}
    unsupported: str | None = None

    @property
    def short_id(self) -> str:
        """The id without JumpStart's prefix."""
        return self.id.removeprefix(JUMPSTART)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that finds this entry, the id first."""
        names = (self.id, self.short_id, *([self.repository] if self.repository else ()))
        return tuple(dict.fromkeys(names))


class _Table(Struct, forbid_unknown_fields=True):
    model: list[Entry]


@cache
def entries() -> tuple[Entry, ...]:
    """All entries, in the order of `models.toml`."""
    text = files("textmill.catalog").joinpath("models.toml").read_text(encoding="utf-8")
    return tuple(msgspec.convert(tomllib.loads(text), _Table).model)


def find(name: str) -> Entry | None:
    """The entry with this id, short id or repository; None when the catalog has none.

    Several entries may share a repository (JumpStart lists one model once per precision); the
    first of them answers to the repository's name.
    """
    return next((e for e in entries() if name in (e.id, e.short_id)), None) or next(
        (e for e in entries() if name == e.repository), None
    )


def search(words: Iterable[str]) -> tuple[Entry, ...]:
    """The entries in which every word occurs, ignoring case; all of them for no words."""
    lowered = [word.lower() for word in words]
    return tuple(e for e in entries() if all(word in _text(e) for word in lowered))


def _text(entry: Entry) -> str:
    parts = (*entry.names, entry.summary, entry.model_type, entry.licence, *entry.languages)
    return "\n".join(parts).lower()


def near_names(name: str, limit: int = 3) -> tuple[str, ...]:
    """Catalog names that look like `name`, best first."""
    # Backwards, so that the first of several entries answers to a repository that they share.
    names = {spelling: e.short_id for e in reversed(entries()) for spelling in e.names}
    lowered = {spelling.lower(): spelling for spelling in names}
    close = difflib.get_close_matches(name.lower(), lowered, n=2 * limit, cutoff=0.5)
    part = [low for low in lowered if len(name) > 2 and name.lower() in low]
    found = dict.fromkeys(names[lowered[low]] for low in (*close, *part))
    return tuple(found)[:limit]


def choose_version(entry: Entry, wanted: str) -> str | None:
    """The newest version of `entry` that `wanted` allows: `*`, `1.*`, `1.2.*` or one exactly.

    An entry without versions answers None to `*`. Raises `ModelNotFound` when none matches.
    """
    if wanted == "*":
        return max(entry.versions, key=version_key, default=None)
    if wanted.endswith(".*"):
        fitting = [v for v in entry.versions if v.startswith(wanted[:-1])]
    else:
        fitting = [v for v in entry.versions if v == wanted]
    if fitting:
        return max(fitting, key=version_key)
    if not entry.versions:
        raise ModelNotFound(
            f"version {written(wanted)} of {entry.id}: this model has no versions",
            hint=f"Leave the version out, or pin a revision: {entry.repository}@REVISION",
        )
    raise ModelNotFound(
        f"there is no version {written(wanted)} of {entry.id}",
        hint=f"Versions: {', '.join(entry.versions)}. '*' or '1.*' takes the newest.",
    )


def version_key(version: str) -> tuple[int, ...]:
    """Sorts versions by number: 1.10.0 is newer than 1.9.0. Raises `ValueError` if not numbers."""
    return tuple(int(part) for part in version.split("."))
