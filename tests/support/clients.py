"""Amazon's clients, each in an environment of its own with its own pins, as its users have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import SOURCE, textmill

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("GATEWAY_CLIENTS", ROOT))
"""Where `make` puts the environments."""


def program(environment: str, name: str = "python") -> Path:
    """A program of one of requirements/ENVIRONMENT.txt; skips the test where `make` set up none."""
    found = FOLDER / f".venv-{environment}" / "bin" / name
    if not found.exists():
        pytest.skip(f"no {found}: make .venv-{environment}/stamp (make test-full sets up all)")
    return found


def shell(command: str, url: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a notebook's shell: what `textmill gateway env` says, and nothing else.

    The folder is the home and the working directory; textmill itself is a program on the PATH, and
    no package of the notebook's environment.
    """
    said = textmill("gateway", "env", "--url", url)
    assert said.code == 0, said.err
    programs = folder / ".bin"
    programs.mkdir(exist_ok=True)
    program = programs / "textmill"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={SOURCE} exec {sys.executable} -m textmill "$@"\n')
    program.chmod(0o755)
    env = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TEXTMILL_HOME": str(folder / "home"),
        **more,
    }
    return subprocess.run(
        ["sh", "-c", f"{said.out}\n{command}"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
