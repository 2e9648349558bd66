"""Probabilities that mean what they say: how far they are off, and three maps that mend them.

Platt (a logistic of one score), isotonic (any rising step line) and temperature (one number for several classes) are
fitted on a calibration split and stored as plain JSON: `model_dump_json()` writes, `read_calibration` reads.
"""

# N items, K classes, B bins or blocks
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field, TypeAdapter

from tenfold.core.config import Config
from tenfold.evals.statistics.columns import Floats, column


@dataclass(frozen=True)
class Bin:
    """One row of a reliability table: items whose probability lies in [low, high)."""

    low: float
    high: float
    num_items: int
    mean_probability: float
    share_true: float


def reliability(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> list[Bin]:
    """The reliability table over equal bins of [0, 1]; empty bins are left out.

    Raises:
        ValueError: no items, lengths that differ, a missing value, or a probability outside [0, 1].
    """
    probability_N, label_N = _pairs(probabilities, labels)
    if probability_N.min() < 0 or probability_N.max() > 1:
        raise ValueError(f"probabilities lie in {probability_N.min()}..{probability_N.max()}; give values in 0..1")
    bin_N = np.minimum((probability_N * bins).astype(int), bins - 1)
    sizes_B = np.bincount(bin_N, minlength=bins)
    probabilities_B = np.bincount(bin_N, weights=probability_N, minlength=bins) / np.maximum(sizes_B, 1)
    shares_B = np.bincount(bin_N, weights=label_N, minlength=bins) / np.maximum(sizes_B, 1)
    return [
        Bin(b / bins, (b + 1) / bins, int(sizes_B[b]), float(probabilities_B[b]), float(shares_B[b]))
        for b in np.flatnonzero(sizes_B).tolist()
    ]


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """The mean over items of |mean probability - share true| of the item's bin (equal bins of [0, 1])."""
    table = reliability(probabilities, labels, bins=bins)
    num_items = sum(row.num_items for row in table)
    return sum(row.num_items * abs(row.mean_probability - row.share_true) for row in table) / num_items


class Platt(Config):
    """p = 1 / (1 + exp(-(slope * score + intercept)))."""

    kind: Literal["platt"] = "platt"
    """Which map this is."""
    slope: float
    """Factor of the score."""
    intercept: float
    """Log-odds at score 0."""

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike) -> Self:
        """By maximum likelihood, with Platt's targets (n+ + 1)/(n+ + 2) and 1/(n- + 2) so that it is always finite."""
        score_N, label_N = _pairs(scores, labels)
        positives, centre, spread = label_N.sum(), score_N.mean(), score_N.std() or 1.0
        target_N = np.where(label_N > 0, (positives + 1) / (positives + 2), 1 / (len(label_N) - positives + 2))
        slope, intercept = _fit_logistic((score_N - centre) / spread, target_N)
        return cls(slope=slope / spread, intercept=intercept - slope * centre / spread)

    def apply(self, scores: ArrayLike) -> Floats:
        """The probability of each score."""
        return _logistic(self.slope * np.asarray(scores, dtype=np.float64) + self.intercept)


class Isotonic(Config):
    """The rising step line nearest to the labels; straight lines between its steps, flat beyond the ends."""

    kind: Literal["isotonic"] = "isotonic"
    """Which map this is."""
    scores: tuple[float, ...]
    """Scores at which the line is given, rising."""
    probabilities: tuple[float, ...]
    """The line's height at each."""

    @classmethod
    def fit(cls, scores: ArrayLike, labels: ArrayLike) -> Self:
        """By pooling adjacent violators; items of equal score count as one."""
        score_N, label_N = _pairs(scores, labels)
        values, ids_N, sizes = np.unique(score_N, return_inverse=True, return_counts=True)
        heights = _pool(np.bincount(ids_N, weights=label_N) / sizes, sizes.astype(np.float64))
        is_end = np.ones(len(values), dtype=bool)
        is_end[1:-1] = (heights[1:-1] != heights[:-2]) | (heights[1:-1] != heights[2:])
        return cls(scores=tuple(values[is_end].tolist()), probabilities=tuple(heights[is_end].tolist()))

    def apply(self, scores: ArrayLike) -> Floats:
        """The probability of each score."""
        return np.interp(np.asarray(scores, dtype=np.float64), self.scores, self.probabilities)


