"""Transformers' generation settings as `generate` takes them: who overrides whom, what is honoured, what is refused.

The caller's keywords override a given `GenerationConfig`, which overrides the model's own one, which overrides Transformers'
defaults. What would change the text and cannot be honoured is refused in one line, and so is what would do nothing: no
keyword is dropped in silence.
"""

import copy
from collections.abc import Mapping
from typing import Any

from transformers import GenerationConfig

from tenfold.core.errors import UnknownNameError, UserError

DEFAULTS: Mapping[str, Any] = {
    "do_sample": False,
    "temperature": 1.0,
    "top_k": 50,
    "num_return_sequences": 1,
    "output_scores": False,
    "output_logits": False,
    "return_dict_in_generate": False,
}
DEFAULT_NEW_TOKENS = 20

_LENGTHS = {"max_length", "max_new_tokens", "min_length", "min_new_tokens", "max_time", "stop_strings"}
_SAMPLING = {"do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"}
_PENALTIES = {"repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"}
_TOKENS = {"bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "sequence_bias", "exponential_decay_length_penalty"}
_FORCED = {"forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "renormalize_logits"}
_OUTPUTS = {"num_return_sequences", "output_scores", "output_logits", "return_dict_in_generate"}
_IDS = {"pad_token_id", "bos_token_id", "eos_token_id"}
HONOURED = frozenset(_LENGTHS | _SAMPLING | _PENALTIES | _TOKENS | _FORCED | _OUTPUTS | _IDS)

DRAFTER = "take drafter= (a name, a model or a Drafter), which says who guesses"
BEAMS = "only texts that grow one token at a time can be drafted; leave it out, or use Transformers' own generate"
LAW = "it needs more of the model than its next-token logits; leave it out, or use Transformers' own generate"
ENGINE = "the engine keeps its own cache and kernels; leave it out"

CHANGES_TEXT: Mapping[str, str] = {
    "num_beams": BEAMS,
    "num_beam_groups": BEAMS,
    "diversity_penalty": BEAMS,
    "constraints": BEAMS,
    "force_words_ids": BEAMS,
    "penalty_alpha": LAW,
    "dola_layers": LAW,
    "guidance_scale": LAW,
    "watermarking_config": LAW,
    "token_healing": "it changes the prompt; heal it beforehand, or leave it out",
    "decoder_start_token_id": "this is for decoder-only models; leave it out",
}
"""Refused wherever they come from, unless they have the value that does nothing."""

DOES_NOTHING_HERE: Mapping[str, str] = {
    **dict.fromkeys(("length_penalty", "early_stopping", "low_memory"), BEAMS),
    **dict.fromkeys(
        (
            "use_cache",
            "cache_implementation",
            "cache_config",
            "max_cache_len",
            "compile_config",
            "disable_compile",
            "continuous_batching_config",
            "prefill_chunk_size",
        ),
        ENGINE,
    ),
    **dict.fromkeys(
        (
            "is_assistant",
            "num_assistant_tokens",
            "num_assistant_tokens_schedule",
            "assistant_confidence_threshold",
            "prompt_lookup_num_tokens",
            "max_matching_ngram_size",
            "assistant_early_exit",
            "assistant_lookbehind",
            "target_lookbehind",
            "assistant_ensemble_weight",
            "speculation_type",
            "use_mtp",
        ),
        DRAFTER,
    ),
    **dict.fromkeys(
        ("output_attentions", "output_hidden_states"), "passes are made for several tokens at once; leave it out"
    ),
}
"""Refused only from the caller; in a model's own settings they are harmless."""

ARGUMENTS: Mapping[str, str] = {
    "assistant_model": DRAFTER,
    "assistant_tokenizer": DRAFTER,
    "negative_prompt_ids": LAW,
    "negative_prompt_attention_mask": LAW,
    "custom_generate": ENGINE,
    "past_key_values": ENGINE,
    "position_ids": "positions follow from attention_mask; leave it out",
    "token_type_ids": "this is for models that read text only; leave it out",
    "inputs_embeds": "give token ids, since drafts are token ids",
    "input_ids": "give it as the third argument, in its place",
    "synced_gpus": ENGINE,
}
"""Arguments of Transformers' `generate` that are no settings."""

HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0.0,),
    "guidance_scale": (1, 1.0),
    "penalty_alpha": (0, 0.0),
    "length_penalty": (1, 1.0),
    "early_stopping": (False,),
    "use_cache": (True,),
    "token_healing": (False,),
    "output_attentions": (False,),
    "output_hidden_states": (False,),
    "low_memory": (False,),
    "is_assistant": (False,),
    "use_mtp": (False,),
    "synced_gpus": (False,),
    "cache_implementation": ("dynamic",),
}
"""Values that ask for nothing, beside None."""


