"""The command line: one sub-command for each verb. Parse, call the public API, print.

Heavy modules are imported by the command that needs them, so that `--help` answers at once.
"""

from __future__ import annotations

import sys

from cyclopts import App, CycloptsError

from textmill import __version__
from textmill.cli.models import app as models_app
from textmill.cli.run import run
from textmill.cli.score import score
from textmill.errors import TextmillError

app = App(
    name="textmill",
    help="Text-to-text models over large data sets, on your own machines.",
    version=f"textmill {__version__}",
    help_format="plaintext",
)
app.command(run)
app.command(score)
app.command(models_app)


def main() -> None:
    """Entry point of the `textmill` command."""
    sys.exit(_main(sys.argv[1:]))


def _main(arguments: list[str]) -> int:
    """Run one command; the exit status is 0, or what the error says (docs/reference/errors.md)."""
    try:
        status = app(
            [_standard_input(argument) for argument in arguments],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        print(f"textmill: {error}\n  textmill --help lists commands and flags", file=sys.stderr)
        return 2
    except TextmillError as error:
        print(f"textmill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("textmill: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    return int(status or 0)


def _standard_input(argument: str) -> str:
    """A lone dash looks like a flag to the parser; the file it means does not."""
    return "/dev/stdin" if argument == "-" else argument


if __name__ == "__main__":
    main()
