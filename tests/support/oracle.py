"""transformers.generate as the oracle: our Params in, our ids out."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, StoppingCriteriaList
from transformers import logging as transformers_logging

from textmill.core import Params

transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


@functools.cache
def load(folder: Path) -> Any:
    """The model in float32."""
    torch.set_num_threads(1)
    return AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()


def generation_config(params: Params, pad: int) -> GenerationConfig:
    settings: dict[str, Any] = {
        name: getattr(params, name)
        for name in (
            "max_new_tokens",
            "num_beams",
            "num_return_sequences",
            "length_penalty",
            "early_stopping",
            "no_repeat_ngram_size",
            "repetition_penalty",
            "renormalize_logits",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "decoder_start_token_id",
        )
    }
    settings["min_new_tokens"] = params.min_new_tokens or None
    settings["eos_token_id"] = list(params.eos_token_ids)
    settings["bad_words_ids"] = [list(w) for w in params.bad_words_ids] or None
    settings["suppress_tokens"] = list(params.suppress_tokens) or None
    return GenerationConfig(pad_token_id=pad, do_sample=False, **settings)


@torch.no_grad()
def generate(
    folder: Path, ids: Sequence[int], params: Params, criteria: Any = None
) -> tuple[list[list[int]], list[float]]:
    """Generated ids without start token, forced beginning and end; scores when there are beams."""
    model = load(folder)
    pad = model.config.pad_token_id
    model.generation_config = GenerationConfig()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about lengths that cannot both be met
        out = model.generate(
            torch.tensor([list(ids)]),
            generation_config=generation_config(params, pad),
            stopping_criteria=StoppingCriteriaList(criteria or []),
            return_dict_in_generate=True,
            output_scores=True,
        )
    sequences = [strip(row, params) for row in out.sequences.tolist()]
    scores = out.sequences_scores.tolist() if params.num_beams > 1 else []
    return sequences, scores


def strip(row: list[int], params: Params) -> list[int]:
    """A row of generate's output without start token, forced beginning, end and padding."""
    row = row[1 + (params.forced_bos_token_id is not None) :]
    for n, token in enumerate(row):
        if token in params.eos_token_ids:
            return row[:n]
    return row


@torch.no_grad()
def log_probs(folder: Path, ids: Sequence[int], target: Sequence[int], start: int) -> list[float]:
    """Log-probability of each target token, teacher-forced."""
    model = load(folder)
    decoder_input = torch.tensor([[start, *target[:-1]]])
    logits = model(input_ids=torch.tensor([list(ids)]), decoder_input_ids=decoder_input).logits[0]
    chosen = torch.log_softmax(logits.double(), dim=-1)[range(len(target)), list(target)]
    return chosen.tolist()


def beam_score(
    folder: Path, ids: Sequence[int], sequence: Sequence[int], params: Params, *, ended: bool
) -> float:
    """transformers' `sequences_scores` of a given text: what beams maximize.

    ended: the end token was the model's choice; without it, it was forced or is not there.
    """
    bos = [] if params.forced_bos_token_id is None else [params.forced_bos_token_id]
    target = [*bos, *sequence, *([params.eos_token_ids[0]] if ended else [])]
    total = sum(log_probs(folder, ids, target, params.decoder_start_token_id)[len(bos) :])
    length = len(target) + (not ended and params.forced_eos_token_id is not None)
    return total / length**params.length_penalty
