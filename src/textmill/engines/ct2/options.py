"""What transformers' generation parameters are in CTranslate2's words, and what they cannot be.

Pure: no CTranslate2 needed. Where the two decode differently:

- CTranslate2 does not count the start token among the tokens that came before;
  transformers does, for repetition_penalty, no_repeat_ngram_size and bad_words_ids.
- In beam search transformers changes log-probabilities, CTranslate2 logits. A ban comes to the
  same choice of tokens but to higher scores; a repetition penalty comes to something else.
- CTranslate2's beam search ends a text when `num_beams * patience` of its hypotheses ended,
  transformers when no better one can come (early_stopping false) or when num_beams ended (true).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from msgspec.structs import replace

from textmill.core import Params
from textmill.errors import UnsupportedParameter

PATIENCE = 4.0
"""Beams that end before a search without early_stopping stops, in num_beams."""


_LEAST_TOP_P = 1e-6


class Limits(Protocol):
    """What of a model bounds its parameters; an `Architecture` has it, and so have the rules."""

    @property
    def decoder_vocab_size(self) -> int:
        """Token ids are under it."""

    @property
    def max_positions(self) -> int | None:
        """Tokens of the longest output; None where there is no limit."""


def check(params: Params, limits: Limits) -> None:
    """Raise `UnsupportedParameter` for what CTranslate2 cannot do as transformers does it."""
    _check_positions(params, limits)
    _check_ids(params, limits)
    _check_beams(params)
    _check_repetition(params)
    _check_sampling(params)


def _refuse(params: Params, name: str, rule: str) -> UnsupportedParameter:
    return UnsupportedParameter(name, getattr(params, name), f"the ct2 engine {rule}")


def _check_positions(params: Params, limits: Limits) -> None:
    limit = limits.max_positions
    if limit is not None and params.max_new_tokens > limit:
        raise _refuse(
            params,
            "max_new_tokens",
            f"allows at most {limit}, all the positions this model has",
        )


def _check_ids(params: Params, limits: Limits) -> None:
    size = limits.decoder_vocab_size
    single = ("forced_bos_token_id", "forced_eos_token_id", "decoder_start_token_id")
    several = ("eos_token_ids", "suppress_tokens")
    ids: dict[str, tuple[int | None, ...]] = {name: (getattr(params, name),) for name in single}
    ids |= {name: getattr(params, name) for name in several}
    ids["bad_words_ids"] = tuple(n for word in params.bad_words_ids for n in word)
    for name, values in ids.items():
        if any(n is not None and not 0 <= n < size for n in values):
            raise _refuse(params, name, f"allows token ids under {size}, the model's vocabulary")
    if params.forced_eos_token_id not in (None, *params.eos_token_ids):
        raise _refuse(params, "forced_eos_token_id", "allows only one of the end tokens")
    if params.forced_bos_token_id in params.eos_token_ids:
        raise _refuse(params, "forced_bos_token_id", "cannot begin with an end token")
    if any(len(w) > 1 and w[0] == params.decoder_start_token_id for w in params.bad_words_ids):
        raise _refuse(params, "bad_words_ids", "cannot match words that begin with the start token")


def _check_beams(params: Params) -> None:
    if params.num_return_sequences > 1 and not params.do_sample:
        if params.num_beams == 1:
            raise _refuse(params, "num_return_sequences", "allows more than 1 only with beams")
        if params.num_return_sequences > params.num_beams:
            raise _refuse(params, "num_return_sequences", "allows at most num_beams")
    if params.num_beams == 1:
        return
    if params.do_sample:
        raise _refuse(params, "do_sample", "samples only with num_beams=1")
    if params.early_stopping == "never":
        raise _refuse(params, "early_stopping", "ends beams when enough of them are finished")
    if params.stop:
        raise _refuse(params, "stop", "allows stop strings only with num_beams=1")
    if params.max_time is not None:
        raise _refuse(params, "max_time", "allows a time limit only with num_beams=1")


def _check_repetition(params: Params) -> None:
    if params.repetition_penalty == 1.0:
        return
    if params.num_beams > 1:
        raise _refuse(params, "repetition_penalty", "allows a penalty only with num_beams=1")
    if params.repetition_penalty < 1.0:
        raise _refuse(params, "repetition_penalty", "allows 1.0 and more")
    if params.decoder_start_token_id in params.eos_token_ids:
        raise _refuse(
            params,
            "repetition_penalty",
            "cannot penalize the start token, which is this model's end token as well",
        )


def _check_sampling(params: Params) -> None:
    if params.do_sample and params.top_k == 1 and params.num_return_sequences > 1:
        raise _refuse(params, "top_k", "cannot draw several sequences from one candidate")


def group(params: Params) -> Hashable:
    """What has to be equal in one call. Stop strings and the language to write may differ."""
    return replace(
        params,
        src_lang=None,
        batch_size=None,
        stop=(),
        forced_bos_token_id=None if params.forced_bos_token_id is None else 0,
        seed=params.seed if params.do_sample else None,
    )


def prefix(params: Params) -> list[int]:
    """The decoder's first tokens: the start token, and the one that is forced to follow it."""
    forced = params.forced_bos_token_id
    return [params.decoder_start_token_id] + ([] if forced is None else [forced])


