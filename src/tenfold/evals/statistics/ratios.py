"""Paired ratios: the geometric mean with a bootstrap interval.

A speed-up is the geometric mean over prompts of (baseline's time / method's time), both taken in the same run; its
interval comes from resampling prompts within their strata (tasks), so that no task's share drifts.
"""

# P prompts, R resamples
from collections import Counter
from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from tenfold.evals.statistics.estimate import Estimate

NUM_RESAMPLES = 10_000
SINGLES = "tasks of one prompt"


def geometric_mean(ratios: Sequence[float]) -> float:
    """The geometric mean of positive ratios; ValueError if there is none, or one is not positive or not finite."""
    if not len(ratios) or not all(0 < ratio < inf for ratio in ratios):
        raise ValueError(f"a geometric mean needs at least one ratio, all above 0; got {list(ratios)[:5]}")
    return float(np.exp(np.mean(np.log(ratios))))


def geometric_mean_ratio(ratios: Sequence[float], strata: Sequence[str], *, seed: int = 0) -> Estimate:
    """Geometric mean of per-prompt ratios with a stratified percentile bootstrap interval (95 %, 10,000 resamples).

    Args:
        ratios: one positive ratio per prompt.
        strata: the task of each prompt; prompts are resampled within their task. Tasks with a single prompt cannot be
            resampled alone and are put together.
        seed: of the resampling.
    """
    if len(ratios) != len(strata):
        raise ValueError(f"got {len(ratios)} ratios but {len(strata)} strata; give one stratum per ratio")
    value = geometric_mean(ratios)
    sizes = Counter(strata)
    tasks = [task if sizes[task] > 1 else SINGLES for task in strata]
    logs_P, tasks_P = np.log(np.asarray(ratios)), np.asarray(tasks)
    generator = np.random.default_rng(seed)
    sums_R = sum(
        (_resampled_sums(logs_P[tasks_P == task], generator) for task in sorted(set(tasks))), np.zeros(NUM_RESAMPLES)
    )
    low, high = np.exp(np.percentile(sums_R / len(ratios), [2.5, 97.5]))
    return Estimate(value, float(low), float(high))


def _resampled_sums(values_P: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.float64]:
    choice_RP = generator.integers(len(values_P), size=(NUM_RESAMPLES, len(values_P)))
    return values_P[choice_RP].sum(axis=1)
