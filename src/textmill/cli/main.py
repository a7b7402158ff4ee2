"""The command line: one sub-command for each verb. Parse, call the public API, print.

Heavy modules are imported by the command that needs them, so that `--help` answers at once.
"""

from __future__ import annotations

import sys

from cyclopts import App

from textmill import __version__
from textmill.cli.models import app as models_app
from textmill.cli.run import run
from textmill.cli.runner import run_app
from textmill.cli.score import score

app = App(
    name="textmill",
    help="Text-to-text models over large data sets, on your own machines.",
    version=f"textmill {__version__}",
    suppress_keyboard_interrupt=False,
)
app.command(run)
app.command(score)
app.command(models_app)


def main() -> None:
    """Entry point of the `textmill` command."""
    sys.exit(run_app(app, sys.argv[1:]))
