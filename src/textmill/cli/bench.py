"""`textmill bench`: the load test of a server, and the comparison of engines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from textmill.cli.whole import Whole

if TYPE_CHECKING:
    from textmill.api.comparing import Comparison


def bench(
    target: str,
    *,
    engine: str | None = None,
    threads: Whole | None = None,
    slo: str | None = None,
    rate: float | None = None,
    duration: float = 10.0,
    data: str | None = None,
    prompt: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    seed: Whole = 0,
    timeout: float = 60.0,
    api_key_file: str | None = None,
    report: str | None = None,
) -> int:
    """Load a server, or compare engines (`textmill.cli.app` holds the text of its page).

    Parameters
    ----------
    target
        A server: http://host:port of textmill serve, or an address that ends in /invocations,
        /v1/completions or /v2/models/NAME/infer. Or a model, which is served for the test.
    engine
        Serve nothing, but compare what computes the model here: all engines and precisions, or
        those of one. After all, auto means the fastest whose texts agree with float32's.
    threads
        CPU threads of the engines that are compared; all by default.
    slo
        Latency target of 95 of 100 calls, such as 800ms. Without one, the highest rate is that
        at which nearly all calls are answered.
    rate
        Calls a second to try, and no other.
    duration
        Seconds of each rate; of the first engine, where engines are compared.
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
    from textmill.errors import UsageError
    from textmill.params import parse_settings

    same: dict[str, Any] = {
        "duration": duration,
        "data": data,
        "prompt": prompt,
        "parameters": parse_settings(set or ()),
        "seed": seed,
    }
    of_servers = {"--slo": slo, "--rate": rate, "--api-key-file": api_key_file, "--report": report}
    if engine is not None:
        for flag, value in of_servers.items():
            if value is not None:
                raise UsageError(f"{flag} is for servers, and --engine compares without one")
        return _compare(target, engine=engine, threads=threads, **same)
    if threads is not None:
        raise UsageError("--threads is for comparing engines", hint="add --engine all")
    return _load(
        target,
        **same,
        slo=slo,
        rate=rate,
        timeout=timeout,
        api_key_file=api_key_file,
        report=report,
    )


def _compare(target: str, **asked: Any) -> int:
    import sys

    import textmill

    def show(engine: str, precision: str, seconds: float) -> None:
        print(f"{engine} {precision}: {seconds:.1f} s", file=sys.stderr, flush=True)

    found = textmill.compare(target, on_visit=show, **asked)
    print("engine    precision   records/s     tokens/s   the same   alike")
    for one in found.measured:
        print(
            f"{one.engine:<10}{one.precision:<10}{one.records_per_second:>11,.1f}"
            f"{one.tokens_per_second:>13,.0f}{one.same:>11.1%}{one.likeness:>8.3f}"
        )
    for line in _sentences(found):
        print(line)
    return 0


def _sentences(found: Comparison) -> list[str]:
    from textmill.words import counted

    lines = [f"{one.engine} {one.precision} cannot: {one.message}" for one in found.refused]
    left = f"; {counted(found.left_out, 'text')} left out, too long" if found.left_out else ""
    lines.append(f"{counted(found.texts, 'text')}, compared with those of float32{left}.")
    if found.best is None:
        return [*lines, "None has texts that agree with float32's; auto stays what it was."]
    fastest = f"--engine {found.best.engine} --precision {found.best.precision}"
    kept = "; auto means it from now on, for this model on this machine" if found.kept else ""
    return [*lines, f"The fastest whose texts agree: {fastest}{kept}."]


def _load(target: str, *, report: str | None, **asked: Any) -> int:
    import textmill
    from textmill.api.pages import check_page
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

    if report is not None:
        check_page(report)
    print(" calls/s    sent      ok  refused  failed       p50       p95       p99", flush=True)
    found = textmill.bench(target, on_stage=show, **asked)
    for sentence in found.sentences:
        print(sentence)
    if report is not None:
        found.write_report(report)
        print(f"The report is in {report}.")
    return 0
