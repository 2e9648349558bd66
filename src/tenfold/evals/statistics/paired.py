"""Two systems on the same items: exact McNemar for single items, sign flips for clusters, Holm for many tests."""

# C clusters, R draws
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tenfold.evals.statistics.columns import column

EXACT_CLUSTERS = 16
NUM_DRAWS = 10_000
DRAWS_AT_ONCE = 1_000


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test: min(1, 2 * sum_{k <= min(b, c)} C(b + c, k) / 2^(b + c)); 1 where b + c = 0.

    Args:
        only_first: items that only the first system got right (b).
        only_second: items that only the second got right (c).

    Raises:
        ValueError: a count is negative.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts of items cannot be negative; got {only_first} and {only_second}")
    only_first, only_second = int(only_first), int(only_second)  # numpy's integers overflow below
    num_discordant = only_first + only_second
    ways, tail = 1, 0
    for k in range(min(only_first, only_second) + 1):
        tail += ways
        ways = ways * (num_discordant - k) // (k + 1)
    return min(1.0, 2 * tail / 2**num_discordant)


def sign_flip(differences: ArrayLike, clusters: Sequence[str], *, seed: int = 0) -> float:
    """Two-sided p that the mean difference is 0: the signs of whole clusters are flipped.

    Exact (every assignment of signs) for at most 16 clusters whose differences do not cancel; beyond that 10,000 seeded
    draws with the observed one counted among them, so p is never 0.

    Args:
        differences: first minus second, one per item.
        clusters: the cluster of each item; items of one cluster share a sign.

    Raises:
        ValueError: there are no items, the lengths differ, or a difference is missing.
    """
    if not len(clusters):
        raise ValueError("there are no items, so there is nothing to test; give at least one")
    differences_N = column(differences, "differences", length=len(clusters))
    ids_N = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1]
    sums_C = np.bincount(ids_N, weights=differences_N).astype(np.float64)
    tolerance = 1e-9 * np.abs(sums_C).sum()
    sums_C = sums_C[np.abs(sums_C) > tolerance]  # a flipped zero changes nothing
    if not len(sums_C):
        return 1.0
    threshold = abs(sums_C.sum()) - tolerance
    if len(sums_C) <= EXACT_CLUSTERS:
        return float(np.mean(np.abs(_all_sign_sums(sums_C)) >= threshold))
    return _sampled_p(sums_C, threshold, np.random.default_rng(seed))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p of each named test, in the order given; compare each with .05 to bound any false alarm by .05.

    Raises:
        ValueError: a p is not between 0 and 1.
    """
    odd = {name: p for name, p in p_values.items() if not 0 <= p <= 1}
    if odd:
        raise ValueError(f"p lies between 0 and 1; got {odd}; leave tests out that could not be made")
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def _all_sign_sums(sums_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum under each assignment of signs with the first sign fixed; the other half are their negatives."""
    totals = sums_C[:1]
    for cluster_sum in sums_C[1:]:
        totals = np.concatenate([totals + cluster_sum, totals - cluster_sum])
    return totals


def _sampled_p(sums_C: NDArray[np.float64], threshold: float, generator: np.random.Generator) -> float:
    num_extreme = 0
    for _ in range(NUM_DRAWS // DRAWS_AT_ONCE):
        flips_RC = generator.integers(2, size=(DRAWS_AT_ONCE, len(sums_C)), dtype=np.int8)
        totals_R = sums_C.sum() - 2 * (flips_RC @ sums_C)
        num_extreme += int(np.sum(np.abs(totals_R) >= threshold))
    return (1 + num_extreme) / (1 + NUM_DRAWS)
