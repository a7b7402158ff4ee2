"""The generation parameters that a model's makers have put into its folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIELDS = """
assistant_confidence_threshold assistant_early_exit assistant_lookbehind bad_words_ids
begin_suppress_tokens bos_token_id cache_implementation constraints decoder_start_token_id
diversity_penalty do_sample dola_layers early_stopping encoder_no_repeat_ngram_size
encoder_repetition_penalty eos_token_id epsilon_cutoff eta_cutoff
exponential_decay_length_penalty force_words_ids forced_bos_token_id forced_decoder_ids
forced_eos_token_id guidance_scale is_assistant length_penalty low_memory max_length
max_matching_ngram_size max_new_tokens max_time min_length min_new_tokens min_p
no_repeat_ngram_size num_assistant_tokens num_beam_groups num_beams num_return_sequences
output_attentions output_hidden_states output_logits output_scores pad_token_id penalty_alpha
prefill_chunk_size prompt_lookup_num_tokens remove_invalid_values renormalize_logits
repetition_penalty return_dict_in_generate sequence_bias stop_strings suppress_tokens
target_lookbehind temperature token_healing top_h top_k top_p typical_p use_cache
watermarking_config
"""

NAMES = frozenset(_FIELDS.split())
"""The fields of transformers' GenerationConfig."""


def generation_defaults(
    config: Mapping[str, Any], generation_config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Parameters by transformers' names, unchecked; those that are null are left out.

    generation_config: the decoded generation_config.json, or None when there is none. Then they
        are taken from config.json, where older models have them. Never a mixture of both, and
        never `task_specific_params`, which transformers' generate does not read either.
    """
    source = config if generation_config is None else generation_config
    return {k: v for k, v in source.items() if k in NAMES and v is not None}
