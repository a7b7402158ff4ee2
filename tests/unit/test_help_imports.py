"""`textmill --help` answers at once: what it must not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.command import environment

HEAVY = {
    "ctranslate2",
    "httpx2",
    "huggingface_hub",
    "msgspec",
    "numpy",
    "obstore",
    "openvino",
    "pyarrow",
    "tokenizers",
    "torch",
    "transformers",
    "zstandard",
}
PROGRAM = """
import sys
from textmill.cli.app import app
try:
    app(sys.argv[1:])
except SystemExit:
    pass
print("\\n", *sys.modules)
"""


SHARED = {"score": {"textmill.evaluation", "textmill.evaluation.options"}}
"""The defaults that a command has in common with Python."""


@pytest.mark.parametrize(
    "command",
    [["--help"], ["--version"], *([name, "--help"] for name in ("run", "status", "score"))],
    ids=" ".join,
)
def test_help_imports_nothing_heavy_and_little_of_textmill(command):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *command],
        env=environment(),
        capture_output=True,
        check=True,
        text=True,
    )
    assert "textmill" in done.stdout
    modules = done.stdout.splitlines()[-1].split()
    assert not HEAVY & set(modules)
    ours = {name for name in modules if name.startswith("textmill.")}
    parts = {f"textmill.cli.{name}" for name in ("app", "main", "runner", "streams", "whole")}
    small = {"textmill.cli", "textmill.errors", "textmill.words", *parts}
    assert ours <= small | {f"textmill.cli.{command[0]}"} | SHARED.get(command[0], set())