def merged(
    keywords: Mapping[str, Any], given: GenerationConfig | None, of_model: GenerationConfig | None
) -> GenerationConfig:
    """One config with everything filled in.

    Raises:
        UserError: a keyword is unknown (the nearest one is named), cannot be honoured, or has a value that is refused.
    """
    _check_keywords(keywords)
    config = copy.deepcopy(given) if given is not None else GenerationConfig()
    _check(vars(config), {**CHANGES_TEXT, **(DOES_NOTHING_HERE if given is not None else {})})
    try:
        for defaults in (of_model.to_dict() if of_model is not None else {}, DEFAULTS):
            known = {key: value for key, value in defaults.items() if key in HONOURED or key in CHANGES_TEXT}
            config.update(defaults_only=True, **_without_length_clash(known, config, keywords))
        config.update(**keywords)
    except ValueError as error:
        raise UserError(f"these settings cannot be used: {' '.join(str(error).split())}") from None
    _check(vars(config), CHANGES_TEXT)
    return config


def new_token_limits(config: GenerationConfig, prompt_width: int) -> tuple[int, int]:
    """The most and the fewest new tokens, `max_length` and `min_length` counting the padded prompt as Transformers does.

    Raises:
        UserError: max_length leaves no room.
    """
    most: int | None = config.max_new_tokens
    if most is None:
        most = DEFAULT_NEW_TOKENS if config.max_length is None else config.max_length - prompt_width
    if most < 0 or (most == 0 and config.max_new_tokens is None):
        raise UserError(
            f"the prompt has {prompt_width} tokens, max_length is {config.max_length}; raise it, or give max_new_tokens"
        )
    fewest: int | None = config.min_new_tokens
    return most, max((config.min_length or 0) - prompt_width, 0) if fewest is None else fewest


def token_ids(value: int | list[int] | None) -> list[int]:
    """One id, several or none, as a list."""
    return [] if value is None else [value] if isinstance(value, int) else list(value)


def _check_keywords(keywords: Mapping[str, Any]) -> None:
    known = {*HONOURED, *CHANGES_TEXT, *DOES_NOTHING_HERE, *ARGUMENTS}
    for key in keywords:
        if key not in known:
            raise UnknownNameError("setting", key, known)
    _check(keywords, {**CHANGES_TEXT, **DOES_NOTHING_HERE, **ARGUMENTS})


def _check(values: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    for key, why in refused.items():
        value = values.get(key)
        if value is not None and value not in HARMLESS.get(key, ()):
            raise UserError(f"{key}={value!r} cannot be honoured: {why}")


def _without_length_clash(
    defaults: Mapping[str, Any], config: GenerationConfig, keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """A limit of the caller's beats every limit of the model's, also one by its other name."""
    left = dict(defaults)
    for pair in (("max_new_tokens", "max_length"), ("min_new_tokens", "min_length")):
        if any(keywords.get(key) is not None or getattr(config, key) is not None for key in pair):
            for key in pair:
                left.pop(key, None)
    return left
