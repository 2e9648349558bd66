"""How well a judge's rate can be corrected by a few labels: the labels are drawn again and again, the truth is known.

All rates and errors are in percentage points where the name says so; `study` says which.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import ConfigError
from tenfold.evals.statistics import prediction_powered, rogan_gladen, wilson

Floats = NDArray[np.float64]
POINTS = 100.0


def study(
    labels: Sequence[bool], probabilities: Sequence[float], *, num_labels: int, resamples: int, seed: int
) -> dict[str, Any]:
    """Errors in points over the draws: prediction-powered with probabilities, with hard labels, Rogan-Gladen.

    Raises:
        ConfigError: not more answers than labels.
    """
    if num_labels >= len(labels):
        raise ConfigError(f"labels is {num_labels}, but there are {len(labels)} answers; give fewer labels than answers")
    y_N, p_N = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    judged_N = (p_N >= 0.5).astype(np.float64)
    generator = np.random.default_rng(seed)
    draws = [generator.permutation(len(y_N)) for _ in range(resamples)]
    soft = np.array([_powered(p_N, y_N, draw, num_labels) for draw in draws])
    hard = np.array([_powered(judged_N, y_N, draw, num_labels) for draw in draws])
    classic = [error for draw in draws if (error := _rogan_gladen(judged_N, y_N, draw[:num_labels])) is not None]
    alone = [wilson(int(y_N[draw[:num_labels]].sum()), num_labels) for draw in draws]
    return {
        "labels": num_labels,
        "true_rate": float(y_N.mean()),
        "judge_rate": float(judged_N.mean()),
        "corrected_bias": float(soft[:, 0].mean()),
        "corrected_median_error": float(np.median(np.abs(soft[:, 0]))),
        "coverage": float(soft[:, 1].mean()),
        "corrected_width": float(soft[:, 2].mean()),
        "hard_bias": float(hard[:, 0].mean()),
        "hard_median_error": float(np.median(np.abs(hard[:, 0]))),
        "hard_coverage": float(hard[:, 1].mean()),
        "labels_alone_width": float(np.mean([POINTS * (each.high - each.low) for each in alone])),
        "rogan_gladen_bias": float(np.mean(classic)) if classic else None,
        "rogan_gladen_median_error": float(np.median(np.abs(classic))) if classic else None,
        "rogan_gladen_refused": (len(draws) - len(classic)) / len(draws),
    }


def _powered(f_N: Floats, y_N: Floats, draw: NDArray[np.intp], num_labels: int) -> tuple[float, float, float]:
    """(error in points, whether the interval holds the truth, width in points)."""
    known, rest = draw[:num_labels], draw[num_labels:]
    truth = float(y_N.mean())
    estimate = prediction_powered(f_N[rest], f_N[known], y_N[known])
    holds = estimate.low <= truth <= estimate.high
    return POINTS * (estimate.value - truth), float(holds), POINTS * (estimate.high - estimate.low)


def _rogan_gladen(judged_N: Floats, y_N: Floats, known: NDArray[np.intp]) -> float | None:
    """The error in points; None where the correction is refused or a label does not occur."""
    positive = y_N[known] == 1
    if positive.all() or not positive.any():
        return None
    sensitivity, specificity = float(judged_N[known][positive].mean()), float(1 - judged_N[known][~positive].mean())
    try:
        return POINTS * (rogan_gladen(float(judged_N.mean()), sensitivity, specificity) - float(y_N.mean()))
    except ValueError:
        return None
