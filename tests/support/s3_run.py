"""`textmill run` on the echo engine with the patience of a test: leases of seconds, often synced.

    python -m support.s3_run SOURCE OUTPUT --endpoint-url URL

Everything but these times is as the command line has it: signals, messages, exit codes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App

from textmill.cli.main import finish
from textmill.cli.runner import run_app
from textmill.storage.connecting import StoreOptions
from textmill.transform.prepare import Prepared
from textmill.transform.request import JobRequest
from textmill.transform.setup import SetupRequest

LEASE_SECONDS = 2.0

app = App(suppress_keyboard_interrupt=False)


@app.default
def run(
    source: str,
    output: str,
    *,
    endpoint_url: str,
    lease_seconds: float = LEASE_SECONDS,
    sync_seconds: float = 0.0,
    retry_seconds: float = 60.0,
) -> int:
    """Run or resume a job. A copy of `textmill.run` where that has no flags for these times."""
    request = JobRequest(
        inputs=source,
        output=output,
        setup=SetupRequest(engine="echo", home=Path("home")),
        stores=StoreOptions(
            endpoint_url=endpoint_url,
            lease_seconds=lease_seconds,
            sync_seconds=sync_seconds,
            retry_seconds=retry_seconds,
        ),
    )
    with Prepared(request) as prepared:
        manifest, done = prepared.execute(lambda progress: None)
    sys.stdout.write(f"{'already complete' if done else 'done'}: {manifest['counts']}\n")
    return 0 if manifest["counts"]["ok"] == manifest["counts"]["rows"] else 3


if __name__ == "__main__":
    finish(run_app(app, sys.argv[1:]))
