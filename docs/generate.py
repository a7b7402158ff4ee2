"""Write docs/reference/ from the code: flags, parameters, errors. `make docs` runs it.

`python docs/generate.py --check` writes nothing and exits 1 if a page is stale.
"""

from __future__ import annotations

import inspect
import io
import sys
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from textmill import errors
from textmill.cli.app import app
from textmill.errors import ErrorCode, ExitCode, TextmillError
from textmill.params.reference import page as parameters_page
from textmill.serving.refusals import STATUS, Code

C = TypeVar("C", bound=Enum)
REFERENCE = Path(__file__).parent / "reference"
COMMANDS = (
    ("run",),
    ("status",),
    ("score",),
    ("serve",),
    ("bench",),
    ("gateway",),
    ("gateway", "env"),
    ("models", "list"),
    ("models", "show"),
    ("models", "fetch"),
    ("models", "verify"),
    ("models", "remove"),
)


def pages() -> dict[str, str]:
    """Every generated page by its file name."""
    return {"cli.md": cli_page(), "errors.md": errors_page(), "parameters.md": parameters_page()}


def cli_page() -> str:
    """Every command with its help, as the terminal shows it."""
    parts = ["# Commands\n\n<!-- Written by docs/generate.py from the code: edit that. -->\n"]
    for command in COMMANDS:
        parts.append(f"\n## textmill {' '.join(command)}\n\n```text\n{help_text(command)}```\n")
    return "".join(parts)


def help_text(command: tuple[str, ...]) -> str:
    """What `--help` prints on a terminal of 88 columns."""
    out = io.StringIO()
    app.help_print([*command], console=Console(file=out, width=88, color_system=None))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def errors_page() -> str:
    """The codes a record can fail with, the errors a command can end with, the exit codes."""
    codes = "".join(f"| `{code}` | {doc} |\n" for code, doc in documented(ErrorCode))
    calls = "".join(f"| `{code}` | {STATUS[code]} | {doc} |\n" for code, doc in documented(Code))
    kinds = "".join(
        f"| `{kind.__name__}` | {kind.exit_code} | {first_line(kind)} |\n" for kind in error_kinds()
    )
    ends = "".join(f"| {code.value} | {doc} |\n" for code, doc in documented(ExitCode))
    return (
        "# Errors\n\n<!-- Written by docs/generate.py from errors.py: edit that. -->\n\n"
        "## A row without a result\n\n"
        "It has a line in `OUT.errors.jsonl` with one of these codes; the list is closed.\n\n"
        f"| code | meaning |\n|---|---|\n{codes}\n"
        "## A call without an answer\n\n"
        "The endpoint (`textmill serve`) says why with one of these codes; the list is closed.\n\n"
        f"| code | HTTP | meaning |\n|---|---|---|\n{calls}\n"
        "## A command that fails\n\n"
        "It prints what was wrong, where, and what to do, and exits with its error's code. In\n"
        "Python the same error is raised; all are subclasses of `TextmillError`.\n\n"
        f"| error | exit | meaning |\n|---|---|---|\n{kinds}\n"
        "## Exit codes\n\n"
        f"| code | meaning |\n|---|---|\n{ends}"
    )


def documented(codes: type[C]) -> list[tuple[C, str]]:
    """Each code with the text that stands under it in the source."""
    lines = inspect.getsource(codes).splitlines()
    return [
        (codes[line.split(" = ")[0].strip()], doc.strip().strip('"'))
        for line, doc in pairwise(lines)
        if " = " in line
    ]


def error_kinds() -> list[type[TextmillError]]:
    """All errors in the order of errors.py."""
    return [kind for kind in vars(errors).values() if inspect.isclass(kind) and _is_ours(kind)]


def _is_ours(kind: type) -> bool:
    return issubclass(kind, TextmillError)


def first_line(kind: type) -> str:
    """The first line of a class's docstring."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def main() -> int:
    """Write the pages, or check them."""
    stale = [
        name
        for name, text in pages().items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text("utf-8") != text
    ]
    if "--check" in sys.argv:
        sys.stdout.write("".join(f"docs/reference/{name} is stale: make docs\n" for name in stale))
        return bool(stale)
    REFERENCE.mkdir(exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
