"""A cheap look first: the linear guard decides where it is sure, the language model where it is not."""

# N items
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.guard import Guard, Verdict
from tenfold.systems.shieldlm.linear import LinearGuard


@dataclass(frozen=True)
class Band:
    """Scores of the linear guard between which the language model decides."""

    low: float
    high: float

    def is_sure(self, score: float) -> bool:
        """Whether the linear guard decides alone."""
        return score < self.low or score > self.high


@dataclass(frozen=True)
class CostPoint:
    """One band: the share of items that the linear guard decides, and the accuracy of the whole."""

    band: Band
    share_linear: float
    accuracy: float


class Cascade:
    """Judges with the linear guard outside its band, with the guard inside and wherever rules are given."""

    def __init__(self, linear: LinearGuard, guard: Guard, band: Band) -> None:
        if not 0 <= band.low <= band.high <= 1:
            raise ConfigError(f"the band is {band.low} to {band.high}; give 0 <= low <= high <= 1")
        self.linear, self.guard, self.band = linear, guard, band
        self.num_linear = self.num_guard = 0
        """How many items each decided."""

    def check(self, query: str, response: str, rules: Sequence[str] = ()) -> Verdict:
        """A verdict; the linear guard knows no rules, so items with rules go to the language model."""
        score = float(self.linear.scores([f"{query}\n{response}" if query else response])[0])
        if rules or not self.band.is_sure(score) or not response.strip():
            self.num_guard += 1
            return self.guard.check(query, response, rules)
        self.num_linear += 1
        unsafe = score > self.band.high
        return Verdict(
            label="unsafe" if unsafe else "safe",
            decision="block" if unsafe else "allow",
            score=score,
            probabilities={"safe": 1 - score, "unsafe": score, "controversial": 0.0},
            coverage=1.0,
            lang=self.linear.lang,
            ids={"detector": "linear"},
        )


def cost_curve(linear_scores: ArrayLike, guard_scores: ArrayLike, unsafe: ArrayLike, *, points: int = 21) -> list[CostPoint]:
    """Accuracy against the share that the linear guard decides, by bands around one half that widen step by step."""
    linear_N, guard_N, unsafe_N = np.asarray(linear_scores, float), np.asarray(guard_scores, float), np.asarray(unsafe, bool)
    distances = np.quantile(np.abs(linear_N - 0.5), np.linspace(0, 1, points))
    return [_point(linear_N, guard_N, unsafe_N, Band(0.5 - float(d), 0.5 + float(d))) for d in distances]


def fit_band(linear_scores: ArrayLike, guard_scores: ArrayLike, unsafe: ArrayLike, *, most_loss: float = 0.005) -> Band:
    """The narrowest band whose accuracy is at most `most_loss` below the guard's own."""
    points = cost_curve(linear_scores, guard_scores, unsafe, points=101)
    goal = float(((np.asarray(guard_scores, float) > 0.5) == np.asarray(unsafe, bool)).mean()) - most_loss
    return next((point.band for point in points if point.accuracy >= goal), points[-1].band)


def _point(
    linear_N: NDArray[np.float64], guard_N: NDArray[np.float64], unsafe_N: NDArray[np.bool_], band: Band
) -> CostPoint:
    sure_N = (linear_N < band.low) | (linear_N > band.high)
    flag_N = np.where(sure_N, linear_N > 0.5, guard_N > 0.5)
    return CostPoint(band, float(sure_N.mean()), float((flag_N == unsafe_N).mean()))
