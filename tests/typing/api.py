"""The public types as a user's type checker sees them. Checked by mypy, never executed."""

from __future__ import annotations

from pathlib import Path

import textmill


def jobs() -> None:
    job = textmill.run("in.jsonl", Path("out.jsonl"), model="demo", max_new_tokens=50)
    rows: int = job.counts.ok
    for failure in job.failures:
        code: textmill.ErrorCode = failure.code
        print(failure.line, failure.id, code, failure.message)
    print(rows, str(job.output), job.manifest["counts"])


def statuses() -> None:
    for job in textmill.status(Path("predict.jsonl"), verify=True):
        left: float | None = job.eta_seconds
        problems: list[str] = job.verification.problems if job.verification else []
        print(job.state, job.counts.ok, left, problems, [cause.example for cause in job.failures])


def scores() -> None:
    found = textmill.score("predict.jsonl", Path("references.jsonl"), ref="summary")
    value: float = found.rouge1.value
    print(value, found.counts.missing, found.table())
    compared = textmill.score("a.jsonl", "r.jsonl", baseline=Path("b.jsonl"), missing="skip")
    if compared.baseline:
        p: float = compared.baseline.comparisons[0].p_randomisation
        print(p, [(one.label, one.n, one.scores[0].gap) for one in compared.slices])
    print([record.prediction for record in compared.records.examples([0])])


def texts() -> None:
    with textmill.load("demo", precision="float32") as model:
        model.generate(["a", "b"], num_beams=4)


def previews() -> None:
    seconds: float | None = textmill.preview(["a.jsonl", "b.jsonl"], model="demo").eta_seconds
    print(seconds)


def endpoints() -> None:
    with textmill.serve("demo", slo="800ms", port=0) as endpoint:
        url: str | None = endpoint.url
        print(url, endpoint.state, endpoint.generate(["a"], max_new_tokens=5))


def benches() -> None:
    found = textmill.bench("http://127.0.0.1:8080", slo=0.5, duration=2.0)
    rate: float = found.best.rate if found.best else 0.0
    print(rate, found.sentences)
    found.write_report("bench.html")
