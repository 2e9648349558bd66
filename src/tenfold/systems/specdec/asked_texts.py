"""The texts that a call of `generate` asks for, and its answer in Transformers' form.

Each text has a request with its own limits, processors, stops and seed, as if it were the only one.
"""

# N texts (prompts times num_return_sequences), T width, S new tokens, V vocabulary
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedTokenizerBase, StoppingCriteria
from transformers.generation.streamers import BaseStreamer
from transformers.generation.utils import GenerateDecoderOnlyOutput

from tenfold.core.errors import UserError
from tenfold.core.seeds import derive
from tenfold.nn.generation import ignore_tokens
from tenfold.nn.logit_rules import AllowedTokens, Row, rules
from tenfold.nn.sampling import GenerationSettings, Processors
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.generation_keywords import new_token_limits, token_ids
from tenfold.systems.specdec.prompt_batch import PromptBatch
from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.rounds import Speculation


@dataclass
class SpeculativeOutput(GenerateDecoderOnlyOutput):
    """Transformers' answer with, for each text, what speculation did on the way."""

    speculations: Sequence[Speculation] | None = None


@dataclass(frozen=True)
class Extras:
    """What a caller may add to the settings."""

    logits_processor: Sequence[LogitsProcessor] = ()
    stopping_criteria: Sequence[StoppingCriteria] = ()
    prefix_allowed_tokens_fn: AllowedTokens | None = None
    streamer: BaseStreamer | None = None


@dataclass(frozen=True)
class AskedText:
    """One text to be written, with the processors of its law."""

    request: Request
    processors: Processors

    def scores(self, logits: Sequence[Tensor], tokens: Sequence[int]) -> Tensor:
        """The processed logits [S, V] of each of the text's tokens."""
        prefixes = [[*self.request.prompt, *tokens[:place]] for place in range(len(tokens))]
        return self.processors(torch.stack(list(logits)), prefixes)


class Order:
    """All texts of a call."""

    def __init__(
        self,
        batch: PromptBatch,
        config: GenerationConfig,
        tokenizer: PreTrainedTokenizerBase | None,
        extras: Extras,
        device: torch.device,
    ) -> None:
        self.batch, self.config, self.tokenizer, self.extras, self.device = batch, config, tokenizer, extras, device
        self.num_sequences: int = config.num_return_sequences or 1
        self.limits = new_token_limits(config, batch.width)
        self.deadline = None if config.max_time is None else time.monotonic() + config.max_time

    def texts(self, seed: int | Sequence[int]) -> list[AskedText]:
        """Every prompt num_return_sequences times.

        Raises:
            UserError: the number of seeds or of streamed texts does not fit, or greedy texts are asked for more than once.
        """
        prompts = [prompt for prompt in self.batch.prompts for _ in range(self.num_sequences)]
        if self.num_sequences > 1 and not self.config.do_sample:
            raise UserError("num_return_sequences is above 1, but greedy texts are all alike; give do_sample=True")
        if self.extras.streamer is not None and len(prompts) > 1:
            raise UserError(f"a streamer takes one text, and {len(prompts)} are asked for; leave it out, or give one prompt")
        seeds = _seeds(seed, len(prompts))
        return [self._text(number, prompt, seeds[number]) for number, prompt in enumerate(prompts)]

    def _text(self, number: int, prompt: Sequence[int], seed: int) -> AskedText:
        config, extras = self.config, self.extras
        row = Row(number, prompt, *self.limits, token_ids(config.eos_token_id), self.device)
        own_rules = rules(config, row, custom=extras.logits_processor, allowed_tokens=extras.prefix_allowed_tokens_fn)
        settings = _settings(config, self.limits[0], seed)
        processors = Processors(settings, instead=own_rules)
        request = Request(
            prompt,
            settings,
            self._stopper(row),
            law_of=processors.law,
            on_tokens=ignore_tokens if extras.streamer is None else partial(_stream, extras.streamer),
            keeps_logits=bool(config.return_dict_in_generate and (config.output_scores or config.output_logits)),
        )
        return AskedText(request, processors)

    def _stopper(self, row: Row) -> Stopper:
        """Stop strings need a tokenizer; criteria of the caller's own see prompt and output, and no scores."""
        given = self.config.stop_strings
        strings = [given] if isinstance(given, str) else list(given or ())
        if strings and self.tokenizer is None:
            raise UserError("stop_strings need a tokenizer; give the model's tokenizer")

        def is_over(output: Sequence[int]) -> bool:
            if self.deadline is not None and time.monotonic() > self.deadline:
                return True
            ids_1T = torch.tensor([[*row.prompt, *output]])
            return any(bool(torch.as_tensor(stops(ids_1T, None)).all()) for stops in self.extras.stopping_criteria)  # pyright: ignore

        return Stopper(
            max_new_tokens=row.max_new_tokens,
            eos_ids=row.eos_ids,
            stop_strings=strings,
            tokenizer=self.tokenizer,
            criterion=is_over if self.extras.stopping_criteria or self.deadline is not None else None,
        )


