"""The docs are true: generated pages are fresh, and what the pages show really happens.

A ```console block is run line by line: a line after `$ ` is a command, the lines under it are what
it prints, in order; `…` stands for anything. A ```python block is run as a program. Both run in
an empty folder that holds what a reader would have: `packages.jsonl`, the demo's data; and, at the
address `http://127.0.0.1:8000`, a server.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support import openai_server
from support.command import environment
from textmill.cli.app import app
from textmill.errors import ErrorCode, ExitCode

ROOT = Path(__file__).parents[1]
DATA = ROOT / "src" / "textmill" / "assets" / "demo" / "data" / "packages.jsonl"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVER = "http://127.0.0.1:8000"
LINK = re.compile(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)")
LINKING = sorted(
    {*PAGES, *ROOT.glob("*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("src/**/*.md")}
)
HAND_WRITTEN = [ROOT / "README.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]


def blocks():
    found_in = []
    for page in PAGES:
        found = BLOCK.findall(page.read_text("utf-8"))
        if found:
            found_in.append(pytest.param(found, id=str(page.relative_to(ROOT))))
    return found_in


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One cache for all pages: the demo model is made ready once. What a page has learned of
    engines by measuring them is its own (`folder`)."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def folder(tmp_path, home):
    (tmp_path / ".home").symlink_to(home)
    shutil.rmtree(home / "engines", ignore_errors=True)
    shutil.copy(DATA, tmp_path / "packages.jsonl")
    programs = tmp_path / ".bin"
    programs.mkdir()
    program = programs / "textmill"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m textmill "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.fixture
def server():
    with openai_server.running() as state:
        yield state


def run(command, folder):
    path = f"{folder / '.bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
    env = environment(PATH=path, TEXTMILL_HOME=str(folder / ".home"))
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )


def steps(console):
    """Commands of a console block, continuation lines joined, each with its expected lines."""
    text = console.replace("\\\n", " ")
    for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *shown = step.splitlines()
        yield command, [line for line in shown if line.strip()]


def matches(shown, line):
    if "…" not in shown:
        return same(shown.split(), line.split())
    pattern = ".*".join(re.escape(" ".join(part.split())) for part in shown.split("…"))
    return re.fullmatch(pattern.replace(r"\ ", r"\s*"), " ".join(line.split()))


def same(shown, real):
    """Equal words; scores may differ in their third digit between processors."""
    return len(shown) == len(real) and all(
        a == b or (is_score(a) and is_score(b) and abs(float(a) - float(b)) <= 0.01)
        for a, b in zip(shown, real, strict=True)
    )


def is_score(word):
    return re.fullmatch(r"0\.\d+", word)


def check_console(console, folder, server):
    for command, shown in steps(console):
        done = run(["sh", "-c", command.replace(SERVER, server.root)], folder)
        assert done.returncode in (0, 3), f"{command}\n{done.stdout}"
        printed = iter(done.stdout.splitlines())
        for line in shown:
            assert any(matches(line, real) for real in printed), (
                f"{command}\ndid not print, or not in this order:\n{line}\nbut:\n{done.stdout}"
            )


@pytest.mark.parametrize("found", blocks())
def test_what_a_page_shows_happens(found, folder, server):
    for language, text in found:
        if language == "console":
            check_console(text, folder, server)
        else:
            done = run([sys.executable, "-c", text], folder)
            assert done.returncode == 0, f"{text}\n{done.stdout}"


def test_the_demo_ends_with_the_reports_headline_and_path(folder):
    """What `make demo` runs, over the first forty records."""
    (folder / ".bin" / "python").symlink_to(sys.executable)
    rows = (folder / "packages.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "forty.jsonl").write_bytes(b"".join(rows[:40]))
    script = ["sh", str(ROOT / "examples" / "demo.sh"), "forty.jsonl", "."]
    done = run(["env", f"BIN={folder / '.bin'}", *script], folder)
    assert done.returncode == 0, done.stdout
    headline, *_, report = done.stdout.rpartition("\n\n")[2].splitlines()
    assert re.match(r"(Better|Not told apart|Worse).* the baseline: rouge1 [+−]0\.\d{4} ", headline)
    assert report == "report    report.html"
    assert (folder / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_generated_pages_are_fresh():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in module.pages().items():
        assert (ROOT / "docs" / "reference" / name).read_text("utf-8") == text, f"{name}: make docs"


def test_the_environment_page_names_what_is_read():
    """Every variable that settings.py reads, the only module that may."""
    source = (ROOT / "src" / "textmill" / "settings.py").read_text("utf-8")
    read = set(re.findall(r'"([A-Z][A-Z0-9]*_[A-Z0-9_]+)"', source))
    assert {"TEXTMILL_HOME", "AWS_REGION", "HYPER_PARAMS"} <= read
    page = (ROOT / "docs" / "reference" / "environment.md").read_text("utf-8")
    assert {name for name in read if name not in page} == set()


def test_the_credentials_that_the_environment_page_names_are_those_that_obstore_knows():
    obstore = Path(importlib.util.find_spec("obstore").origin).parent
    known = "".join(stub.read_text("utf-8") for stub in obstore.rglob("*.pyi"))
    page = (ROOT / "docs" / "reference" / "environment.md").read_text("utf-8")
    table, _, not_read = page.partition("## Credentials")[2].partition("\nNot read")
    named = set(re.findall(r"`((?:AWS|GOOGLE|AZURE)_[A-Z_]+)`", table))
    assert {"AWS_ACCESS_KEY_ID", "GOOGLE_SERVICE_ACCOUNT", "AZURE_CLIENT_ID"} <= named
    assert {name for name in named if name not in known and name.lower() not in known} == set()
    assert "`AWS_PROFILE`" in not_read
    assert "AWS_PROFILE" not in known


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target, place in LINK.findall(page.read_text("utf-8")):
        found = page.parent / target if target else page
        assert found.exists(), f"{page}: {target}"
        if place:
            assert place in headings(found), f"{page}: {target}#{place}"


def test_modules_that_the_architecture_page_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z0-9_/]+(?:\.py|/))`", text))
    assert {"transform/inputs.py", "records/builder.py", "engines/ct2/"} <= named
    package = ROOT / "src" / "textmill"
    there = "".join(f"/{path.relative_to(package)}" for path in package.rglob("*.py"))
    missing = {name for name in named if f"/{name}" not in there}
    assert {name for name in missing if not (ROOT / name).exists()} == set()


def headings(page):
    """The names under which links find a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def flags():
    """Every flag of every command, without the names that arguments have besides."""
    found = {}

    def look(command, words):
        for name in command:
            if not name.startswith("-"):
                look(command[name], (*words, name))
        if command.default_command is not None and words:
            for argument in command.assemble_argument_collection():
                if argument.field_info.kind is inspect.Parameter.KEYWORD_ONLY:
                    names = [name for name in argument.names if name.startswith("--")]
                    found.update(dict.fromkeys(names, words))

    look(app, ())
    return found


