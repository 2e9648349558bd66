"""How good a detector's scores are: agreement with the labels, calibration, and whether promised rates are kept."""

# N items, C clusters
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from tenfold.evals.statistics import Estimate, Platt, cluster_mean, cluster_ratio
from tenfold.systems.shieldlm.calibrate import block_threshold, equal_mass_error, null_error, rate_interval

NUM_SEEDS = 20
RATES = (0.01, 0.05)
Scores = NDArray[np.float64]
Truths = NDArray[np.bool_]


def agreement(flag_N: Truths, unsafe_N: Truths, clusters: Sequence[str]) -> dict[str, Estimate]:
    """accuracy, f1_safe and f1_unsafe with intervals over whole clusters."""
    right_N = flag_N == unsafe_N
    return {
        "accuracy": cluster_mean(right_N, clusters),
        "f1_safe": _f1(~flag_N, ~unsafe_N, clusters),
        "f1_unsafe": _f1(flag_N, unsafe_N, clusters),
    }


def calibration(score_N: Scores, unsafe_N: Truths) -> dict[str, Any]:
    """ECE beside the ECE that a perfect model of these scores would show, and the Brier score."""
    error, (mean, high) = equal_mass_error(score_N, unsafe_N), null_error(score_N)
    return {
        "ece": error,
        "ece_null_mean": mean,
        "ece_null_95": high,
        "ece_excess": error - mean,
        "brier": float(((score_N - unsafe_N) ** 2).mean()),
        "auprc": float(average_precision_score(unsafe_N, score_N)),
    }


def held_out_calibration(score_N: Scores, unsafe_N: Truths, clusters: Sequence[str]) -> dict[str, Any]:
    """Platt's map and the thresholds fitted on one half of the clusters, judged on the other, over 20 seeds.

    Returns the pooled ECE after the map, and for each rate the mean false-alarm rate and the share of seeds whose rate
    lies in the 95 % interval of the beta-binomial law. A rate that the half is too small for raises ConfigError.
    """
    pooled_p: list[Scores] = []
    pooled_y: list[Truths] = []
    rates: dict[float, list[tuple[float, bool]]] = {rate: [] for rate in RATES}
    for seed in range(NUM_SEEDS):
        fit_N = half_of_clusters(clusters, seed)
        map_ = Platt.fit(_log_odds(score_N[fit_N]), unsafe_N[fit_N])
        pooled_p.append(map_.apply(_log_odds(score_N[~fit_N])))
        pooled_y.append(unsafe_N[~fit_N])
        for rate, seen in rates.items():
            seen.append(_false_alarms(score_N[fit_N & ~unsafe_N], score_N[~fit_N & ~unsafe_N], rate))
    found: dict[str, Any] = {"ece_calibrated": equal_mass_error(np.concatenate(pooled_p), np.concatenate(pooled_y))}
    for rate, seen in rates.items():
        found[f"fpr_at_{rate:g}"] = float(np.mean([share for share, _ in seen]))
        found[f"fpr_at_{rate:g}_in_interval"] = float(np.mean([inside for _, inside in seen]))
    return found


def half_of_clusters(clusters: Sequence[str], seed: int) -> Truths:
    """Which items lie in a random half of the clusters, [N]."""
    names, ids_N = np.unique(np.asarray(clusters), return_inverse=True)
    chosen = np.zeros(len(names), dtype=bool)
    chosen[np.random.default_rng(seed).permutation(len(names))[: len(names) // 2]] = True
    return chosen[ids_N]


def _false_alarms(fit_scores: Scores, test_scores: Scores, rate: float) -> tuple[float, bool]:
    share = float((test_scores > block_threshold(fit_scores, rate)).mean())
    low, high = rate_interval(len(fit_scores), len(test_scores), rate)
    return share, low <= share <= high


def _f1(said_N: Truths, true_N: Truths, clusters: Sequence[str]) -> Estimate:
    """2 TP / (2 TP + FP + FN), a ratio of sums."""
    return cluster_ratio(2.0 * (said_N & true_N), said_N.astype(float) + true_N, clusters)


def _log_odds(score_N: Scores) -> Scores:
    inside_N = np.clip(score_N, 1e-9, 1 - 1e-9)
    return np.log(inside_N) - np.log1p(-inside_N)
