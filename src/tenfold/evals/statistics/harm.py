"""Does a change harm? Non-inferiority of two paired proportions by Tango's score interval.

n items, b right only with the change, c right only without it; the difference of accuracies is (b - c) / n. Tango's bound
is the difference D at which the score statistic reaches z:
    (b - c - nD) / sqrt(n (2q + D (1 - D))) = z,   q = (sqrt(B^2 - 4AC) - B) / (2A)
    A = 2n, B = -b - c + (2n - b + c) D, C = -c D (1 - D)
It keeps its level with few or no discordant items, where the usual interval has no width.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Literal

from tenfold.evals.statistics.sample_sizes import items_for_non_inferiority

Z_ONE_SIDED = 1.6448536269514722
"""The 95 % point of the normal distribution."""


@dataclass(frozen=True)
class NonInferiority:
    """The verdict on a change, the one-sided 95 % bounds of its effect, and the items a clear verdict needs."""

    verdict: Literal["not harmed", "harmed", "inconclusive"]
    lower: float
    upper: float
    needed: int | None
    """About how many items would settle it; None where it is settled."""


def tango_lower(b: int, c: int, n: int, *, z: float = Z_ONE_SIDED) -> float:
    """Tango's lower bound of (b - c) / n.

    Raises:
        ValueError: b + c exceeds n, or n is 0.
    """
    if min(b, c) < 0 or n < 1 or b + c > n:
        raise ValueError(f"got b={b}, c={c}, n={n}; b and c count items among n, so b + c <= n and n >= 1")
    low, high = -1.0, (b - c) / n
    while high - low > 1e-12:
        middle = (low + high) / 2
        if _score(b, c, n, middle) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def tango_upper(b: int, c: int, n: int, *, z: float = Z_ONE_SIDED) -> float:
    """Tango's upper bound of (b - c) / n, which is the lower bound of the opposite difference, negated."""
    return -tango_lower(c, b, n, z=z)


def non_inferiority(b: int, c: int, n: int, margin: float) -> NonInferiority:
    """Whether a change costs less than `margin` (a share, .02 for two points).

    "not harmed": the lower bound is above -margin, so any loss is smaller than that, even where one is certain.
    "harmed": otherwise, the upper bound is below 0. "inconclusive": neither.

    Raises:
        ValueError: the margin is not between 0 and 1, or the counts are impossible.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin is {margin}; give a share between 0 and 1, such as 0.02 for two points")
    lower, upper = tango_lower(b, c, n), tango_upper(b, c, n)
    if lower > -margin:
        return NonInferiority("not harmed", lower, upper, None)
    if upper < 0:
        return NonInferiority("harmed", lower, upper, None)
    discordant = max(b + c, 1) / n
    return NonInferiority("inconclusive", lower, upper, max(n + 1, items_for_non_inferiority(discordant, margin)))


def _score(b: int, c: int, n: int, difference: float) -> float:
    """Tango's statistic for the hypothesis that the true difference is `difference`; it falls as that rises."""
    numerator = b - c - n * difference
    variance = n * (2 * _only_old(b, c, n, difference) + difference * (1 - difference))
    if numerator <= 0:
        return 0.0
    return numerator / sqrt(variance) if variance > 0 else float("inf")


def _only_old(b: int, c: int, n: int, difference: float) -> float:
    """The likeliest share of "right only without the change", given the difference (q above)."""
    two_a = 4 * n
    half_b = -b - c + (2 * n - b + c) * difference
    product = -c * difference * (1 - difference)
    return (sqrt(max(0.0, half_b**2 - 2 * two_a * product)) - half_b) / two_a
