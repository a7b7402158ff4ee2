"""`textmill.score`: the scores of `evaluation`, with references from anywhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from textmill.api.pages import check_page, write_page
from textmill.api.score_report import score_report
from textmill.catalog.datasets import expand_folder, fetch_dataset, is_dataset
from textmill.catalog.fetch import Transfer
from textmill.catalog.hub import Hub
from textmill.errors import InputError, UsageError
from textmill.evaluation.files import Files, RowFile, refuse_pipes_named_twice
from textmill.evaluation.options import (
    HOW,
    SIDES,
    How,
    Mean,
    Missing,
    Sides,
    Tokenizer,
    beyond_default,
)
from textmill.evaluation.results import Scores
from textmill.evaluation.score import evaluate
from textmill.settings import read_settings
from textmill.storage.opening import is_url
from textmill.words import kind_of, written

FLAGS = {"metrics": "metric"}
"""The flags whose names differ from the options'."""


def score(
    predictions: Path | str,
    references: Path | str | Sequence[Path | str],
    *,
    on: str = SIDES.on,
    pred: str | None = SIDES.pred,
    ref: str | None = SIDES.ref,
    source: str | None = SIDES.source,
    metrics: Sequence[str] | None = HOW.metrics,
    stemmer: bool = HOW.stemmer,
    tokenizer: Tokenizer = HOW.tokenizer,
    baseline: Path | str | None = None,
    baseline_pred: str | None = SIDES.baseline_pred,
    by: Sequence[str] = SIDES.by,
    missing: Missing = HOW.missing,
    mean: Mean = HOW.mean,
    samples: int = HOW.samples,
    seed: int = HOW.seed,
    report: Path | str | None = None,
    offline: bool = False,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
) -> Scores:
    """Score the predictions of one file against references, joined by id.

    Files are JSON Lines, CSV, TSV, Parquet or OpenAI's answers, as `run` writes them; a pipe is put
    down in a temporary file.
    references: a file or several, a folder of Parquet files, or a data set on a hub,
        `hf://datasets/ORG/NAME[@REVISION][/PATH]`.
    on: the field that joins them; `PREDFIELD=REFFIELD` where the names differ.
    pred: the field of a prediction, text or a list of which the first counts. Default: the first
        of generated_texts, generated_text, text and prediction that there is, else the only text.
    ref: the field of a reference, text or a list of several, of which the best counts. Default:
        the only text, or list of texts, in a row beside the id.
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
    samples: how often the records are drawn again for intervals, 100 to 1,000,000; 0 for none.
    seed: of the draws.
    report: an HTML page to write: one file that needs no network.
    offline, home, on_transfer: as in `run`.

    Raises `InputError` for files that cannot be read or joined, `ParameterError` for values that
    cannot be, `OutputError` where the report cannot be written, and `UsageError` where a metric
    needs a library that is not installed.
    """
    given = [references] if isinstance(references, str | Path) else references
    answers = [predictions] if baseline is None else [predictions, baseline]
    _refuse_other_than_paths([*answers, *([] if report is None else [report])], given)
    _refuse_stores([*answers, *given])
    _refuse_data_sets(answers)
    if report is not None:
        check_page(report)
    files = Files(
        RowFile(predictions),
        None if baseline is None else RowFile(baseline),
        _on_this_machine(given, offline=offline, home=home, on_transfer=on_transfer),
    )
    refuse_pipes_named_twice(files.all())
    sides = Sides(on=on, pred=pred, baseline_pred=baseline_pred, ref=ref, source=source, by=by)
    how = How(
        metrics=metrics,
        stemmer=stemmer,
        tokenizer=tokenizer,
        missing=missing,
        mean=mean,
        samples=samples,
        seed=seed,
    )
    scores = evaluate(files, sides=sides, how=how)
    scores = msgspec.structs.replace(scores, references=", ".join(map(str, given)))
    if report is not None:
        named = ["score", str(predictions), *map(str, given)]
        flags = {**beyond_default(sides), **beyond_default(how), "baseline": baseline}
        again = _command_line(named, {**flags, "report": report})
        write_page(report, score_report(scores, files.all(), on=sides.on, how=how, command=again))
    return scores


def _command_line(verb: Sequence[str], options: Mapping[str, Any]) -> str:
    """What to type in a shell; options that are None are left out."""
    words = ["textmill", *verb]
    for name, value in options.items():
        flag = "--" + FLAGS.get(name, name).replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [word for one in value for word in (flag, str(one))]
        elif value is not None:
            words += [flag, str(value)]
    return shlex.join(words)


def _on_this_machine(
    references: Sequence[Path | str],
    *,
    offline: bool,
    home: Path | None,
    on_transfer: Callable[[Transfer], None] | None,
) -> list[RowFile]:
    """The files of references, those of data sets downloaded."""
    files: list[Path | str] = []
    for one in map(str, references):
        if is_dataset(one):
            hub = Hub(offline=offline or read_settings().offline)
            there = home or read_settings().home
            files += fetch_dataset(one, home=there, hub=hub, progress=on_transfer).files
        else:
            files += _parquet_in(Path(one)) if Path(one).is_dir() else [one]
    return [RowFile(one) for one in files]


def _parquet_in(folder: Path) -> list[Path]:
    try:
        return expand_folder(folder)
    except InputError as error:  # a glob, which it advises, is for jobs
        raise InputError(error.message, hint="name a file in it") from error


def _refuse_other_than_paths(paths: Sequence[object], references: object) -> None:
    for one in paths:
        if not isinstance(one, str | Path):
            raise UsageError(f"{written(one)} is {kind_of(one)}, not a path")
    given = references if isinstance(references, Sequence) else ()
    if not given or not all(isinstance(one, str | Path) for one in given):
        raise UsageError(f"references={written(references)}: must be a path, or a list of paths")


def _refuse_stores(files: Sequence[Path | str]) -> None:
    for one in map(str, files):
        if is_url(one):
            raise InputError(
                f"{one} is in an object store, and scores read files of this machine",
                hint="copy it here first",
            )


def _refuse_data_sets(predictions: Sequence[Path | str]) -> None:
    for one in map(str, predictions):
        if re.match(r"hf:/", one):  # a path has one slash of two
            raise InputError(
                f"{one} is on a hub, where only references may be",
                hint="name a file of predictions on this machine first, the references second",
            )
