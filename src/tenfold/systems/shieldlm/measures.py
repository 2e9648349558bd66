"""How good a detector's scores are: agreement with the labels, calibration, and whether promised rates are kept."""

# N items, C clusters
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score

from tenfold.evals.statistics import Estimate, Platt, cluster_bootstrap, cluster_mean, cluster_ratio
from tenfold.systems.shieldlm.calibrate import block_threshold, equal_mass_error, null_error, rate_interval
from tenfold.systems.shieldlm.cascade import cost_curve, fit_band

NUM_SEEDS = 20
ECE_DRAWS = 1000
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


def calibration(score_N: Scores, unsafe_N: Truths, clusters: Sequence[str]) -> dict[str, Any]:
    """ECE beside the ECE that a perfect model of these scores would show, and the Brier score.

    The interval is over whole clusters; redrawing adds noise of its own, so it lies above the error rather than around it.
    """
    error, (mean, high) = equal_mass_error(score_N, unsafe_N), null_error(score_N)
    drawn = cluster_bootstrap(lambda at: equal_mass_error(score_N[at], unsafe_N[at]), clusters, draws=ECE_DRAWS)
    return {
        "ece": error,
        "ece_interval": drawn.interval,
        "ece_null_mean": mean,
        "ece_null_95": high,
        "ece_excess": error - mean,
        "brier": float(((score_N - unsafe_N) ** 2).mean()),
        "auprc": float(average_precision_score(unsafe_N, score_N)) if unsafe_N.any() else None,
        "reliability": reliability_rows(score_N, unsafe_N),
    }


def held_out_calibration(score_N: Scores, unsafe_N: Truths, clusters: Sequence[str]) -> dict[str, Any]:
    """Platt's map and the thresholds fitted on one half of the clusters, judged on the other, over 20 seeds.

    Returns the pooled ECE after the map, and for each rate the mean false-alarm rate and the share of seeds whose rate
    lies in the 95 % interval of the beta-binomial law; None for a rate that the half has too few safe items for.
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
            if (fit_N & ~unsafe_N).sum() >= 1 / rate - 1:
                seen.append(_false_alarms(score_N[fit_N & ~unsafe_N], score_N[~fit_N & ~unsafe_N], rate))
    found: dict[str, Any] = {"ece_calibrated": equal_mass_error(np.concatenate(pooled_p), np.concatenate(pooled_y))}
    for rate, seen in rates.items():
        found[f"fpr_at_{rate:g}"] = float(np.mean([share for share, _ in seen])) if seen else None
        found[f"fpr_at_{rate:g}_in_interval"] = float(np.mean([inside for _, inside in seen])) if seen else None
    return found


def macro_f1(flag_N: Truths, unsafe_N: Truths) -> float:
    """The mean of both classes' F1."""
    return float(f1_score(unsafe_N, flag_N, average="macro", zero_division=0))  # pyright: ignore[reportArgumentType]


def beside_linear(linear_N: Scores, guard_N: Scores, unsafe_N: Truths, clusters: Sequence[str]) -> dict[str, Any]:
    """The guard beside the linear floor on the same items: gain in accuracy, and what a cascade of both would do."""
    right_N = (guard_N > 0.5) == unsafe_N
    gain = cluster_mean(right_N.astype(float) - ((linear_N > 0.5) == unsafe_N), clusters)
    band = fit_band(linear_N, guard_N, unsafe_N)
    curve = cost_curve(linear_N, guard_N, unsafe_N)
    chosen = min(curve, key=lambda point: abs(point.band.low - band.low))
    return {
        "gain_over_linear": gain.value,
        "gain_over_linear_interval": gain.interval,
        "cascade_band": [band.low, band.high],
        "cascade_share_linear": chosen.share_linear,
        "cascade_accuracy": chosen.accuracy,
        "cascade_curve": [[point.share_linear, point.accuracy] for point in curve],
    }


def reliability_rows(score_N: Scores, unsafe_N: Truths, *, bins: int = 10) -> list[list[float]]:
    """Per bin of equal mass: mean score, share unsafe, items."""
    order = np.argsort(score_N, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [[float(score_N[part].mean()), float(unsafe_N[part].mean()), len(part)] for part in parts]


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
    """2 TP / (2 TP + FP + FN), a ratio of sums; 0 where the class neither occurs nor is said."""
    if not (said_N | true_N).any():
        return Estimate(0.0, 0.0, 0.0)
    return cluster_ratio(2.0 * (said_N & true_N), said_N.astype(float) + true_N, clusters)


def _log_odds(score_N: Scores) -> Scores:
    inside_N = np.clip(score_N, 1e-9, 1 - 1e-9)
    return np.log(inside_N) - np.log1p(-inside_N)
