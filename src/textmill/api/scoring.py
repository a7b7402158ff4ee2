"""`textmill.score`: the scores of `evaluation`, with references from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from textmill.catalog.datasets import expand_folder, fetch_dataset, is_dataset
from textmill.catalog.fetch import Transfer
from textmill.catalog.hub import Hub
from textmill.errors import InputError
from textmill.evaluation.base import ROUGE_TYPES
from textmill.evaluation.score import Scores
from textmill.evaluation.score import score as score_files
from textmill.settings import read_settings
from textmill.storage.opening import is_url


def score(
    predictions: Path | str,
    references: Path | str | Sequence[Path | str],
    *,
    on: str = "id",
    pred: str | None = None,
    ref: str | None = None,
    metrics: Sequence[str] = ROUGE_TYPES,
    stemmer: bool = False,
    offline: bool = False,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
) -> Scores:
    """Score the predictions of one file against references, joined by id.

    Files are JSON Lines or Parquet. references: a file or several, a folder of Parquet files, or
    a data set on a hub, `hf://datasets/ORG/NAME[@REVISION][/PATH]`.
    on: the field that joins them; `PREDFIELD=REFFIELD` where the names differ.
    pred: the field of a prediction, text or a list of which the first counts. Default: the first
        of generated_texts, generated_text, text and prediction that there is, else the only text.
    ref: the field of a reference. Default: the only text in a row beside the id.
    metrics: any of rouge1, rouge2, rougeL, rougeLsum (whose sentences are the text's lines).
    stemmer: compare the stems of English words.
    offline, home, on_transfer: as in `run`.

    The means are over all references: one without a prediction counts as 0. Raises `InputError`
    for files that cannot be read or joined and `ParameterError` for unknown metrics.
    """
    given = [references] if isinstance(references, str | Path) else list(references)
    files: list[Path | str] = []
    for one in (str(predictions), *map(str, given)):
        if is_url(one):
            raise InputError(
                f"{one} is in an object store, and scores read files of this machine",
                hint="copy it here first",
            )
    for one in map(str, given):
        if is_dataset(one):
            home = home or read_settings().home
            hub = Hub(offline=offline or read_settings().offline)
            files += fetch_dataset(one, home=home, hub=hub, progress=on_transfer).files
        else:
            files += expand_folder(Path(one)) if Path(one).is_dir() else [one]
    scores = score_files(
        predictions, files, on=on, pred=pred, ref=ref, metrics=metrics, stemmer=stemmer
    )
    return msgspec.structs.replace(scores, references=", ".join(map(str, given)))
