"""Percentile bootstrap over clusters: whole clusters are drawn with replacement, the whole statistic is recomputed.

Items that share a block, a pair or a picture are not independent; drawing items one by one would make the interval
too narrow. A cluster enters a mean or a ratio only through its two sums, so those are drawn instead of the items.

The bootstrap knows only what it saw: with one cluster, or where all are alike, its interval has no width. For a share of
0 or 1 take `wilson`.
"""

# N items, C clusters, R draws
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.evals.statistics.columns import Floats, column
from tenfold.evals.statistics.estimate import Estimate

NUM_DRAWS = 10_000
CELLS_AT_ONCE = 2_000_000
PERCENTILES = (2.5, 97.5)

Index = NDArray[np.intp]


def cluster_mean(values: ArrayLike, clusters: Sequence[str], *, draws: int = NUM_DRAWS, seed: int = 0) -> Estimate:
    """The mean of `values`, one per item, with its interval.

    Raises:
        ValueError: there are no items, the lengths differ, or a value is missing.
    """
    values_N = np.asarray(values, dtype=np.float64)
    return cluster_ratio(values_N, np.ones_like(values_N), clusters, draws=draws, seed=seed)


def cluster_ratio(
    numerators: ArrayLike, denominators: ArrayLike, clusters: Sequence[str], *, draws: int = NUM_DRAWS, seed: int = 0
) -> Estimate:
    """sum(numerators) / sum(denominators) over items, with its interval; e.g. the mean over a subset (denominators 0/1).

    Draws whose denominators sum to 0 have no ratio and are left out.

    Raises:
        ValueError: there are no items, the lengths differ, a value is missing, or the denominators sum to 0.
    """
    num_items = _num_items(clusters)
    numbers_N2 = np.stack(
        [column(numerators, "values", length=num_items), column(denominators, "denominators", length=num_items)], axis=1
    )
    ids_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    sums_C2 = np.stack([np.bincount(ids_N, weights=numbers_N) for numbers_N in numbers_N2.T], axis=1).astype(np.float64)
    top, bottom = sums_C2.sum(axis=0)
    if bottom == 0:
        raise ValueError("the denominators sum to 0, so there is no ratio; give at least one item that counts")
    drawn_R2 = _drawn_sums(sums_C2, draws, np.random.default_rng(seed))
    drawn_R2 = drawn_R2[drawn_R2[:, 1] != 0]
    return _estimate(top / bottom, drawn_R2[:, 0] / drawn_R2[:, 1])


def cluster_bootstrap(
    statistic: Callable[[Index], float], clusters: Sequence[str], *, draws: int = NUM_DRAWS, seed: int = 0
) -> Estimate:
    """Any statistic of the items, with its interval; for a mean or a ratio the functions above are far faster.

    Args:
        statistic: takes the positions of the drawn items (with repeats) and returns a number; NaN where the draw has
            none, and such draws are left out.
        clusters: the cluster of each item.

    Raises:
        ValueError: there are no items, or the statistic of all items is NaN.
    """
    value = statistic(np.arange(_num_items(clusters)))
    members = _members(clusters)
    if np.isnan(value):
        raise ValueError("the statistic of all items is NaN, so there is no estimate; check the items")
    generator = np.random.default_rng(seed)
    choices_RC = (generator.integers(len(members), size=len(members)) for _ in range(draws))
    drawn_R = np.array([statistic(np.concatenate([members[c] for c in choice_C])) for choice_C in choices_RC])
    return _estimate(value, drawn_R[~np.isnan(drawn_R)])


def _members(clusters: Sequence[str]) -> list[Index]:
    """The positions of each cluster's items."""
    _, ids_N, sizes_C = np.unique(np.asarray(clusters, dtype=str), return_inverse=True, return_counts=True)
    return np.split(np.argsort(ids_N, kind="stable"), np.cumsum(sizes_C)[:-1])


def _num_items(clusters: Sequence[str]) -> int:
    if not len(clusters):
        raise ValueError("there are no items, so there is no estimate; give at least one")
    return len(clusters)


def _drawn_sums(sums_C2: Floats, draws: int, generator: np.random.Generator) -> Floats:
    """The two sums over each draw of as many clusters as there are.

    Equal clusters are told apart by nothing, so a draw is a count for each distinct pair of sums; where the pairs are few
    (as with right-or-wrong scores) counting is much cheaper than picking clusters.
    """
    kinds_K2, sizes_K = np.unique(sums_C2, axis=0, return_counts=True)
    if len(kinds_K2) <= 32:
        return generator.multinomial(len(sums_C2), sizes_K / len(sums_C2), size=draws) @ kinds_K2
    return np.concatenate([_picked_sums(sums_C2, rows, generator) for rows in _portions(draws, len(sums_C2))])


def _picked_sums(sums_C2: Floats, draws: int, generator: np.random.Generator) -> Floats:
    choice_RC = generator.integers(len(sums_C2), size=(draws, len(sums_C2)), dtype=np.int32)
    return np.stack([column_C[choice_RC].sum(axis=1) for column_C in sums_C2.T], axis=1)


def _portions(draws: int, num_clusters: int) -> Iterator[int]:
    """Splits the draws so that one portion's table of choices stays small in memory."""
    portion = max(1, CELLS_AT_ONCE // num_clusters)
    for start in range(0, draws, portion):
        yield min(portion, draws - start)


def _estimate(value: float, drawn_R: Floats) -> Estimate:
    low, high = np.percentile(drawn_R, PERCENTILES)
    return Estimate(float(value), float(low), float(high))
