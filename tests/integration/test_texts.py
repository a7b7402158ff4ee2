"""Whole models, texts to texts: what `textmill.run` writes is what transformers would write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import textmill
from support import tiny_models, tiny_tokenizers

TEXTS = [
    "A library for images.",
    "This package contains the documentation of a small editor, and nothing else at all.",
    "Straße, naïve café: 12 € — “quoted”",
    "日本語のテキスト",
    "x",
    "Tools for the command line that read JSON Lines and write JSON Lines again, one by one.",
]

# model type, tokenizer family, languages (ours), how transformers is told the language to write
WHOLE: dict[str, tuple[str, str, dict[str, str]]] = {
    "t5": ("t5", "t5", {}),
    "t5 spiece.model only": ("t5", "t5-spm", {}),
    "flan-t5": ("flan-t5", "t5", {}),
    "mt5": ("mt5", "mt5", {}),
    "byt5": ("byt5", "byt5", {}),
    "bart": ("bart", "bart", {}),
    "bart vocab and merges": ("bart", "bart-files", {}),
    "mbart-50": ("mbart", "mbart50", {"src_lang": "en_XX", "tgt_lang": "de_DE"}),
    "pegasus": ("pegasus", "pegasus", {}),
    "marian": ("marian", "marian", {}),
    "m2m100": ("m2m_100", "m2m100", {"src_lang": "en", "tgt_lang": "de"}),
    "nllb": ("m2m_100", "nllb", {"src_lang": "eng_Latn", "tgt_lang": "deu_Latn"}),
}


def build(name: str, folder: Path) -> Path:
    """A model folder with weights that fit its tokenizer."""
    from transformers import AutoTokenizer

    model_type, family, _ = WHOLE[name]
    tiny_tokenizers.build(family, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    overrides: dict[str, Any] = {"vocab_size": max(len(tokenizer), 384)}
    if model_type == "marian":
        pad = tokenizer.pad_token_id
        ends = {"eos_token_id": tokenizer.eos_token_id, "forced_eos_token_id": None}
        overrides |= {"pad_token_id": pad, "decoder_start_token_id": pad, **ends}
    return tiny_models.build(model_type, folder, **overrides)


def expected(name: str, folder: Path) -> list[str]:
    """Each text alone through transformers."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    languages = WHOLE[name][2]
    source = {"src_lang": languages["src_lang"]} if languages else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **source)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    target = tokenizer.convert_tokens_to_ids(_code(tokenizer, languages)) if languages else None
    forced = {"forced_bos_token_id": target} if languages else {}
    texts = []
    for text in TEXTS:
        inputs = tokenizer(text, return_tensors="pt", return_token_type_ids=False)
        ids = model.generate(**inputs, max_new_tokens=14, num_beams=1, do_sample=False, **forced)
        texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts


def _code(tokenizer: Any, languages: dict[str, str]) -> str:
    wanted = languages["tgt_lang"]
    return getattr(tokenizer, "lang_code_to_token", {}).get(wanted, wanted)


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("name", WHOLE)
def test_a_job_writes_what_transformers_writes(name: str, tmp_path: Path) -> None:
    """Greedy, float32, batched here and alone there."""
    folder = build(name, tmp_path / "model")
    records = [{"id": i, "text_inputs": text} for i, text in enumerate(TEXTS)]
    job = textmill.run(
        records,
        tmp_path / "out.jsonl",
        model=folder,
        precision="float32",
        max_new_tokens=14,
        threads=1,
        home=tmp_path / "home",
        **WHOLE[name][2],
    )
    assert job.counts.ok == len(TEXTS), list(job.failures)
    assert [row["generated_texts"][0] for row in job.results] == expected(name, folder)
    manifest = json.loads(job.manifest_path.read_text())
    assert {f["name"] for f in manifest["model"]["files"]} >= {"config.json", "model.safetensors"}
