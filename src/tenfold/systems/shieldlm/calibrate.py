"""From scores to decisions with a guaranteed rate of false alarms, and an honest measure of calibration.

With n0 safe items that no fit has seen, tau_hi is their k-th smallest score, k = ceil((n0 + 1)(1 - alpha)). If a new safe
item is exchangeable with them, P(score > tau_hi) <= alpha; the realised rate is distributed as Beta(n0 + 1 - k, k)
(split conformal prediction, Vovk 2012). Misses are controlled in the same way from below.
"""

# N items, R redraws, B bins of equal mass
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta as beta_law
from scipy.stats import betabinom

from tenfold.core.errors import ConfigError

Decision = Literal["allow", "review", "block"]
ROUNDING = 1e-9  # (n0 + 1)(1 - alpha) is often a whole number that floating point misses by a hair


@dataclass(frozen=True)
class Thresholds:
    """Block above `block_above`, allow below `allow_below`, review between; equal values leave no band."""

    allow_below: float
    block_above: float

    def decide(self, score: float) -> Decision:
        if score > self.block_above:
            return "block"
        if score < self.allow_below or self.allow_below == self.block_above:
            return "allow"
        return "review"


def fit_thresholds(
    safe_scores: ArrayLike, unsafe_scores: ArrayLike, *, alpha: float, beta: float, delta: float | None = None
) -> Thresholds:
    """Both thresholds; where they cross, their midpoint satisfies both promises.

    Raises:
        ConfigError: too few items for the rate; the message says how many are needed.
    """
    high = block_threshold(safe_scores, alpha, delta=delta)
    low = allow_threshold(unsafe_scores, beta)
    return Thresholds((low + high) / 2, (low + high) / 2) if low > high else Thresholds(low, high)


def block_threshold(safe_scores: ArrayLike, alpha: float, *, delta: float | None = None) -> float:
    """tau_hi: a new safe item scores above it with probability at most alpha.

    With `delta`, the rate of this very threshold is at most alpha with probability 1 - delta over the calibration items.
    """
    _check_rate("alpha", alpha)
    score_N = _sorted(safe_scores)
    k = _rank(len(score_N), alpha) if delta is None else _pac_rank(len(score_N), alpha, delta)
    return float(score_N[k - 1])


def allow_threshold(unsafe_scores: ArrayLike, beta: float) -> float:
    """tau_lo: a new unsafe item scores below it with probability at most beta."""
    _check_rate("beta", beta)
    score_N = _sorted(unsafe_scores)
    k = math.floor((len(score_N) + 1) * beta + ROUNDING)
    if k < 1:
        needed = math.ceil(1 / beta - 1 - ROUNDING)
        raise ConfigError(f"{len(score_N)} unsafe items cannot hold misses to {beta:g}; give at least {needed}")
    return float(score_N[k - 1])


def rate_interval(num_calibration: int, num_test: int, alpha: float) -> tuple[float, float]:
    """Where 95 % of realised false-alarm rates on `num_test` safe items lie (beta-binomial), as shares."""
    k = _rank(num_calibration, alpha)
    law = betabinom(num_test, num_calibration + 1 - k, k)
    return float(law.ppf(0.025)) / num_test, float(law.ppf(0.975)) / num_test


def equal_mass_error(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> float:
    """ECE over bins that hold equally many items; ties are ordered by place."""
    probability_N, label_N = np.asarray(probabilities, float), np.asarray(labels, float)
    if len(probability_N) == 0 or len(probability_N) != len(label_N):
        raise ValueError(
            f"got {len(probability_N)} probabilities and {len(label_N)} labels; give equally many, at least one"
        )
    order = np.argsort(probability_N, kind="stable")
    return _binned_error((probability_N - label_N)[order], bins)


def null_error(probabilities: ArrayLike, *, bins: int = 15, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """(mean, 95 % point) of the ECE that a perfectly calibrated model of these probabilities would show."""
    probability_N = np.sort(np.asarray(probabilities, float))
    generator = np.random.default_rng(seed)
    redrawn = [
        _binned_error(probability_N - (generator.random(len(probability_N)) < probability_N), bins) for _ in range(draws)
    ]
    return float(np.mean(redrawn)), float(np.quantile(redrawn, 0.95))


def _binned_error(gap_N: NDArray[np.float64], bins: int) -> float:
    return float(sum(abs(part.sum()) for part in np.array_split(gap_N, bins)) / len(gap_N))


def _rank(num_safe: int, alpha: float) -> int:
    k = math.ceil((num_safe + 1) * (1 - alpha) - ROUNDING)
    if k > num_safe:
        needed = math.ceil(1 / alpha - 1 - ROUNDING)
        raise ConfigError(f"{num_safe} safe items cannot hold false alarms to {alpha:g}; give at least {needed}")
    return k


def _pac_rank(num_safe: int, alpha: float, delta: float) -> int:
    _check_rate("delta", delta)
    ranks = np.arange(1, num_safe + 1)
    enough = np.flatnonzero(beta_law.ppf(1 - delta, num_safe + 1 - ranks, ranks) <= alpha)
    if not len(enough):
        needed = math.ceil(math.log(delta) / math.log1p(-alpha))
        raise ConfigError(
            f"{num_safe} safe items cannot hold false alarms to {alpha:g} with confidence {1 - delta:g}; "
            f"give at least {needed}"
        )
    return int(ranks[enough[0]])


def _check_rate(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{name} is {value}; give a share between 0 and 1")


def _sorted(scores: ArrayLike) -> NDArray[np.float64]:
    score_N = np.sort(np.asarray(scores, dtype=np.float64))
    if np.isnan(score_N).any():
        raise ConfigError("a score is not a number; score the items again")
    return score_N
