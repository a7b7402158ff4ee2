"""`textmill.score`: the scores of `evaluation`, with references from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from textmill.api.reporting import check_page, command_line, score_report, write_page
from textmill.catalog.datasets import expand_folder, fetch_dataset, is_dataset
from textmill.catalog.fetch import Transfer
from textmill.catalog.hub import Hub
from textmill.errors import InputError
from textmill.evaluation.results import Scores
from textmill.evaluation.score import How, Mean, Missing, Sides, evaluate
from textmill.evaluation.tokens import DEFAULT_TOKENIZER
from textmill.settings import read_settings
from textmill.storage.opening import is_url


def score(
    predictions: Path | str,
    references: Path | str | Sequence[Path | str],
    *,
    on: str = "id",
    pred: str | None = None,
    ref: str | None = None,
    source: str | None = None,
    metrics: Sequence[str] | None = None,
    stemmer: bool = False,
    tokenizer: str = "rouge-score",
    baseline: Path | str | None = None,
    baseline_pred: str | None = None,
    by: Sequence[str] = (),
    missing: Missing = "zero",
    mean: Mean = "exact",
    samples: int = 1000,
    seed: int = 12345,
    report: Path | str | None = None,
    offline: bool = False,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
) -> Scores:
    """Score the predictions of one file against references, joined by id.

    Files are JSON Lines, CSV, TSV, Parquet or OpenAI's answers, as `run` writes them. references: a
    file or several, a folder of Parquet files, or a data set on a hub,
    `hf://datasets/ORG/NAME[@REVISION][/PATH]`.
    on: the field that joins them; `PREDFIELD=REFFIELD` where the names differ.
    pred: the field of a prediction, text or a list of which the first counts. Default: the first
        of generated_texts, generated_text, text and prediction that there is, else the only text.
    ref: the field of a reference, text or a list of several, of which the best counts. Default:
        the only text in a row beside the id.
    source: the references' field with what the model was given; copy_rate and the slices by its
        length need it.
    metrics: any of rouge1, rouge2, rougeL, rougeLsum (whose sentences are the text's lines), bleu,
        chrf (both need textmill[metrics]), exact_match, length_ratio, repetition, empty and
        copy_rate. Default: ROUGE, length_ratio, repetition and empty, with a source copy_rate.
    stemmer: compare the stems of English words.
    tokenizer: rouge-score (a-z and 0-9), unicode (words of any script) or cjk (the characters of
        scripts without spaces, too).
    baseline: another system's predictions, to compare with; baseline_pred: their field, by
        default as `pred`.
    by: fields of the references, with few values, to slice by.
    missing: references without a prediction count as 0 (zero), are left out (skip), or refused
        (fail).
    mean: exact, or bootstrap-median, which is what `evaluate` gives for ROUGE.
    samples: how often the records are drawn again for intervals; 0 for none. seed: of the draws.
    report: an HTML page to write: one file that needs no network.
    offline, home, on_transfer: as in `run`.

    Raises `InputError` for files that cannot be read or joined, `ParameterError` for values that
    cannot be, `OutputError` where the report cannot be written, and `UsageError` where a metric
    needs a library that is not installed.
    """
    given = [references] if isinstance(references, str | Path) else list(references)
    _refuse_stores([predictions, *([baseline] if baseline else []), *given])
    if report:
        check_page(report)
    files: list[Path] = []
    for one in map(str, given):
        if is_dataset(one):
            home = home or read_settings().home
            hub = Hub(offline=offline or read_settings().offline)
            files += map(Path, fetch_dataset(one, home=home, hub=hub, progress=on_transfer).files)
        else:
            files += map(Path, expand_folder(Path(one)) if Path(one).is_dir() else [one])
    scores = evaluate(
        Path(predictions),
        files,
        baseline=Path(baseline) if baseline else None,
        sides=Sides(on=on, pred=pred, baseline_pred=baseline_pred, ref=ref, source=source, by=by),
        how=How(
            metrics=metrics,
            stemmer=stemmer,
            tokenizer=tokenizer,
            missing=missing,
            mean=mean,
            samples=samples,
            seed=seed,
        ),
    )
    scores = msgspec.structs.replace(scores, references=", ".join(map(str, given)))
    if report:
        flags = {
            "on": (on, "id"),
            "pred": (pred, None),
            "ref": (ref, None),
            "source": (source, None),
            "metric": (metrics, None),
            "stemmer": (stemmer, False),
            "tokenizer": (tokenizer, DEFAULT_TOKENIZER),
            "baseline": (baseline, None),
            "baseline_pred": (baseline_pred, None),
            "by": (tuple(by), ()),
            "missing": (missing, "zero"),
            "mean": (mean, "exact"),
            "samples": (samples, 1000),
            "seed": (seed, 12345),
            "report": (report, None),
        }
        from textmill.evaluation.highlight import Overlap

        page = score_report(
            scores,
            [Path(predictions), *([Path(baseline)] if baseline else []), *files],
            overlap=Overlap(tokenizer, stemmer=stemmer),
            command=command_line(["score", str(predictions), *map(str, given)], flags),
        )
        write_page(report, page)
    return scores


def _refuse_stores(files: Sequence[Path | str]) -> None:
    for one in map(str, files):
        if is_url(one):
            raise InputError(
                f"{one} is in an object store, and scores read files of this machine",
                hint="copy it here first",
            )
