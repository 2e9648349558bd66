"""How many items an evaluation needs before it can answer its question (level .05, power .8 unless told)."""

from math import ceil, sqrt

Z_TWO_SIDED = 1.959963984540054
"""The 97.5 % point of the normal distribution."""
Z_ONE_SIDED = 1.6448536269514722
Z_POWER = 0.8416212335729143
"""The 80 % point of the normal distribution."""


def items_for_half_width(half_width: float, *, proportion: float = 0.5) -> int:
    """Items for which the 95 % interval of a proportion is +- `half_width`: z^2 p (1 - p) / h^2."""
    _check_share("half_width", half_width)
    _check_share("proportion", proportion)
    return _whole(Z_TWO_SIDED**2 * proportion * (1 - proportion) / half_width**2)


def items_for_non_inferiority(discordant: float, margin: float) -> int:
    """Items needed to show that a change without effect costs less than `margin`: 6.18 psi / d^2.

    Args:
        discordant: the share of items on which the two systems differ (psi).
        margin: the largest loss that is accepted, as a share (d).
    """
    _check_share("discordant", discordant)
    _check_share("margin", margin)
    return _whole((Z_ONE_SIDED + Z_POWER) ** 2 * discordant / margin**2)


def items_for_mcnemar(only_first: float, only_second: float) -> int:
    """Items for which McNemar's test finds the difference between two shares of discordant items.

    Raises:
        ValueError: the shares are equal, so there is no difference to find.
    """
    discordant, difference = only_first + only_second, abs(only_first - only_second)
    _check_share("only_first + only_second", discordant)
    if difference == 0:
        raise ValueError(f"both shares are {only_first}: there is no difference to find; give two different shares")
    return _whole((Z_TWO_SIDED * sqrt(discordant) + Z_POWER * sqrt(discordant - difference**2)) ** 2 / difference**2)


def design_effect(cluster_size: float, correlation: float) -> float:
    """By how much clusters of equal size multiply the items needed: 1 + (m - 1) * intraclass correlation."""
    return 1 + (cluster_size - 1) * correlation


def _check_share(name: str, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError(f"{name} is {value}; give a share above 0 and at most 1")


def _whole(items: float) -> int:
    """Rounded up, but not for the last bit of a floating-point number."""
    return ceil(items - 1e-9)
