"""`textmill bench`: the load test."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def bench(
    target: str,
    *,
    slo: str | None = None,
    rate: float | None = None,
    duration: float = 10.0,
    data: str | None = None,
    prompt: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    seed: int = 0,
    timeout: float = 60.0,
    api_key_file: str | None = None,
    report: str | None = None,
) -> int:
    """Load a server (`textmill.cli.app` holds the text of its page).

    Parameters
    ----------
    target
        A server: http://host:port of textmill serve, or an address that ends in /invocations,
        /v1/completions or /v2/models/NAME/infer. Or a model, which is served for the test.
    slo
        Latency target of 95 of 100 calls, such as 800ms. Without one, the highest rate is that
        at which nearly all calls are answered.
    rate
        Calls a second to try, and no other.
    duration
        Seconds of each rate.
    data
        JSON Lines whose texts are sent, in their order; made-up texts by default.
    prompt
        Template for the text of a line of the data.
    set
        A generation parameter of the calls as name=value. Repeat for more.
    seed
        Of the moments of the calls, and of made-up texts.
    timeout
        Seconds after which a call has failed.
    api_key_file
        File with the key that the server wants.
    report
        HTML page to write.
    """
    from pathlib import Path

    import textmill
    from textmill.errors import UsageError
    from textmill.params import parse_settings
    from textmill.serving.load.arrivals import Stage
    from textmill.serving.load.report import milliseconds

    def show(stage: Stage) -> None:
        times = "  ".join(
            f"{milliseconds(stage.percentile(share)):>8}" for share in (0.5, 0.95, 0.99)
        )
        print(
            f"{stage.rate:8.1f}  {stage.sent:6,}  {stage.ok:6,}  {stage.refused:7,}"
            f"  {stage.failed:6,}  {times}",
            flush=True,
        )

    key = None
    if api_key_file is not None:
        try:
            key = Path(api_key_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the key file {api_key_file} cannot be read: {error}") from error
    print(" calls/s    sent      ok  refused  failed       p50       p95       p99", flush=True)
    found = textmill.bench(
        target,
        slo=slo,
        rate=rate,
        duration=duration,
        data=data,
        prompt=prompt,
        parameters=parse_settings(set or ()),
        seed=seed,
        timeout=timeout,
        api_key=key,
        on_stage=show,
    )
    for sentence in found.sentences:
        print(sentence)
    if report is not None:
        found.write_report(report)
        print(f"The report is in {report}.")
    return 0
