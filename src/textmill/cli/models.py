"""`textmill models`: the catalog and the cache from the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from textmill.catalog import artifacts
from textmill.catalog.artifacts import Cached
from textmill.catalog.catalog import Target, interpret
from textmill.catalog.entries import Entry, find, near_names
from textmill.catalog.fetch import fetch
from textmill.catalog.hub import Hub
from textmill.cli import model_view as view
from textmill.cli.printing import download_bar, human_bytes, print_json, print_table
from textmill.cli.runner import run_app
from textmill.errors import CorruptModel, ModelNotFound, UsageError
from textmill.settings import read_settings
from textmill.words import written

app = App(
    name="models",
    help="Models of the catalog and of the cache. Names: a catalog id, or org/name[@revision].",
    version_flags=[],
    suppress_keyboard_interrupt=False,
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON.")]
Offline = Annotated[bool, Parameter(name="--offline", negative="", help="Use no network.")]
DryRun = Annotated[bool, Parameter(name="--dry-run", negative="", help="Only say what.")]
CachedOnly = Annotated[bool, Parameter(name="--cached", negative="", help="Only what is here.")]


@app.command(name="list")
def list_models(*words: str, cached: CachedOnly = False, json: Json = False) -> None:
    """List the catalog's models and what is in the cache.

    Parameters
    ----------
    words
        Show only models in whose name, task, type, licence or language every word occurs.
    """
    rows = view.model_rows(words, artifacts.list_cached(read_settings().home))
    rows = [row for row in rows if row["cached_bytes"] or not cached]
    if json:
        print_json(rows)
        return
    header = ("MODEL", "REPOSITORY", "CACHED", "LICENCE", "RUNS", "FOR")
    lines = [view.list_line(row) for row in rows]
    print_table(header, lines, optional=("FOR", "REPOSITORY"))


@app.command
def show(name: str, /, *, json: Json = False) -> None:
    """Show all that is known about one model, and the command that runs it."""
    home = read_settings().home
    entry, cached = _known(name, home)
    facts = view.model_facts(name, entry, cached)
    if json:
        print_json(facts)
        return
    view.print_facts(facts)


@app.command(name="fetch")
def fetch_models(*names: str, offline: Offline = False, json: Json = False) -> None:
    """Download models into the cache, or bring them up to date. Continues what was interrupted."""
    if not names:
        raise UsageError("no model is named", hint="For example: textmill models fetch t5-small")
    settings = read_settings()
    hub = Hub(endpoint=settings.hub_endpoint, offline=offline or settings.offline)
    targets = [_remote(name) for name in names]
    fetched = []
    for target in targets:
        with download_bar(target.name) as progress:
            folder = fetch(
                str(target.repository),
                target.revision,
                home=settings.home,
                hub=hub,
                progress=progress,
            )
        fetched.append(view.fetched_facts(str(target.repository), folder))
        if not json:
            sys.stdout.write("{model}  {revision}  {size}  {folder}\n".format(**fetched[-1]))
    if json:
        print_json(fetched)


@app.command
def verify(*names: str, json: Json = False) -> None:
    """Hash cached files again and compare them with what was fetched; all models by default."""
    home = read_settings().home
    chosen = [c for name in names for c in _cached(name, home)] if names else None
    reports = [
        {"model": c.name, "revision": c.revision, "damages": artifacts.damages(c)}
        for c in (artifacts.list_cached(home) if chosen is None else chosen)
    ]
    if json:
        print_json(reports)
    else:
        for report in reports:
            state = "damaged" if report["damages"] else "ok"
            sys.stdout.write(f"{state:8}{report['model']}  {report['revision']}\n")
    found = [damage for report in reports for damage in report["damages"]]
    if found:
        damaged = next(str(r["model"]) for r in reports if r["damages"])
        raise CorruptModel(
            "\n".join(found), hint=f"textmill models remove {damaged}, then fetch it again."
        )


@app.command
def remove(*names: str, dry_run: DryRun = False, json: Json = False) -> None:
    """Delete models from the cache, never anything else, and say what was deleted."""
    if not names:
        raise UsageError("no model is named", hint="See: textmill models list --cached")
    home = read_settings().home
    chosen = {c.folder: c for name in names for c in _cached(name, home)}
    for cached in chosen.values():
        if not dry_run:
            artifacts.remove(home, cached)
        if not json:
            verb = "would remove" if dry_run else "removed"
            size = human_bytes(cached.size_bytes)
            sys.stdout.write(f"{verb}  {cached.name}  {size}  {cached.folder}\n")
    if json:
        print_json([view.cached_facts(cached) for cached in chosen.values()])


def _known(name: str, home: Path) -> tuple[Entry | None, tuple[Cached, ...]]:
    entry = find(name) or find(name.partition("@")[0])
    cached = artifacts.find_cached(home, (entry.repository if entry else name) or name)
    if entry is None and not cached:
        near = near_names(name)
        hint = f"Did you mean {' or '.join(near)}?" if near else "See: textmill models list"
        raise ModelNotFound(f"neither the catalog nor the cache has {written(name)}", hint=hint)
    return entry, cached


def _cached(name: str, home: Path) -> tuple[Cached, ...]:
    base, at, revision = name.partition("@")
    entry = find(base)
    if entry is not None and entry.repository is None:
        raise UsageError(f"{name} is part of textmill itself; it is not in the cache")
    wanted = f"{entry.repository}{at}{revision}" if entry else name
    found = artifacts.find_cached(home, wanted)
    if not found:
        raise ModelNotFound(
            f"{name} is not in the cache {home}", hint="See: textmill models list --cached"
        )
    return found


def _remote(name: str) -> Target:
    target = interpret(name)
    if target.repository is None:
        what = f"a path ({target.path})" if target.path else "part of textmill itself"
        raise UsageError(f"{name} is {what}: there is nothing to fetch")
    return target


def main(argv: list[str] | None = None) -> int:
    """`python -m textmill.cli.models`; returns the exit code."""
    return run_app(app, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    raise SystemExit(main())
