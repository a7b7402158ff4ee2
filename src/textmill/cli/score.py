"""`textmill score`: predictions against references, and against another system's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from textmill.cli.whole import Whole
from textmill.evaluation.options import HOW, SIDES, Mean, Missing, Tokenizer

Flag = Parameter(negative=())
Names = Annotated[list[str] | None, Parameter(negative=())]


def score(
    predictions: Path,
    references: str,
    *,
    on: str = SIDES.on,
    pred: str | None = SIDES.pred,
    ref: str | None = SIDES.ref,
    source: str | None = SIDES.source,
    metric: Names = None,
    stemmer: Annotated[bool, Flag] = HOW.stemmer,
    tokenizer: Tokenizer = HOW.tokenizer,
    baseline: Path | None = None,
    baseline_pred: str | None = SIDES.baseline_pred,
    by: Names = None,
    missing: Missing = HOW.missing,
    mean: Mean = HOW.mean,
    samples: Whole = HOW.samples,
    seed: Whole = HOW.seed,
    json: Annotated[bool, Flag] = False,
    report: Path | None = None,
    offline: Annotated[bool, Flag] = False,
) -> int:
    """Score predictions (`textmill.cli.app` holds the text of its page).

    Parameters
    ----------
    predictions
        JSON Lines, CSV, TSV or Parquet with an id and a text: the output of a job in any format,
        or of any other system.
    references
        The same formats, with the same ids and the texts that were wanted; a folder of Parquet
        files; or hf://datasets/ORG/NAME[@REVISION][/PATH].
    on
        The field that joins the two files; PREDFIELD=REFFIELD where the names differ.
    pred
        The predictions' text field; by default the first of generated_texts.
    ref
        The references' text field, or list of texts of which the best counts; by default the
        only text or list beside the id.
    source
        The references' field with what the model was given, for copy_rate.
    metric
        rouge1, rouge2, rougeL, rougeLsum, bleu, chrf, exact_match, length_ratio, repetition,
        empty or copy_rate. Repeat for more; by default ROUGE, length_ratio, repetition, empty.
    stemmer
        Compare the stems of English words.
    tokenizer
        What a word is: a-z and 0-9 as in published numbers; letters of any script; or also each
        character of scripts without spaces.
    baseline
        Another system's predictions, to compare with.
    baseline_pred
        Their text field; by default as --pred.
    by
        A field of the references, with few values, to score in slices. Repeat for more.
    missing
        References without a prediction count as 0, are left out, or are refused.
    mean
        bootstrap-median gives ROUGE as the evaluate library does.
    samples
        How often records are drawn again for 95 % intervals: 100 to 1,000,000, or 0 for none.
    seed
        Of the draws.
    json
        Print everything as JSON.
    report
        HTML page to write: one file that needs no network.
    offline
        Never ask the network for a data set.
    """
    import textmill
    from textmill.cli import display
    from textmill.settings import read_settings

    settings = read_settings()
    options: dict[str, Any] = {"offline": offline or settings.offline, "home": settings.home}
    options |= {"baseline": baseline, "baseline_pred": baseline_pred, "by": by or ()}
    options |= {"missing": missing, "mean": mean, "samples": samples, "seed": seed}
    options |= {"report": report}
    options |= {"metrics": metric, "stemmer": stemmer, "tokenizer": tokenizer}
    with display.downloads(references, quiet=False) as options["on_transfer"]:
        scores = textmill.score(
            predictions, references, on=on, pred=pred, ref=ref, source=source, **options
        )
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(scores.as_dict())).decode() + "\n")
    else:
        from textmill.cli import score_view

        sys.stdout.write(score_view.scores_text(scores, slices=bool(by)))
        sys.stdout.write(score_view.answer_text(scores, str(report) if report else None))
    return 0
