"""Pairs of description and synopsis from Debian's package index, without the held-out ones.

    python data.py [--mirror https://deb.debian.org/debian] [--folder build]

Reads `Translation-en` of four suites, writes `train.jsonl` and `valid.jsonl` (`document`,
`summary`) and `data.json`, the digests of what was read and how many pairs were left out and why.
A pair is left out if one of its paragraphs stands in a held-out record, if it begins as one does,
or if it has most of the words of one in the same order (see `Resemblance`). Validation is drawn so
that it shares no paragraph with training either.
"""

from __future__ import annotations

import argparse
import bz2
import hashlib
import json
import lzma
import random
import re
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SUITES = ("bullseye", "bookworm", "trixie", "sid")
HELD_OUT = Path(__file__).parents[1] / "src/textmill/assets/demo/data/packages.jsonl"
VALIDATION = 1200
"""How many pairs are drawn for validation; fewer are left if they share paragraphs."""


def main() -> None:
    """Fetch, read, leave out, split, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", default="https://deb.debian.org/debian")
    parser.add_argument("--folder", type=Path, default=Path("build"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    texts, digests = [], {}
    for suite in SUITES:
        data = fetch(args.mirror, suite, args.folder)
        digests[suite] = hashlib.sha256(data).hexdigest()
        texts.append(data.decode())
    held_out = read_lines(HELD_OUT)
    counts: Counter[str] = Counter()
    pairs = list(allowed(read_pairs(texts, counts), held_out, counts))
    train, valid = split(pairs, args.seed)
    counts |= {"train": len(train), "valid": len(valid)}
    write(args.folder / "train.jsonl", train)
    write(args.folder / "valid.jsonl", valid)
    about = {"mirror": "debian", "sha256": digests, "counts": counts}
    (args.folder / "data.json").write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps(about, indent=1))


def fetch(mirror: str, suite: str, folder: Path) -> bytes:
    """`Translation-en` of a suite, kept in `folder`."""
    kept = folder / f"{suite}-Translation-en"
    if not kept.exists():
        kept.write_bytes(_download(f"{mirror}/dists/{suite}/main/i18n/Translation-en"))
    return kept.read_bytes()


def _download(url: str) -> bytes:
    for ending, decompress in ((".xz", lzma.decompress), (".bz2", bz2.decompress)):
        try:
            with urllib.request.urlopen(url + ending) as reply:
                return decompress(reply.read())
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
    raise SystemExit(f"{url}: neither .xz nor .bz2 is there")


def read_pairs(texts: Iterable[str], counts: Counter[str]) -> Iterator[tuple[str, str]]:
    """Different pairs of document and summary; paragraphs are lines, as in the held-out records."""
    seen = set()
    for text in texts:
        for stanza in text.split("\n\n"):
            pair = read_stanza(stanza)
            if pair is None or pair in seen:
                continue
            seen.add(pair)
            document, summary = pair
            if len(document) < 40 or len(summary.split()) < 2:
                counts["too short"] += 1
                continue
            counts["different"] += 1
            yield pair


def read_stanza(stanza: str) -> tuple[str, str] | None:
    """The document and the summary of one entry; None if it has none."""
    summary, paragraphs, inside = "", [[]], False
    for line in stanza.split("\n"):
        if line.startswith("Description-en: "):
            summary, inside = " ".join(line[16:].split()), True
        elif inside and line.startswith(" "):
            if line.strip() == ".":
                paragraphs.append([])
            else:
                paragraphs[-1].append(line.strip())
        else:
            inside = False
    document = "\n".join(" ".join(" ".join(lines).split()) for lines in paragraphs if lines)
    return (document, summary) if document and summary else None


def normal(text: str) -> str:
    """Letters and digits only, in lower case: what makes two paragraphs the same."""
    return "".join(re.findall(r"\w+", text.lower()))


def paragraphs_of(document: str) -> set[str]:
    """The normal forms of a document's paragraphs."""
    return {normal(line) for line in document.split("\n")} - {""}


def allowed(
    pairs: Iterable[tuple[str, str]], held_out: list[dict[str, str]], counts: Counter[str]
) -> Iterator[tuple[str, str]]:
    """The pairs that share no paragraph with a held-out record and resemble none."""
    taken = set().union(*(paragraphs_of(record["document"]) for record in held_out))
    openings = {normal(record["document"])[:80] for record in held_out}
    resemblance = Resemblance(held_out)
    for document, summary in pairs:
        if paragraphs_of(document) & taken:
            counts["share a paragraph with a held-out record"] += 1
        elif normal(document)[:80] in openings:
            counts["begin as a held-out record does"] += 1
        elif resemblance.found(document, summary):
            counts["resemble a held-out record"] += 1
        else:
            yield document, summary


class Resemblance:
    """Which of some records a pair nearly repeats, as an older edition of the same text does."""

    def __init__(self, records: list[dict[str, str]]) -> None:
        self._summaries = [normal(record["summary"]) for record in records]
        self._runs = [runs_of_five(record["document"]) for record in records]
        self._places = defaultdict(list)
        for index, runs in enumerate(self._runs):
            for run in runs:
                self._places[run].append(index)

    def found(self, document: str, summary: str) -> bool:
        """Has the pair four fifths of a record's runs, or half of them and the same synopsis?"""
        hits = Counter(
            index for run in runs_of_five(document) for index in self._places.get(run, ())
        )
        return any(
            count >= 0.8 * len(self._runs[index])
            or (count >= 0.5 * len(self._runs[index]) and normal(summary) == self._summaries[index])
            for index, count in hits.items()
        )


def runs_of_five(text: str) -> set[tuple[str, ...]]:
    """The runs of five words in a text, in lower case."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def split(
    pairs: list[tuple[str, str]], seed: int
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Training and validation pairs, which share no paragraph."""
    owners = defaultdict(list)
    for index, (document, _) in enumerate(pairs):
        for paragraph in paragraphs_of(document):
            owners[paragraph].append(index)
    chosen = random.Random(seed).sample(range(len(pairs)), VALIDATION)
    alone = {
        index
        for index in chosen
        if all(len(owners[paragraph]) == 1 for paragraph in paragraphs_of(pairs[index][0]))
    }
    train = [pair for index, pair in enumerate(pairs) if index not in alone]
    return train, [pairs[index] for index in sorted(alone)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON Lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, pairs: Iterable[tuple[str, str]]) -> None:
    """As JSON Lines."""
    with path.open("w") as file:
        for document, summary in pairs:
            line = json.dumps({"document": document, "summary": summary}, ensure_ascii=False)
            file.write(line + "\n")


if __name__ == "__main__":
    main()
