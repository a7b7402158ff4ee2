"""`textmill serve`: the real-time batch endpoint."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

from cyclopts import Parameter

from textmill.cli.whole import Whole

Flag = Parameter(negative=())


def serve(
    *,
    model: str | None = None,
    slo: str | None = None,
    host: str = "127.0.0.1",
    port: Whole = 8080,
    name: str | None = None,
    api_key_file: str | None = None,
    no_auth: Annotated[bool, Flag] = False,
    rate_limit: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    prompt: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    engine: str = "auto",
    precision: str = "auto",
    threads: Whole | None = None,
    truncate: Annotated[bool, Flag] = False,
    max_input_tokens: Whole | None = None,
    max_batch_tokens: Whole | None = None,
    max_body_mb: float = 1.0,
    max_texts: Whole = 256,
    max_new_tokens: Whole = 2048,
    queue: Whole = 4096,
    concurrency: Whole | None = None,
    timeout: float = 60.0,
    drain: float = 30.0,
    offline: Annotated[bool, Flag] = False,
    quiet: Annotated[bool, Flag] = False,
) -> int:
    """Serve a model over HTTP (`textmill.cli.app` holds the text of its page).

    Parameters
    ----------
    model
        A catalog id, a Hugging Face repository, a local folder, or a server, as for `run`.
    slo
        Latency target, such as 800ms: batches are kept short enough for it, and calls that cannot
        be answered within it are refused when they arrive (429, Retry-After). By default batches
        are as large as is fastest, and calls wait.
    host
        Address to listen on. One that other machines reach needs --api-key-file or --no-auth.
    port
        Port to listen on; 0 takes any that is free.
    name
        What clients call the model and the endpoint; by default the model's own name, and any
        name in /endpoints/NAME/invocations.
    api_key_file
        Keys that clients must bring, one a line, each with a name before it or not.
    no_auth
        Let everybody ask who can reach the address.
    rate_limit
        Calls that one client may make, such as 50/s: per key, or per address without keys.
    tls_cert
        Certificate chain, PEM; then HTTPS is spoken.
    tls_key
        The certificate's private key, PEM.
    prompt
        Template for the text, e.g. "Briefly summarize this text: {article}".
    set
        A generation parameter as name=value, where a call says nothing. Repeat for more.
    engine
        What computes: auto, ct2, openvino, openai (a server) or echo (answers each text with
        itself).
    precision
        auto, int8, float32, or bfloat16 (openvino, where the CPU has it).
    threads
        CPU threads; all by default.
    truncate
        Cut inputs that are over the model's limit; otherwise they are refused.
    max_input_tokens
        Longest input in tokens, if shorter than the model's own limit.
    max_batch_tokens
        Input tokens of one batch at most, padding included.
    max_body_mb
        Largest body of a call, in MiB.
    max_texts
        Most texts in one call.
    max_new_tokens
        Most tokens that a call may ask for in one answer.
    queue
        Most texts that may wait; more are refused.
    concurrency
        Requests to a server at once, where the model is one; 16 by default.
    timeout
        Longest time in seconds that a call may take, and that one batch may compute.
    drain
        Seconds in which calls that were taken are answered after SIGTERM.
    offline
        Never ask the network for a model.
    quiet
        No line for each call on standard error.
    """
    import textmill
    from textmill.cli import display
    from textmill.params import parse_settings
    from textmill.settings import read_settings

    settings = read_settings()
    with display.downloads(model, quiet=quiet) as on_transfer:
        endpoint = textmill.serve(
            model,
            slo=slo,
            host=host,
            port=port,
            name=name,
            api_key_file=api_key_file,
            no_auth=no_auth,
            rate_limit=rate_limit,
            tls_cert=tls_cert,
            tls_key=tls_key,
            prompt=prompt,
            parameters=parse_settings(set or ()),
            hyper_params=settings.hyper_params,
            engine=engine,
            precision=precision,
            threads=threads,
            truncate=truncate,
            max_input_tokens=max_input_tokens,
            max_batch_tokens=max_batch_tokens,
            max_body_mb=max_body_mb,
            max_texts=max_texts,
            max_new_tokens=max_new_tokens,
            queue=queue,
            concurrency=concurrency,
            timeout=timeout,
            drain=drain,
            offline=offline,
            on_transfer=on_transfer,
            in_background=False,
        )
    with endpoint:
        _log_calls(quiet=quiet)
        print(f"{endpoint.title}   {endpoint.url}", flush=True)
        print("Ctrl-C stops: calls that were taken are answered first.", flush=True)
        endpoint.serve_until_stopped()
    return 0


def _log_calls(*, quiet: bool) -> None:
    """Calls as JSON lines and faults as sentences, both to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    if not quiet:
        logging.getLogger("textmill.calls").setLevel(logging.INFO)
