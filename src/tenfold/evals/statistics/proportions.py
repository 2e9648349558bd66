"""Rates: from few labels (Wilson), from two raters (kappa), and from an imperfect judge.

A judge's share of positives is not the true share. Rogan-Gladen corrects it by the judge's known error rates;
prediction-powered inference corrects it by a few labelled answers and needs no assumption about the judge.
"""

# L labelled answers, U unlabelled answers
from collections import Counter
from collections.abc import Hashable, Sequence
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.evals.statistics.columns import column
from tenfold.evals.statistics.estimate import Estimate
from tenfold.evals.statistics.sample_sizes import Z_TWO_SIDED

SMALLEST_YOUDEN = 0.2
"""Below this sum of sensitivity and specificity less 1, a judge tells too little for a correction."""


def wilson(hits: int, n: int) -> Estimate:
    """The share hits / n with Wilson's 95 % interval, which stays inside [0, 1] and has width at 0 and n hits.

    Raises:
        ValueError: n is 0, or hits is not between 0 and n.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"got {hits} hits of {n}; hits must lie between 0 and n, and n be at least 1")
    share, z2 = hits / n, Z_TWO_SIDED**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_TWO_SIDED * sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(share, max(0.0, centre - half), min(1.0, centre + half))


def kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Cohen's kappa of two raters; 1 where both gave one and the same label throughout.

    Raises:
        ValueError: there are no labels, or the lengths differ.
    """
    if len(first) != len(second) or not len(first):
        raise ValueError(f"got {len(first)} and {len(second)} labels; give one from each rater per item")
    agreement = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    of_first, of_second = Counter(first), Counter(second)
    chance = sum(count * of_second[label] for label, count in of_first.items()) / len(first) ** 2
    return 1.0 if chance == 1 else (agreement - chance) / (1 - chance)


def rogan_gladen(p: float, sensitivity: float, specificity: float) -> float:
    """The true share behind a judge's share p of positives: (p + Sp - 1) / (Se + Sp - 1), clipped to [0, 1].

    Raises:
        ValueError: one of the three is no share, or Se + Sp - 1 is below .2, so that the correction would multiply noise.
    """
    for name, share in {"p": p, "sensitivity": sensitivity, "specificity": specificity}.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is {share}; give a share between 0 and 1")
    youden = sensitivity + specificity - 1
    if youden < SMALLEST_YOUDEN:
        raise ValueError(
            f"sensitivity {sensitivity:.3f} and specificity {specificity:.3f} add up to {youden + 1:.3f}; "
            f"a correction needs at least {1 + SMALLEST_YOUDEN}; use a better judge or prediction_powered"
        )
    return min(1.0, max(0.0, (p + specificity - 1) / youden))


def prediction_powered(scores_unlabelled: ArrayLike, scores_labelled: ArrayLike, labels: ArrayLike) -> Estimate:
    """The mean label of all answers, from a judge's scores on all of them and labels on a random few.

    t = lam * mean_U(f) + mean_L(y - lam * f), lam = cov(y, f) / ((1 + n/M) var f) kept in [0, 1],
    var = lam^2 var_U(f) / M + var_L(y - lam * f) / n; the interval is t +- 1.96 sqrt(var), not clipped.

    Args:
        scores_unlabelled: (U,) the judge's labels or probabilities f on the answers without a label.
        scores_labelled: (L,) the same on the labelled ones.
        labels: (L,) the true labels y, 0/1 or graded.

    Raises:
        ValueError: fewer than two labelled answers, no unlabelled one, lengths that differ, or a missing value.
    """
    f_U, y_L = column(scores_unlabelled, "unlabelled scores"), column(labels, "labels")
    f_L = column(scores_labelled, "labelled scores", length=len(y_L))
    if len(y_L) < 2:
        raise ValueError("got 1 label; its spread needs two or more")
    trust = _trust(f_U, f_L, y_L)
    residual_L = y_L - trust * f_L
    value = trust * f_U.mean() + residual_L.mean()
    half = Z_TWO_SIDED * sqrt(trust**2 * _variance(f_U) / len(f_U) + _variance(residual_L) / len(y_L))
    return Estimate(float(value), float(value - half), float(value + half))


def _trust(f_U: NDArray[np.float64], f_L: NDArray[np.float64], y_L: NDArray[np.float64]) -> float:
    """How far the judge is believed (lam): 0 where it says nothing about the labels, so that they stand alone."""
    spread = (1 + len(y_L) / len(f_U)) * _variance(np.concatenate([f_U, f_L]))
    if spread == 0:
        return 0.0
    return float(np.clip(np.cov(y_L, f_L)[0, 1] / spread, 0.0, 1.0))


def _variance(values: NDArray[np.float64]) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
