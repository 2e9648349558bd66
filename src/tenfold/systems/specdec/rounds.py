"""What each round of speculation did: the raw material of every statistic about acceptance and time.

Only emitted tokens count; what a stop cut off inside a block is neither accepted nor emitted.
"""

# a_j acceptance at position j
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from tenfold.nn.generation import Generation


@dataclass(frozen=True)
class Round:
    """One target pass."""

    source: str
    """Who drafted; `none` in a plain step."""
    num_drafted: int
    num_accepted: int
    num_emitted: int
    draft_ms: float
    verify_ms: float

    @property
    def sources(self) -> list[str]:
        """For each emitted token: the drafter that guessed it, or `target`."""
        return [self.source] * self.num_accepted + ["target"] * (self.num_emitted - self.num_accepted)


@dataclass(frozen=True)
class Speculation(Generation):
    """A generation with the rounds that made it; the first token comes from the prompt's own pass, before any round."""

    rounds: Sequence[Round] = field(default=())
    verifier: str = "greedy"
    lossless: bool = True
    """False if a lossy verifier was consented to: the text need not follow the target's own law."""
    dropped_drafts: Sequence[str] = field(default=())
    """For each draft that could not be used: why. The round went on as a plain step."""
    prefill_ms: float = 0.0
    total_ms: float = 0.0
    logits: Sequence[Tensor] = field(default=(), repr=False, compare=False)
    """The target's raw logits [V] for each token, if the request keeps them."""

    @property
    def sources(self) -> list[str]:
        """For each token: the drafter that guessed it, or `target`."""
        first = ["target"] * min(1, len(self.tokens))
        return [*first, *(source for step in self.rounds for source in step.sources)]


def mean_accepted_tokens(rounds: Sequence[Round]) -> float:
    """Emitted tokens per target pass, the correction or bonus included; plain decoding has 1.0."""
    return sum(step.num_emitted for step in rounds) / len(rounds) if rounds else 1.0


def acceptance_by_position(rounds: Sequence[Round]) -> list[float]:
    """a_j: of the rounds in which positions 1..j-1 were accepted and j was drafted, the share that accepted j."""
    reached, kept = Counter[int](), Counter[int]()
    for step in rounds:
        reached.update(range(1, min(step.num_drafted, step.num_accepted + 1) + 1))
        kept.update(range(1, step.num_accepted + 1))
    return [kept[position] / reached[position] for position in sorted(reached)]


def draft_precision(rounds: Sequence[Round]) -> float | None:
    """Share of all drafted tokens that were accepted; None if none was drafted."""
    drafted = sum(step.num_drafted for step in rounds)
    return sum(step.num_accepted for step in rounds) / drafted if drafted else None
