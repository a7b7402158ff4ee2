"""Records that end the engine's process, in a whole job: its rows, its counts, and its retry."""

from __future__ import annotations

from collections.abc import Sequence

from support.isolation import FATES, TIMEOUT_S, venomous
from support.jobs import OUTPUT, lines, rows_of, run_job, texts_of
from textmill.engines.bytes_tokenizer import ByteTokenizer
from textmill.storage.local import LocalStore
from textmill.testing.engines import Venom

TEXTS = [f"text {n}" for n in range(60)]
for number, poison in enumerate(FATES):
    TEXTS[5 * number + 2] = f"venom {poison.name}"


class VenomTokenizer(ByteTokenizer):
    """The name of a venom in a text poisons it."""

    def encode(self, texts: Sequence[str], *, src_lang: str | None = None) -> list[list[int]]:
        encoded = super().encode(texts, src_lang=src_lang)
        for text, ids in zip(texts, encoded, strict=True):
            if text.startswith("venom "):
                ids.append(Venom[text.split()[1]])
        return encoded


def test_every_poison_costs_its_row_and_a_retry_computes_no_other(tmp_path):
    store, rows = LocalStore(tmp_path), rows_of(TEXTS)
    with venomous(timeout_s=TIMEOUT_S, parallel=2) as engine:
        manifest = run_job(store, rows, engine, tokenizer=VenomTokenizer())
    counts, codes = manifest["counts"], [str(code) for code, _ in FATES.values()]
    assert texts_of(store) == {
        n: FATES[Venom[text.split()[1]]][0] if text.startswith("venom") else text
        for n, text in enumerate(TEXTS)
    }
    assert (counts["rows"], counts["failed"], counts["invalid"]) == (60, len(FATES), 0)
    assert counts["codes"] == {code: codes.count(code) for code in codes}
    assert manifest["run"]["events"]["restarted"] > 0
    for row, (_, words) in zip(lines(store, "out.errors.jsonl"), FATES.values(), strict=True):
        assert words in row["message"]
        assert row["attempts"] >= 1
    assert not (tmp_path / f"{OUTPUT}.job").exists()

    retried = run_job(store, rows, retry_failed=True)
    assert texts_of(store) == dict(enumerate(TEXTS))
    assert (retried["counts"]["ok"], retried["run"]["rows"]) == (60, len(FATES))