def written(pages):
    return "\n".join(page.read_text("utf-8") for page in pages)


def test_every_flag_is_explained_on_a_page_that_somebody_wrote_and_no_other():
    known = flags()
    assert {"--model", "--watch", "--stemmer", "--retry-failed"} <= known.keys()
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", written(HAND_WRITTEN)))
    assert named | {"--output", "--record-params"} == known.keys()  # -o, and what is the default


def test_every_code_is_explained_on_a_page_that_somebody_wrote():
    text = written(HAND_WRITTEN)
    assert [code for code in ErrorCode if f"`{code}`" not in text] == []


def test_every_exit_code_is_in_the_table():
    page = (ROOT / "docs" / "reference" / "errors.md").read_text("utf-8")
    table = page.partition("## Exit codes")[2]
    assert set(map(int, re.findall(r"^\| (\d+) \|", table, re.MULTILINE))) == set(ExitCode)


def test_every_command_is_in_the_reference():
    page = (ROOT / "docs" / "reference" / "cli.md").read_text("utf-8")
    commands = {" ".join(("textmill", *words)) for words in flags().values()}
    assert {name for name in commands if f"\n## {name}\n" not in page} == set()


def test_make_targets_of_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z-]+)`?", (ROOT / "README.md").read_text("utf-8")))
    assert named <= targets
