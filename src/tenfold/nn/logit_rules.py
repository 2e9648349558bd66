"""The logits processors that a Transformers `GenerationConfig` asks for, in the order in which Transformers applies them.

They are Transformers' own classes, made for one row: its prompt's length is known and it has no padding. So a row is
treated alike whatever stands beside it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import logits_process as own

AllowedTokens = Callable[[int, torch.Tensor], list[int]]
"""(number of the row, its ids) -> the tokens that may come next."""


@dataclass(frozen=True)
class Row:
    """What the rules have to know of the row they are for."""

    number: int
    prompt: Sequence[int]
    max_new_tokens: int
    min_new_tokens: int
    eos_ids: Sequence[int]
    device: torch.device


def rules(
    config: GenerationConfig,
    row: Row,
    *,
    custom: Sequence[LogitsProcessor] = (),
    allowed_tokens: AllowedTokens | None = None,
) -> LogitsProcessorList:
    """All processors for one row; a custom one takes the place of ours of the same class."""
    by_class = {type(processor): processor for processor in custom}
    first = [by_class.pop(type(one), one) for one in _on_text(config, row, allowed_tokens)]
    warpers = _on_law(config) if config.do_sample else ()
    last = [own.LogitNormalization()] if config.renormalize_logits else []
    return LogitsProcessorList([*first, *(one for one in custom if type(one) in by_class), *warpers, *last])


def _on_text(config: Any, row: Row, allowed_tokens: AllowedTokens | None) -> Iterator[LogitsProcessor]:
    """Processors that look at the text so far, or forbid and force tokens."""
    length, eos, device = len(row.prompt), list(row.eos_ids), str(row.device)
    prompt_1T = torch.tensor([list(row.prompt)], device=row.device)
    if config.sequence_bias is not None:
        yield own.SequenceBiasLogitsProcessor(config.sequence_bias)
    if config.encoder_repetition_penalty not in (None, 1.0):
        yield own.EncoderRepetitionPenaltyLogitsProcessor(config.encoder_repetition_penalty, prompt_1T)  # pyright: ignore
    if config.repetition_penalty not in (None, 1.0):
        yield own.RepetitionPenaltyLogitsProcessor(config.repetition_penalty)
    if config.no_repeat_ngram_size:
        yield own.NoRepeatNGramLogitsProcessor(config.no_repeat_ngram_size)
    if config.encoder_no_repeat_ngram_size:
        yield own.EncoderNoRepeatNGramLogitsProcessor(config.encoder_no_repeat_ngram_size, prompt_1T)  # pyright: ignore
    if config.bad_words_ids is not None:
        yield own.NoBadWordsLogitsProcessor(config.bad_words_ids, eos or None)
    if row.min_new_tokens and eos:
        yield own.MinNewTokensLengthLogitsProcessor(length, row.min_new_tokens, eos, device=device)
    if allowed_tokens is not None:
        yield own.PrefixConstrainedLogitsProcessor(lambda _, ids: allowed_tokens(row.number, ids), num_beams=1)
    if config.forced_bos_token_id is not None:
        yield own.ForcedBOSTokenLogitsProcessor(config.forced_bos_token_id)
    if config.forced_eos_token_id is not None:
        longest = length + row.max_new_tokens
        yield own.ForcedEOSTokenLogitsProcessor(longest, config.forced_eos_token_id, device=device)
    if config.remove_invalid_values:
        yield own.InfNanRemoveLogitsProcessor()
    if config.exponential_decay_length_penalty is not None:
        yield own.ExponentialDecayLengthPenalty(config.exponential_decay_length_penalty, eos, length)
    if config.suppress_tokens is not None:
        yield own.SuppressTokensLogitsProcessor(config.suppress_tokens, device=device)
    if config.begin_suppress_tokens is not None:
        begin = length if length > 1 or config.forced_bos_token_id is None else length + 1
        yield own.SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens, begin, device=device)


def _on_law(config: Any) -> Iterator[LogitsProcessor]:
    """Processors that reshape the law to draw from."""
    if config.temperature not in (None, 1.0):
        yield own.TemperatureLogitsWarper(config.temperature)
    if config.top_h is not None:
        yield own.TopHLogitsWarper(config.top_h)
    if config.top_k:
        yield own.TopKLogitsWarper(config.top_k)
    if config.top_p is not None and config.top_p < 1:
        yield own.TopPLogitsWarper(config.top_p)
    if config.min_p is not None:
        yield own.MinPLogitsWarper(config.min_p)
    if config.typical_p is not None and config.typical_p < 1:
        yield own.TypicalLogitsWarper(config.typical_p)
    if config.epsilon_cutoff:
        yield own.EpsilonLogitsWarper(config.epsilon_cutoff)
    if config.eta_cutoff:
        yield own.EtaLogitsWarper(config.eta_cutoff)
