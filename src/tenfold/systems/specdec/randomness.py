"""Where a verifier's chance comes from: seeded streams in production, every outcome in turn in the certificate.

A verifier asks three questions: accept with this probability? which token of this law? and which token of this law
under the noise that belongs to this position of the text? Drafting, accepting and the target's own draws use streams of
their own, so that none of them moves another.
"""

# V vocabulary
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import numpy as np
import torch

from tenfold.core.seeds import derive
from tenfold.systems.specdec.laws import Law

Weight = Fraction | float
Result = TypeVar("Result")

ANYWHERE: tuple[Weight, Weight] = (Fraction(0), Fraction(1))
"""The interval of a uniform of which nothing is known yet."""


class Randomness(Protocol):
    """Answers a verifier's questions of chance."""

    def accepts(self, probability: Any) -> bool:
        """True with this probability: always at 1, never at 0."""
        ...

    def draw(self, law_V: Law) -> int:
        """A token of the law."""
        ...

    def draw_at(self, position: int, law_V: Law) -> int:
        """A token of the law, from the noise of one absolute position: asked again, the same law gives the same token."""
        ...


def stream(seed: int, purpose: str) -> torch.Generator:
    """The random stream of one purpose: `draft`, `accept`, or `target` (also that of plain decoding)."""
    return torch.Generator().manual_seed(derive(seed, purpose))


class SeededRandomness:
    """Production: everything follows from one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.accept_stream, self.target_stream = stream(seed, "accept"), stream(seed, "target")

    def accepts(self, probability: Any) -> bool:
        return float(torch.rand((), generator=self.accept_stream, dtype=torch.float64)) < probability

    def draw(self, law_V: Law) -> int:
        return int(torch.multinomial(torch.from_numpy(law_V), 1, generator=self.target_stream))

    def draw_at(self, position: int, law_V: Law) -> int:
        return draw_coupled(self.seed, position, law_V)


def draw_coupled(seed: int, position: int, law_V: Law) -> int:
    """argmax(log law + Gumbel noise of (seed, position)); two similar laws mostly give the same token.

    Gumbel noise is -log E with E exponential, so the argmax of law / E is the same token without a logarithm.
    """
    generator = torch.Generator().manual_seed(derive(seed, "coupled", position))
    noise_V = torch.empty(len(law_V), dtype=torch.float64).exponential_(generator=generator).numpy()
    return int(np.argmax(law_V / noise_V))


class Branch:
    """One path through all outcomes: follows a script of choices, then always the first possible one."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = script
        self.taken: list[int] = []
        self.untaken: list[Sequence[int]] = []
        """Scripts of the paths that leave this one after its own script ended."""
        self.weight: Weight = Fraction(1)
        self.uniform_at: dict[int, tuple[Weight, Weight]] = {}
        """For each position: the interval in which its uniform is known to lie."""

    def accepts(self, probability: Any) -> bool:
        return self._pick([1 - probability, probability]) == 1

    def draw(self, law_V: Law) -> int:
        return self._pick(law_V)

    def draw_at(self, position: int, law_V: Law) -> int:
        """By inversion of a uniform per position: any noise that two laws can share serves to prove the coupling."""
        low, high = self.uniform_at.get(position, ANYWHERE)
        token = self._pick(law_given_uniform(law_V, low, high))
        edges = interval_edges(law_V)
        self.uniform_at[position] = max(low, edges[token]), min(high, edges[token + 1])
        return token

    def _pick(self, weights: Sequence[Any] | Law) -> int:
        if min(weights) < 0:
            raise ArithmeticError(f"a probability is negative: {list(weights)}")
        possible = [choice for choice, weight in enumerate(weights) if weight > 0]
        depth = len(self.taken)
        if depth < len(self.script):
            choice = self.script[depth]
        else:
            choice, *others = possible
            self.untaken += [(*self.taken, other) for other in others]
        self.taken.append(choice)
        self.weight = self.weight * weights[choice]
        return choice


def outcomes(run: Callable[[Randomness], Result]) -> Iterator[tuple[Result, Weight]]:
    """Calls `run` once for each combination of random outcomes; yields what it returned and how probable that was."""
    pending: list[Sequence[int]] = [()]
    while pending:
        branch = Branch(pending.pop())
        result = run(branch)
        pending += branch.untaken
        yield result, branch.weight


def interval_edges(law_V: Law) -> Sequence[Any]:
    """The borders 0..1 of the intervals into which a law cuts the uniforms."""
    return [Fraction(0), *np.cumsum(law_V)[:-1], Fraction(1)]


def law_given_uniform(law_V: Law, low: Weight, high: Weight) -> Sequence[Any]:
    """The law of a token drawn by inversion of a uniform that is known to lie in [low, high)."""
    edges = interval_edges(law_V)
    overlaps = (min(high, after) - max(low, before) for before, after in pairwise(edges))
    return [max(Fraction(0), overlap) / (high - low) for overlap in overlaps]
