"""The command line: one sub-command for each verb. Parse, call the public API, print.

Heavy modules are imported by the command that needs them, so that `--help` answers at once.
"""

from __future__ import annotations

from cyclopts import App

from textmill import __version__

app = App(
    name="textmill",
    help="Text-to-text models over large data sets, on your own machines.",
    version=f"textmill {__version__}",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
# Named by path, so that a command is imported when it is used.
app.command(
    "textmill.cli.run:run",
    name="run",
    help="""Run a model over files of records: one result per record, in input order.

A record looks like {"id": 0, "text_inputs": "Summarize: …"}, or is a row of a table
with such columns, and may carry parameters of its own; any other shape goes through
--prompt. Running the same line again resumes an unfinished job.""",
)
app.command(
    "textmill.cli.score:score",
    name="score",
    help="""Score predictions against references; compare two systems.

The files are joined by id. The mean is over all references: one without a
prediction counts as 0, and is counted. --baseline tells whether one system
is better than another, and --by where.""",
)
app.command(
    "textmill.cli.serve:serve",
    name="serve",
    help="""Serve a model over HTTP: calls of all clients share batches.

Speaks SageMaker's container and runtime (/invocations, /endpoints/NAME/invocations),
OpenAI's completions (/v1/completions) and KServe's version 2 (/v2/models/NAME/infer);
the page at / shows what it does. SIGTERM and Ctrl-C let it finish what it has taken.""",
)
app.command(
    "textmill.cli.bench:bench",
    name="bench",
    help="""Load a server as its users would, and find the highest rate that keeps a target.

Calls come at random moments whether or not earlier ones are answered, and latencies
count from the moment a call was due. With --engine, no server is loaded: engines and
precisions compute the same texts in turn, and auto means the best of them from then on.""",
)
app.command(
    "textmill.cli.status:status",
    name="status",
    help="""Show where jobs stand: rows, speed, time left, failures by cause, how to continue.

Reads the job's files and disturbs nothing. Exit code 0: complete without failures,
or unfinished; 3: complete, some rows have no result; 70: damaged.""",
)
app.command(
    "textmill.cli.gateway:app",
    name="gateway",
    help="""Serve SageMaker's API to notebooks: boto3 and the SageMaker SDK v2.

Models, transform jobs, endpoints, logs and an S3 on this machine, at one address.
Jobs run as `textmill run` does, and go on after a restart. In the notebook's shell:
eval "$(textmill gateway env)".""",
)
app.command(
    "textmill.cli.models:app",
    name="models",
    help="""List, show, fetch, verify and remove models.

Names: a catalog id, or a Hugging Face repository as org/name[@revision].""",
)
