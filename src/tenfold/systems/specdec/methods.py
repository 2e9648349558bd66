"""The ways of answering a prompt that a benchmark compares: ours, our plain decoding, and Transformers' own.

Every method gets the same token ids and the same limits, and reports the same things. Transformers' models are loaded once
per dtype, and only if a method needs them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from tenfold.core.errors import UnknownNameError
from tenfold.nn.drafting import Drafter
from tenfold.nn.generation import generate
from tenfold.nn.models import Dtype, LoadedModel, load_tokenizer, load_transformers, resolve
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.store.artifacts import WHEEL_MODELS
from tenfold.systems.specdec.draft_length import DraftLength
from tenfold.systems.specdec.rounds import Round, Speculation
from tenfold.systems.specdec.speculate import speculate

OURS = "tenfold"
OTHER_DRAFTER = "tenfold:"
"""Before the name of a drafter that is timed beside the run's own."""
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
    """Generation settings."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Further arguments of `generate`, such as an assistant model."""

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
            ids_1T,
            attention_mask=torch.ones_like(ids_1T),
            generation_config=settings,
            streamer=clock,
            **self.arguments,
        )
        seconds = clock.now()
        return Answer(output_1T[0, len(prompt) :].tolist(), clock.first, seconds)


@dataclass(frozen=True)
class LlamaCpp:
    """llama.cpp on a GGUF file, through the package llama_cpp; its weights are those of the file, often of 4 bits."""

    model: Any
    eos_ids: Sequence[int]

    def __call__(self, prompt: Sequence[int], max_new_tokens: int) -> Answer:
        self.model.reset()  # else it would keep what this prompt shares with the last one
        clock = _Clock()
        tokens: list[int] = []
        for token in self.model.generate(list(prompt), temp=0.0, repeat_penalty=1.0):
            clock.tick(token)
            tokens.append(int(token))
            if token in self.eos_ids or len(tokens) == max_new_tokens:
                break
        return Answer(tokens, clock.first, clock.now())


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
ASSISTED, LLAMA_CPP = "transformers-assisted", "llama-cpp"
_IN_FLOAT32 = (*TRANSFORMERS_KEYWORDS, ASSISTED)
BASELINES = (PLAIN, *_IN_FLOAT32, *(f"{name}-fp32" for name in _IN_FLOAT32), LLAMA_CPP)
CONTEXT = 4096
"""Most tokens of prompt and answer together in llama.cpp."""


@dataclass(frozen=True)
class Baselines:
    """Makes baselines by name for one model; `-fp32` at the end asks for Transformers in float32 whatever the dtype."""

    name: str
    """The model, as the user named it."""
    dtype: Dtype
    assistant: str | None = None
    """The model that drafts for `transformers-assisted`."""

    def missing(self, baseline: str) -> str | None:
        """Why a baseline cannot be run here; None if it can."""
        if _base(baseline) == ASSISTED and self.assistant is None:
            return "it needs a smaller model of the same family; give one by --assistant"
        if baseline == LLAMA_CPP and find_spec("llama_cpp") is None:
            return "the package llama_cpp is not installed (pip install llama-cpp-python)"
        if baseline == LLAMA_CPP and self._gguf() is None:
            return f"it needs a GGUF file, and {self.name!r} is none; give --model smollm2 or FILE.gguf"
        return None

    def make(self, baseline: str, model: LoadedModel) -> Method:
        """The baseline; `missing` has said that it can be run."""
        if baseline == PLAIN:
            return Plain(model)
        eos_ids = sorted(model.eos_ids)
        if baseline == LLAMA_CPP:
            return LlamaCpp(_llama_cpp(str(self._gguf())), eos_ids)
        wanted: Dtype = "fp32" if _base(baseline) != baseline else self.dtype
        keywords = TRANSFORMERS_KEYWORDS.get(_base(baseline), {})
        arguments = self._assistance(model, wanted) if _base(baseline) == ASSISTED else {}
        return Transformers(_transformers_model(model.path, wanted), eos_ids, keywords, arguments)

    def _assistance(self, model: LoadedModel, dtype: Dtype) -> dict[str, Any]:
        """The assistant, with both tokenizers if they differ."""
        path = resolve(self.assistant or "")
        arguments: dict[str, Any] = {"assistant_model": _transformers_model(path, dtype)}
        own = load_tokenizer(path)
        if own.get_vocab() != model.tokenizer.get_vocab():
            arguments |= {"tokenizer": model.tokenizer, "assistant_tokenizer": own}
        return arguments

    def _gguf(self) -> Path | None:
        if self.name in WHEEL_MODELS:
            return WHEEL_MODELS[self.name].find()
        path = Path(self.name)
        return path if path.suffix == ".gguf" and path.is_file() else None


def check_baselines(names: Sequence[str]) -> tuple[str, ...]:
    """The names as given, or UnknownNameError for the first that is none of BASELINES."""
    for name in names:
        if name not in BASELINES:
            raise UnknownNameError("baseline", name, BASELINES)
    return tuple(names)


def _base(baseline: str) -> str:
    return baseline.removesuffix("-fp32")


@cache
def _transformers_model(path: str, dtype: Dtype) -> Any:
    return load_transformers(path, dtype)


@cache
def _llama_cpp(path: str) -> Any:
    from llama_cpp import Llama  # pyright: ignore[reportMissingImports]

    return Llama(path, n_ctx=CONTEXT, n_threads=torch.get_num_threads(), verbose=False)