def answer(
    batch: PromptBatch, texts: Sequence[AskedText], written: Sequence[Speculation], config: GenerationConfig, pad_id: int
) -> Tensor | SpeculativeOutput:
    """Prompts as they were given with their continuations, ids [N, T + S]; with scores and logits by step if asked for."""
    longest = max(len(one.tokens) for one in written)
    new = [[*one.tokens, *[pad_id] * (longest - len(one.tokens))] for one in written]
    prompts_NT = batch.padded_NT.repeat_interleave(len(written) // len(batch.prompts), dim=0)
    new_NS = torch.tensor(new, dtype=torch.long, device=prompts_NT.device)
    sequences_NT = torch.cat([prompts_NT, new_NS], dim=1)
    if not config.return_dict_in_generate:
        return sequences_NT
    pairs = list(zip(texts, written, strict=True)) if longest else []
    optional: dict[str, Any] = {}
    if config.output_logits:
        optional["logits"] = _by_step([torch.stack(list(one.logits)) for _, one in pairs])
    if config.output_scores:
        optional["scores"] = _by_step([text.scores(one.logits, one.tokens) for text, one in pairs])
    return SpeculativeOutput(sequences=sequences_NT, speculations=written, **optional)  # pyright: ignore[reportArgumentType]


def _settings(config: GenerationConfig, max_new_tokens: int, seed: int) -> GenerationSettings:
    """What a draft model shapes its own law by; the target's is shaped by all rules."""
    shape = {"temperature": config.temperature or 1.0, "top_k": config.top_k or 0, "top_p": config.top_p or 1.0}
    penalty: float = config.repetition_penalty or 1.0
    return GenerationSettings(
        max_new_tokens=max_new_tokens,
        do_sample=bool(config.do_sample),
        seed=seed,
        repetition_penalty=penalty,
        min_p=config.min_p or 0.0,
        **shape,
    )


def _seeds(seed: int | Sequence[int], num_texts: int) -> Sequence[int]:
    """One for each text; the first text's is the seed itself."""
    if isinstance(seed, int):
        return [seed if number == 0 else derive(seed, "text", number) for number in range(num_texts)]
    if len(seed) != num_texts:
        raise UserError(f"got {len(seed)} seeds for {num_texts} texts; give one, or one for each")
    return seed


def _stream(streamer: BaseStreamer, tokens: Sequence[int]) -> None:
    streamer.put(torch.tensor(list(tokens)))


def _by_step(rows: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """From [S, V] for each text to [N, V] for each step; -inf after a text's end."""
    longest = max(map(len, rows), default=0)
    filled = [torch.nn.functional.pad(row_SV, (0, 0, 0, longest - len(row_SV)), value=float("-inf")) for row_SV in rows]
    return torch.stack(filled, dim=1).unbind(0) if longest else ()
