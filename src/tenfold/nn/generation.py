"""Plain decoding: one token a pass. The baseline of every speed-up, and the truth of every losslessness test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tenfold.core.seeds import derive
from tenfold.nn.causal_lm import CausalLM, check_one_row, check_room
from tenfold.nn.sampling import GenerationSettings, Processors, choose
from tenfold.nn.stopping import Stopper, StopReason

OnTokens = Callable[[Sequence[int]], None]
"""Called with each run of new tokens as soon as it is certain (streaming)."""


class Constraint(Protocol):
    """What a text may consist of, token by token (`nn.constrain`)."""

    @property
    def finished(self) -> bool:
        """Whether the text has been ended; nothing may follow."""
        ...

    def mask(self, logits_V: Tensor) -> Tensor:
        """The logits of the next token, with -inf wherever a token may not come next."""
        ...

    def accept(self, token: int) -> None:
        """Moves on by a token that the mask left standing."""
        ...

    def rollback(self, count: int) -> None:
        """Takes the last `count` accepted tokens back."""
        ...


@dataclass(frozen=True)
class Generation:
    """A generated continuation, without its prompt."""

    tokens: Sequence[int]
    stop_reason: StopReason


def ignore_tokens(_: Sequence[int]) -> None:
    """An `OnTokens` that does nothing."""


def sampling_generator(settings: GenerationSettings) -> torch.Generator:
    """The random stream of the target's draws under these settings."""
    return torch.Generator().manual_seed(derive(settings.seed, "target"))


def generate(
    model: CausalLM,
    prompt: Sequence[int],
    settings: GenerationSettings,
    stopper: Stopper,
    *,
    on_tokens: OnTokens = ignore_tokens,
    constraint: Constraint | None = None,
) -> Generation:
    """Continues `prompt` (token ids) token by token, from an empty cache, within `constraint` if there is one.

    Raises:
        ValueError: the prompt is empty, or prompt and output do not fit into the model's positions.
    """
    if stopper.max_new_tokens == 0:
        return Generation((), "length")
    check_one_row(model)
    model.reset()
    check_room(model, len(prompt) + stopper.max_new_tokens - 1)
    processors, generator = Processors(settings), sampling_generator(settings)
    logits_V = model.prefill([prompt])[0]
    output: list[int] = []
    while True:
        token = choose(processors, constraint.mask(logits_V) if constraint else logits_V, [*prompt, *output], generator)
        if constraint:
            constraint.accept(token)
        block, reason = stopper.cut(output, [token])
        output += block
        on_tokens(block)
        if reason:
            return Generation(output, reason)
        logits_V = model.forward(torch.tensor([[token]]))[0, 0]
