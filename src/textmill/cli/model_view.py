"""What `textmill models` shows: rows and facts from the catalog's entries and the cache."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec

from textmill.catalog import artifacts
from textmill.catalog.artifacts import Cached
from textmill.catalog.entries import Entry, search
from textmill.cli.printing import human_bytes


def model_rows(words: tuple[str, ...], cached: tuple[Cached, ...]) -> list[dict[str, Any]]:
    """One row for each catalog entry, then one for each cached model that is in no entry."""
    bytes_of: dict[str, int] = {}
    for found in cached:
        bytes_of[found.name] = bytes_of.get(found.name, 0) + found.size_bytes
    rows = [_entry_row(entry, bytes_of) for entry in search(words)]
    listed = {entry.repository for entry in search(())}
    rows += [
        {"id": name, "repository": name if "/" in name else None, "cached_bytes": size}
        for name, size in bytes_of.items()
        if name not in listed and all(word.lower() in name.lower() for word in words)
    ]
    return rows


def _entry_row(entry: Entry, bytes_of: dict[str, int]) -> dict[str, Any]:
    return {
        "id": entry.id,
        "short_id": entry.short_id,
        "repository": entry.repository,
        "cached_bytes": bytes_of.get(entry.repository or "", 0),
        "licence": entry.licence,
        "supported": entry.unsupported is None,
        "unsupported": entry.unsupported,
        "summary": entry.summary,
    }


def list_line(row: dict[str, Any]) -> tuple[str, ...]:
    """A row of `model_rows` as it stands in the table."""
    size = human_bytes(row["cached_bytes"]) if row["cached_bytes"] else "-"
    embedded = row["repository"] is None and "summary" in row
    runs = {True: "yes", False: "no", None: "?"}[row.get("supported")]
    return (
        row.get("short_id", row["id"]),
        row["repository"] or "-",
        "built in" if embedded else size,
        row.get("licence", "?"),
        runs,
        row.get("unsupported") or row.get("summary", ""),
    )


def model_facts(name: str, entry: Entry | None, cached: tuple[Cached, ...]) -> dict[str, Any]:
    """Everything about one model, in the order in which it is printed."""
    facts: dict[str, Any] = {}
    if entry is not None:
        facts = {
            "id": entry.id,
            "summary": entry.summary,
            "repository": entry.repository,
            "revision": entry.revision if entry.repository else None,
            "model_type": entry.model_type,
            "size": f"{entry.size} parameters",
            "licence": entry.licence,
            "languages": list(entry.languages),
            "versions": list(entry.versions),
            "prompt": entry.prompt,
            "parameters": entry.parameters,
            "supported": entry.unsupported is None,
            "unsupported": entry.unsupported,
        }
    facts["cached"] = [cached_facts(c) for c in cached]
    if entry is None or entry.unsupported is None:
        facts["run"] = run_command(entry.short_id if entry else name, entry)
    return facts


def run_command(name: str, entry: Entry | None) -> str:
    """The command line that runs a model as its authors recommend."""
    words = ["textmill", "run", "INPUT.jsonl", "-o", "OUTPUT.jsonl", "--model", name]
    if entry is not None:
        words += ["--prompt", entry.prompt]
        for key, value in entry.parameters.items():
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            words += ["--set", f"{key}={text}"]
    return shlex.join(words)


def cached_facts(cached: Cached) -> dict[str, Any]:
    """One folder of the cache."""
    return {
        "model": cached.name,
        "revision": cached.revision,
        "complete": cached.manifest is not None,
        "bytes": cached.size_bytes,
        "folder": str(cached.folder),
    }


def fetched_facts(repository: str, folder: Path) -> dict[str, Any]:
    """What a fetch brought."""
    size = artifacts.folder_bytes(folder)
    return {
        "model": repository,
        "revision": folder.name,
        "bytes": size,
        "size": human_bytes(size),
        "folder": str(folder),
    }


def print_facts(facts: dict[str, Any]) -> None:
    """One fact a line, several values below each other."""
    width = max(len(key) for key in facts) + 2
    for key, value in facts.items():
        for number, line in enumerate(_fact_lines(value)):
            label = key.replace("_", " ") if number == 0 else ""
            sys.stdout.write(f"{label:{width}}{line}\n")


def _fact_lines(value: object) -> list[str]:
    match value:
        case bool():
            return ["yes" if value else "no"]
        case {"folder": folder, "complete": complete, "bytes": size, "revision": revision}:
            state = "" if complete else "  INCOMPLETE"
            return [f"{revision}  {human_bytes(size)}  {folder}{state}"]
        case dict():
            pairs = [f"{k}={msgspec.json.encode(v).decode()}" for k, v in value.items()]
            return [" ".join(pairs) or "-"]
        case [dict(), *_]:
            return [line for item in value for line in _fact_lines(item)]
        case list():
            return [" ".join(value) or "-"]
    return ["-" if value is None else str(value)]
