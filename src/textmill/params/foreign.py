"""Names of transformers' GenerationConfig that textmill does not have.

Two kinds, and both matter when a model's generation_config.json is read:

* REFUSED changes the text that comes out, so a model that sets one to anything but its neutral
  value is refused, naming it. Ignoring it would give other texts than `generate` gives.
* PASSED_OVER says how transformers computes or what else it returns; the text is the same.

From a user every one of these names is an error: it would have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class Refused(Struct, frozen=True):
    """A parameter of transformers that textmill does not have.

    what: what it does, in a few words.
    neutral: the values with which it does nothing; null always is one.
    """

    what: str
    neutral: tuple[Any, ...] = ()

    def is_neutral(self, value: object) -> bool:
        """Whether this value leaves the text as it is."""
        return value is None or value in self.neutral


REFUSED: Mapping[str, Refused] = {
    "begin_suppress_tokens": Refused("tokens not allowed at the first step", ([],)),
    "constraints": Refused("constrained beam search", ([],)),
    "diversity_penalty": Refused("diverse beam search", (0.0,)),
    "dola_layers": Refused("decoding by contrasting layers"),
    "encoder_no_repeat_ngram_size": Refused("no n-gram of the input in the output", (0,)),
    "encoder_repetition_penalty": Refused("favours tokens of the input", (1.0,)),
    "epsilon_cutoff": Refused("epsilon sampling", (0.0,)),
    "eta_cutoff": Refused("eta sampling", (0.0,)),
    "exponential_decay_length_penalty": Refused("ends texts sooner after a given length"),
    "force_words_ids": Refused("words that must appear", ([],)),
    "forced_decoder_ids": Refused("tokens forced at given positions", ([],)),
    "guidance_scale": Refused("classifier-free guidance", (1.0,)),
    "min_p": Refused("min-p sampling", (0.0,)),
    "num_beam_groups": Refused("diverse beam search", (1,)),
    "penalty_alpha": Refused("contrastive search", (0.0,)),
    "sequence_bias": Refused("raises or lowers the odds of given tokens", ({}, [])),
    "token_healing": Refused("rewrites the end of the prompt", (False,)),
    "top_h": Refused("top-h sampling"),
    "typical_p": Refused("typical sampling", (1.0,)),
    "watermarking_config": Refused("watermarks the text"),
}

PASSED_OVER: frozenset[str] = frozenset(
    {
        # where the file came from
        "_commit_hash",
        "_from_model_config",
        "transformers_version",
        # what else generate returns
        "output_attentions",
        "output_hidden_states",
        "output_logits",
        "output_scores",
        "return_dict_in_generate",
        # how it computes
        "cache_config",
        "cache_implementation",
        "compile_config",
        "continuous_batching_config",
        "disable_compile",
        "low_memory",
        "max_cache_len",
        "prefill_chunk_size",
        "use_cache",
        # a second, faster model or predictor that guesses ahead; the first one decides
        "assistant_confidence_threshold",
        "assistant_early_exit",
        "assistant_ensemble_weight",
        "assistant_lookbehind",
        "is_assistant",
        "max_matching_ngram_size",
        "num_assistant_tokens",
        "num_assistant_tokens_schedule",
        "prompt_lookup_num_tokens",
        "speculation_type",
        "target_lookbehind",
        "use_mtp",
        # a guard against NaN, which our engines report as an error instead
        "remove_invalid_values",
    }
)
