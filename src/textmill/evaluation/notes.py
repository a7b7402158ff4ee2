"""What a reader of the numbers should know, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textmill.evaluation.join import Join
from textmill.evaluation.options import Tokenizer
from textmill.evaluation.references import References
from textmill.evaluation.results import Comparison
from textmill.words import counted, written

MISREAD: dict[Tokenizer, tuple[str, str, str]] = {
    "rouge-score": (
        "reference loses a fifth or more of its letters",
        "references lose a fifth or more of their letters",
        "to the tokenizer rouge-score, which sees a-z and 0-9 only, so that scores say little of "
        "them; for other scripts there are unicode and cjk.",
    ),
    "unicode": (
        "reference is written without spaces, in a fifth of its letters or more,",
        "references are written without spaces, in a fifth of their letters or more,",
        "and the tokenizer unicode takes what stands between spaces for one word; cjk takes each "
        "character as one.",
    ),
}
"""What to say of references that a tokenizer cannot read: of one, of several; and why."""


def reference_notes(wanted: References, tokenizer: Tokenizer) -> Iterator[str]:
    """Of the references, whatever was predicted."""
    if wanted.empty:
        has = counted(len(wanted.empty), "reference is", "references are")
        yield (
            f"{has} empty, such as that of the id {written(wanted.ids[wanted.empty[0]])}: "
            "whatever is predicted, ROUGE is 0 there."
        )
    if wanted.misread:
        one, several, why = MISREAD[tokenizer]
        yield f"{counted(wanted.misread, one, several)} {why}"


def prediction_notes(join: Join) -> Iterator[str]:
    """Of one predictions file."""
    if not join.rows:
        yield f"{join.path} has no rows in it."
    if join.several:
        hold = counted(join.several, "prediction holds", "predictions hold")
        yield f"{hold} several texts; the first was scored."
    if join.repeats:
        first, second = join.repeats
        yield (
            f"{counted(join.counts.duplicate, 'id is', 'ids are')} answered more than once, and "
            f"differently, which leaves no answer to score; for example in lines {first} and "
            f"{second} of {join.path}."
        )
    if nearly := join.nearly:
        (known, other), *_ = nearly
        yield (
            f"{counted(len(nearly), 'missing id is', 'missing ids are')} among the extra ones but "
            "for the type, zeros in front, a final .0 or white space around it, such as "
            f"{written(other)} for {written(known)}; different ids do not match."
        )


def comparison_notes(comparisons: Sequence[Comparison], records: int) -> Iterator[str]:
    """Of metrics that are not compared over all `records` that count in both."""
    for one in comparisons:
        if one.n != records:
            yield (
                f"{one.name} is compared over the {counted(one.n, 'record')} that both have "
                "answered: what is not there repeats and copies nothing."
            )
