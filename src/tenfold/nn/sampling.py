"""From logits to a token: the settings of a generation, and the processors that apply them.

The same processors serve plain decoding, the target's side of speculation and the drafter's, so that all three speak
of the same law. They are Transformers' own, applied to all rows at once; those that need a row's prefix get it.
"""

# N rows, V vocabulary
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor
from transformers.generation import logits_process

from tenfold.core.config import Config
from tenfold.core.errors import NumericalError


class GenerationSettings(Config):
    """How a text is continued; the names and meanings are Transformers' own."""

    max_new_tokens: int = Field(default=128, ge=0)
    """Most tokens to generate; 0 generates nothing."""
    do_sample: bool = False
    """Draw tokens instead of taking the likeliest."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits; only with do_sample."""
    top_k: int = Field(default=0, ge=0)
    """Keep the k likeliest tokens; 0 keeps all; only with do_sample."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Keep the likeliest tokens that together reach this probability; only with do_sample."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Keep tokens at least this likely relative to the likeliest; only with do_sample."""
    repetition_penalty: float = Field(default=1.0, gt=0)
    """Above 1 makes tokens that already occurred less likely."""
    stop_strings: tuple[str, ...] = ()
    """The text ends where one of these appears."""
    seed: int = 0
    """Seed of the draws."""


class Processors:
    """The logits processors that a generation's settings ask for, or those given instead."""

    def __init__(self, settings: GenerationSettings, *, instead: logits_process.LogitsProcessorList | None = None) -> None:
        self.do_sample = settings.do_sample
        self.by_prefix = logits_process.LogitsProcessorList()
        if instead is not None:
            self.by_prefix, self.by_row = instead, logits_process.LogitsProcessorList()
            return
        if settings.repetition_penalty != 1:
            self.by_prefix.append(logits_process.RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
        self.by_row = _warpers(settings) if settings.do_sample else logits_process.LogitsProcessorList()

    def __call__(self, logits_NV: Tensor, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """Processes one row per prefix (the tokens before the one to be chosen).

        Raises:
            NumericalError: a row holds NaN, or nothing but -inf.
        """
        if self.by_prefix:
            rows = zip(logits_NV, prefixes, strict=True)
            logits_NV = torch.cat([self.by_prefix(_ids(prefix, row), row[None].clone()) for row, prefix in rows])  # pyright: ignore[reportArgumentType]
        if self.by_row:
            logits_NV = self.by_row(_ids((), logits_NV), logits_NV)  # pyright: ignore[reportArgumentType]
        return _checked(logits_NV)

    def law(self, logits_NV: Tensor, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """The probabilities [N, V] that a token is drawn from; one-hot at the argmax when decoding greedily."""
        processed_NV = self(logits_NV, prefixes)
        if self.do_sample:
            return processed_NV.softmax(-1)
        return torch.zeros_like(processed_NV).scatter_(-1, processed_NV.argmax(-1, keepdim=True), 1.0)


def choose(processors: Processors, logits_V: Tensor, prefix: Sequence[int], generator: torch.Generator) -> int:
    """The next token after `prefix`: the likeliest, or one drawn from the processed law."""
    logits_1V = logits_V[None]
    if not processors.do_sample:
        return int(processors(logits_1V, [prefix]).argmax())
    return draw(processors.law(logits_1V, [prefix])[0], generator)


def draw(law_V: Tensor, generator: torch.Generator) -> int:
    """One token from a law [V] that sums to 1."""
    return int(torch.multinomial(law_V, 1, generator=generator))


def _warpers(settings: GenerationSettings) -> logits_process.LogitsProcessorList:
    warpers = logits_process.LogitsProcessorList()
    if settings.temperature != 1:
        warpers.append(logits_process.TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        warpers.append(logits_process.TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        warpers.append(logits_process.TopPLogitsWarper(settings.top_p))
    if settings.min_p:
        warpers.append(logits_process.MinPLogitsWarper(settings.min_p))
    return warpers


def _ids(prefix: Sequence[int], like: Tensor) -> Tensor:
    return torch.tensor([list(prefix)], dtype=torch.long, device=like.device)


def _checked(logits_NV: Tensor) -> Tensor:
    best_N = logits_NV.amax(-1)
    if not bool(torch.isfinite(best_N).all()):
        raise NumericalError("the model's logits hold NaN, or the settings rule out every token")
    return logits_NV