class Temperature(Config):
    """Class probabilities from log-probabilities divided by one temperature."""

    kind: Literal["temperature"] = "temperature"
    """Which map this is."""
    temperature: float
    """Above 1 where the model was too sure."""

    @classmethod
    def fit(cls, log_probabilities: ArrayLike, labels: ArrayLike) -> Self:
        """By maximum likelihood, between 1/1000 and 1000.

        Args:
            log_probabilities: (N, K) log-probabilities or logits of the classes.
            labels: (N,) the true class, 0..K-1.

        Raises:
            ValueError: no items, other shapes, a class that has no logit, or a logit that is missing or infinite.
        """
        logits_NK, label_N = np.asarray(log_probabilities, dtype=np.float64), column(labels, "labels").astype(np.intp)
        if logits_NK.shape[:1] != label_N.shape or logits_NK.ndim != 2 or not np.isfinite(logits_NK).all():
            raise ValueError(f"got logits of shape {logits_NK.shape}; give a row of finite numbers for each label")
        if label_N.min() < 0 or label_N.max() >= logits_NK.shape[1]:
            raise ValueError(f"labels are {label_N.min()}..{label_N.max()}; give classes 0..{logits_NK.shape[1] - 1}")
        true_N = logits_NK[np.arange(len(label_N)), label_N]
        low, high = -np.log(1000.0), np.log(1000.0)  # of 1 / temperature; the likelihood has one peak in it
        for _ in range(60):
            middle = (low + high) / 2
            expected_N = (_softmax(np.exp(middle) * logits_NK) * logits_NK).sum(axis=1)
            low, high = (middle, high) if true_N.sum() > expected_N.sum() else (low, middle)
        return cls(temperature=float(np.exp(-(low + high) / 2)))

    def apply(self, log_probabilities: ArrayLike) -> Floats:
        """(N, K) probabilities, each row summing to 1."""
        return _softmax(np.asarray(log_probabilities, dtype=np.float64) / self.temperature)


Calibration = Annotated[Platt | Isotonic | Temperature, Field(discriminator="kind")]


def read_calibration(text: str) -> Platt | Isotonic | Temperature:
    """A map from the JSON that its `model_dump_json()` wrote."""
    return TypeAdapter(Calibration).validate_json(text)


def _pairs(values: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    value_N = column(values, "values")
    return value_N, column(labels, "labels", length=len(value_N))


def _fit_logistic(score_N: Floats, target_N: Floats) -> tuple[float, float]:
    """Slope and intercept by Newton's method with halved steps; a trace of ridge keeps constant scores solvable."""
    inputs_N2 = np.stack([score_N, np.ones_like(score_N)], axis=1)
    weights, ridge = np.zeros(2), 1e-9 * np.eye(2)
    for _ in range(100):
        p_N = _logistic(inputs_N2 @ weights)
        gradient = inputs_N2.T @ (target_N - p_N) - ridge @ weights
        step = np.linalg.solve((inputs_N2 * (p_N * (1 - p_N))[:, None]).T @ inputs_N2 + ridge, gradient)
        weights = weights + step * min(1.0, 4.0 / max(1e-12, np.abs(step).max()))
        if np.abs(step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def _pool(heights: Floats, sizes: Floats) -> Floats:
    """The nearest rising sequence in weighted squares (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []  # height, weight, number of values
    for height, size in zip(heights.tolist(), sizes.tolist(), strict=True):
        count = 1
        while blocks and blocks[-1][0] >= height:
            before, weight, number = blocks.pop()
            height, size, count = (before * weight + height * size) / (weight + size), weight + size, number + count
        blocks.append((height, size, count))
    return np.repeat([height for height, _, _ in blocks], [number for _, _, number in blocks])


def _logistic(log_odds: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -log_odds))


def _softmax(logits_NK: Floats) -> Floats:
    shifted_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    return shifted_NK / shifted_NK.sum(axis=1, keepdims=True)
