"""The paper's three findings as questions to a model, each answered with holds, does not hold, or undecided.

F1  within a domain, shallow layers are dense and deep ones sparse: correlation of depth and density, from layer 3 on, < 0
F2  texts of different domains are more alike in shallow layers: their cosine in the shallow half minus the deep half > 0
F3  in deep layers likeness follows relevance: (same minus different domain), deep half minus shallow half > 0

Intervals of 95 % come from drawing texts anew within their domains. F1 leaves the first two layers out,
since they are the sparsest ones in some models.
"""

# N texts, R draws, L layers
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.systems.activation.density import DensityCurve
from tenfold.systems.activation.grading import spearman

Floats = NDArray[np.float64]
DRAWS = 1000
PERCENTILES = (2.5, 97.5)
LEFT_OUT = 2
"""Layers at the bottom that F1 leaves out."""


@dataclass(frozen=True)
class Finding:
    """A number that is above 0 if the finding holds, with its interval."""

    name: str
    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "holds"
        return "does not hold" if self.high < 0 else "undecided"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"verdict": self.verdict}


def _finding(name: str, value: float, draws_R: Floats) -> Finding:
    low, high = np.nanpercentile(draws_R, PERCENTILES)
    return Finding(name, float(value), float(low), float(high))


def density_falls(curve: DensityCurve) -> Finding:
    """F1 of one domain, as minus the rank correlation."""
    skip = min(LEFT_OUT, max(0, len(curve.values) - 3))
    depth = np.arange(len(curve.values) - skip, dtype=np.float64)
    draws_R = np.array([-spearman(depth, drawn_L[skip:]) for drawn_L in curve.draws])
    return _finding("F1", -spearman(depth, curve.values[skip:]), draws_R)


@dataclass(frozen=True)
class Likeness:
    """Mean cosine of texts of the same and of different domains, in the shallow and in the deep half."""

    same_shallow: float
    same_deep: float
    cross_shallow: float
    cross_deep: float


def likeness_findings(
    shallow_NN: Floats, deep_NN: Floats, domains: Sequence[str], *, seed: int = 0
) -> tuple[Finding, Finding, Likeness]:
    """(F2, F3, what they are made of)."""
    generator = np.random.default_rng(seed)
    pairs = _Pairs(domains)
    whole = pairs.means(shallow_NN, deep_NN, np.ones(len(domains)))
    drawn = [pairs.means(shallow_NN, deep_NN, pairs.draw(generator)) for _ in range(DRAWS)]
    falls = [one.cross_shallow - one.cross_deep for one in (whole, *drawn)]
    gains = [(one.same_deep - one.cross_deep) - (one.same_shallow - one.cross_shallow) for one in (whole, *drawn)]
    return (
        _finding("F2", falls[0], np.array(falls[1:])),
        _finding("F3", gains[0], np.array(gains[1:])),
        whole,
    )


class _Pairs:
    """Pairs of texts of the same and of different domains; a text is no pair with itself."""

    def __init__(self, domains: Sequence[str]) -> None:
        names = np.asarray(domains)
        self.groups = [np.flatnonzero(names == name) for name in dict.fromkeys(domains)]
        same_NN = names[:, None] == names[None, :]
        self.same_NN = (same_NN & ~np.eye(len(names), dtype=bool)).astype(np.float64)
        self.cross_NN = (~same_NN).astype(np.float64)

    def draw(self, generator: np.random.Generator) -> Floats:
        """How often each text is drawn, within its domain."""
        counts_N = np.zeros(len(self.same_NN))
        for group in self.groups:
            counts_N[group] = generator.multinomial(len(group), [1 / len(group)] * len(group))
        return counts_N

    def means(self, shallow_NN: Floats, deep_NN: Floats, counts_N: Floats) -> Likeness:
        same, cross = ((lambda m, w=w: _weighted(m, w, counts_N)) for w in (self.same_NN, self.cross_NN))
        return Likeness(same(shallow_NN), same(deep_NN), cross(shallow_NN), cross(deep_NN))


def _weighted(matrix_NN: Floats, which_NN: Floats, counts_N: Floats) -> float:
    total = counts_N @ which_NN @ counts_N
    return float(counts_N @ (matrix_NN * which_NN) @ counts_N / total) if total else float("nan")