def max_length(params: Params) -> int:
    """Tokens to generate. A forced end is not generated: it is what the last token would be."""
    return max(1, params.max_new_tokens - (params.forced_eos_token_id is not None))


def options(params: Params, limits: Limits) -> dict[str, Any]:
    """Keyword arguments of `Translator.translate_batch` for checked parameters."""
    length = max_length(params)
    common = {
        "max_batch_size": 0,
        "max_input_length": 0,
        "max_decoding_length": length,
        "min_decoding_length": min(params.min_new_tokens, length),
        "end_token": list(params.eos_token_ids),
        "return_end_token": True,
        "repetition_penalty": params.repetition_penalty,
        "no_repeat_ngram_size": params.no_repeat_ngram_size,
        "suppress_sequences": [[str(n) for n in word] for word in _banned(params)] or None,
        "num_hypotheses": params.num_return_sequences,
        "beam_size": params.num_beams,
    }
    if params.do_sample:
        return common | {
            "sampling_topk": min(params.top_k, limits.decoder_vocab_size),
            # 0 keeps the likeliest token, as every share below its own does; CTranslate2 wants more
            "sampling_topp": max(params.top_p, _LEAST_TOP_P),
            "sampling_temperature": params.temperature,
        }
    if params.num_beams == 1:
        return common
    return common | {
        # all of them, because a forced end may change their order
        "num_hypotheses": params.num_beams,
        "length_penalty": params.length_penalty,
        "patience": 1.0 if params.early_stopping else PATIENCE,
        "return_scores": True,
    }


def _banned(params: Params) -> list[tuple[int, ...]]:
    """Token sequences never to generate. As in transformers, bad words cannot ban an end token.

    no_repeat_ngram_size 1 bans every token that came before, the start token among them.
    """
    ends = {(n,) for n in params.eos_token_ids}
    banned = [word for word in params.bad_words_ids if word and word not in ends]
    banned += [(n,) for n in params.suppress_tokens]
    if params.no_repeat_ngram_size == 1:
        banned.append((params.decoder_start_token_id,))
    return banned


def scores_are_exact(params: Params) -> bool:
    """False when a ban makes CTranslate2's scores higher than those of transformers."""
    bans = params.min_new_tokens or params.no_repeat_ngram_size or _banned(params)
    return params.num_beams > 1 and not bans


def start_token_matters(params: Params) -> bool:
    """True when a text that contains the start token may differ from that of transformers.

    As long as it does not occur, it makes no difference that CTranslate2 does not count it:
    a penalty could only have kept it away, and an n-gram with it could only have come again.
    """
    exact = not params.do_sample and params.num_beams == 1
    return exact and (params.repetition_penalty != 1.0 or params.no_repeat_ngram_size > 1)
