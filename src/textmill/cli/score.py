"""`textmill score`: predictions against references."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from textmill.words import counted

if TYPE_CHECKING:
    from textmill.evaluation.score import Scores

Flag = Parameter(negative=())


def score(
    predictions: Path,
    references: str,
    *,
    on: str = "id",
    pred: str | None = None,
    ref: str | None = None,
    metric: Annotated[list[str] | None, Parameter(negative=())] = None,
    stemmer: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    offline: Annotated[bool, Flag] = False,
) -> int:
    """Score predictions (`textmill.cli.main` holds the text of its page).

    Parameters
    ----------
    predictions
        JSON Lines or Parquet with an id and a text: the output of a job, or of any other system.
    references
        JSON Lines or Parquet with the same ids and the texts that were wanted; a folder of
        Parquet files; or hf://datasets/ORG/NAME[@REVISION][/PATH].
    on
        The field that joins the two files; PREDFIELD=REFFIELD where the names differ.
    pred
        The predictions' text field; by default the first of generated_texts.
    ref
        The references' text field; by default the only text beside the id.
    metric
        rouge1, rouge2, rougeL or rougeLsum. Repeat for more; all four by default.
    stemmer
        Compare the stems of English words.
    json
        Print everything as JSON.
    offline
        Never ask the network for a data set.
    """
    import textmill
    from textmill.cli import display
    from textmill.settings import read_settings

    options: dict[str, Any] = {"metrics": metric} if metric else {}
    settings = read_settings()
    options |= {"offline": offline or settings.offline, "home": settings.home}
    with display.downloads(references, quiet=False) as options["on_transfer"]:
        scores = textmill.score(
            predictions, references, on=on, pred=pred, ref=ref, stemmer=stemmer, **options
        )
    if json:
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(scores.as_dict())).decode() + "\n")
    else:
        _print(scores)
    return 0


def _print(scores: Scores) -> None:
    counts = scores.counts
    print(f"{scores.predictions} against {scores.references} ({scores.ref})")
    print(
        f"references {counts.pairs:,} = scored {counts.scored:,} + failed {counts.failed:,}"
        f" + missing {counts.missing:,}   (extra predictions: {counts.extra:,})\n"
    )
    print(f"  {'metric':<10}{'F1':>8}{'precision':>11}{'recall':>8}")
    for row in scores.scores:
        print(f"  {row.name:<10}{row.value:>8.4f}{row.precision:>11.4f}{row.recall:>8.4f}")
    print(f"\n  {scores.scores[0].signature}")
    for code, count in scores.failures.items():
        have = counted(count, "reference has", "references have")
        print(f"note: {have} no prediction: the record failed with {code}")
    for note in scores.notes:
        print(f"note: {note}")
