"""The ways of answering a prompt that a benchmark compares: ours, our plain decoding, and Transformers' own.

Every method gets the same token ids and the same limits, and reports the same things. Transformers' models are loaded once
per dtype, and only if a method needs them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from tenfold.core.errors import UnknownNameError
from tenfold.nn.drafting import Drafter
from tenfold.nn.generation import generate
from tenfold.nn.models import Dtype, LoadedModel, load_transformers
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.draft_length import DraftLength
from tenfold.systems.specdec.rounds import Round, Speculation
from tenfold.systems.specdec.speculate import speculate

OURS = "tenfold"
PLAIN = "greedy"
PROMPT_LOOKUP_TOKENS = 10


@dataclass(frozen=True)
class Answer:
    """Generated tokens and where the time went, in seconds; `total` runs from the prompt's ids to the last token."""

    tokens: Sequence[int]
    prefill_seconds: float
    total_seconds: float
    rounds: Sequence[Round] = field(default=())
    sources: Sequence[str] = field(default=())


class Method(Protocol):
    """Answers one prompt greedily."""

    def __call__(self, prompt: Sequence[int], max_new_tokens: int) -> Answer: ...


@dataclass(frozen=True)
class Speculative:
    """Our speculative decoding."""

    model: LoadedModel
    drafter: Drafter
    draft_length: DraftLength

    def __call__(self, prompt: Sequence[int], max_new_tokens: int) -> Answer:
        stopper = Stopper(max_new_tokens=max_new_tokens, eos_ids=self.model.eos_ids)
        result: Speculation = speculate(
            self.model.engine, prompt, GenerationSettings(), stopper, drafter=self.drafter, num_draft=self.draft_length
        )
        return Answer(result.tokens, result.prefill_ms / 1000, result.total_ms / 1000, result.rounds, result.sources)


@dataclass(frozen=True)
class Plain:
    """Our plain decoding, at its own fastest pass width."""

    model: LoadedModel

    def __call__(self, prompt: Sequence[int], max_new_tokens: int) -> Answer:
        stopper = Stopper(max_new_tokens=max_new_tokens, eos_ids=self.model.eos_ids)
        clock = _Clock()
        result = generate(self.model.engine, prompt, GenerationSettings(), stopper, on_tokens=clock.tick)
        return Answer(result.tokens, clock.first, clock.now())


@dataclass(frozen=True)
class Transformers:
    """Transformers' `generate`, greedy, with further keywords such as prompt lookup."""

    model: Any
    eos_ids: Sequence[int]
    keywords: dict[str, Any]

    def __call__(self, prompt: Sequence[int], max_new_tokens: int) -> Answer:
        clock = _Clock(skip=1)
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(self.eos_ids),
            pad_token_id=self.eos_ids[0],
            **self.keywords,
        )
        ids_1T = torch.tensor([list(prompt)])
        output_1T = self.model.generate(
            ids_1T, attention_mask=torch.ones_like(ids_1T), generation_config=settings, streamer=clock
        )
        seconds = clock.now()
        return Answer(output_1T[0, len(prompt) :].tolist(), clock.first, seconds)


class _Clock(BaseStreamer):
    """Notes when the first token came; Transformers streams the prompt first, which `skip` leaves out."""

    def __init__(self, skip: int = 0) -> None:
        self.start, self.skip, self.first = time.perf_counter(), skip, 0.0

    def tick(self, _: object) -> None:
        self.skip -= 1
        if self.skip == -1:
            self.first = self.now()

    def put(self, value: object) -> None:
        self.tick(value)

    def end(self) -> None:
        """Nothing to close."""

    def now(self) -> float:
        return time.perf_counter() - self.start


TRANSFORMERS_KEYWORDS: dict[str, dict[str, Any]] = {
    "transformers": {},
    "transformers-pld": {"prompt_lookup_num_tokens": PROMPT_LOOKUP_TOKENS, "max_matching_ngram_size": 2},
    "transformers-pld3": {"prompt_lookup_num_tokens": PROMPT_LOOKUP_TOKENS, "max_matching_ngram_size": 3},
}
BASELINES = (PLAIN, *TRANSFORMERS_KEYWORDS, *(f"{name}-fp32" for name in TRANSFORMERS_KEYWORDS))


def check_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """The names as given, or UnknownNameError for the first that is none of BASELINES."""
    for name in names:
        if name not in BASELINES:
            raise UnknownNameError("baseline", name, BASELINES)
    return tuple(names)


def baseline(name: str, model: LoadedModel, dtype: Dtype) -> Method:
    """A baseline by name; `-fp32` at the end asks for Transformers in float32 whatever the model's dtype."""
    if name == PLAIN:
        return Plain(model)
    base = name.removesuffix("-fp32")
    wanted: Dtype = "fp32" if base != name else dtype
    return Transformers(_transformers_model(model.path, wanted), sorted(model.eos_ids), TRANSFORMERS_KEYWORDS[base])


@cache
def _transformers_model(path: str, dtype: Dtype) -> Any:
    return load_transformers(path, dtype)
