"""The baselines of the paper as points of one configuration, and the sizes that make them equal.

A rung says how many experts there are, how many a token gets, and how large each is beside a standard feed-forward layer
of inner width I. `solve` turns that into whole sizes and tells by how much they miss. Tables 1 and 2, arXiv 2401.06066.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tenfold.core.errors import ConfigError
from tenfold.core.registry import Registry

LARGEST_RESIDUAL = 0.01
"""By how much a rung's width may miss its nominal one."""


@dataclass(frozen=True)
class Rung:
    """Experts in units of a standard feed-forward layer; no routed experts mean one dense network."""

    title: str
    shared: int
    routed: int
    chosen: int
    size: float
    """Of one expert."""
    router: str = "topk"

    @property
    def total_ffns(self) -> float:
        """Width of all experts, in standard layers."""
        return (self.shared + self.routed) * self.size

    @property
    def activated_ffns(self) -> float:
        """Width that a token sees (`a` of the FLOPs formula)."""
        return (self.shared + self.chosen) * self.size


RUNGS = {
    "dense": Rung("Dense", 1, 0, 0, 1.0),
    "hash": Rung("Hash layer", 0, 16, 1, 1.0, "hash"),
    "switch": Rung("Switch", 0, 16, 1, 1.0),
    "gshard": Rung("GShard", 0, 16, 2, 1.0),
    "shared": Rung("GShard + a shared expert", 1, 15, 1, 1.0),
    "fine": Rung("+ experts of half the size", 1, 31, 3, 0.5),
    "deepseekmoe": Rung("DeepSeekMoE", 1, 63, 7, 0.25),
    "deepseekmoe-2-shared": Rung("DeepSeekMoE, 2 shared", 2, 62, 6, 0.25),
    "deepseekmoe-4-shared": Rung("DeepSeekMoE, 4 shared", 4, 60, 4, 0.25),
    "half": Rung("DeepSeekMoE, half activated", 1, 63, 3, 0.25),
    "gshard-x1.2": Rung("GShard x1.2", 0, 16, 2, 1.2),
    "gshard-x1.5": Rung("GShard x1.5", 0, 16, 2, 1.5),
    "dense-x4": Rung("Dense x4", 1, 0, 0, 4.0),
    "dense-x16": Rung("Dense x16", 1, 0, 0, 16.0),
}


@dataclass(frozen=True)
class Solution:
    """Configuration keys of a rung, and its widths beside the nominal ones."""

    keys: Mapping[str, Any]
    total_ffns: float
    activated_ffns: float
    residual: float
    """The larger of the two relative misses; positive means larger than nominal."""


def rung(name: str) -> Rung:
    """A rung by name.

    Raises:
        UnknownNameError: no such rung; the message gives the nearest names.
    """
    Registry("rung", dict.fromkeys(RUNGS, "")).check(name)
    return RUNGS[name]


def solve(point: Rung, inner: int, *, align: int = 8) -> Solution:
    """Sizes of a rung over standard layers of inner width `inner` (3 * d * inner weights), in multiples of `align`.

    Raises:
        ConfigError: rounding would change the width by more than 1 %; the message gives the next width that fits.
    """
    size = _rounded(point.size * inner, align)
    residual = size / (point.size * inner) - 1
    if abs(residual) > LARGEST_RESIDUAL:
        raise ConfigError(
            f"an inner width of {inner} gives experts of {point.size * inner:g}, {abs(residual):.1%} off a multiple of "
            f"{align}; the next inner width that fits is {_next_fitting(point, inner, align)}"
        )
    shared, routed = point.shared, point.routed
    keys = {
        "intermediate_size": size,
        "moe_intermediate_size": size,
        "n_routed_experts": routed or None,
        "n_shared_experts": shared if routed else None,
        "num_experts_per_tok": point.chosen or 1,
        "first_k_dense_replace": 0,
        "router": point.router,
    }
    return Solution(keys, (shared + routed) * size / inner, (shared + point.chosen) * size / inner, residual)


def _rounded(size: float, align: int) -> int:
    return max(1, round(size / align)) * align


def _next_fitting(point: Rung, inner: int, align: int) -> int:
    wider = inner + 1
    while abs(_rounded(point.size * wider, align) / (point.size * wider) - 1) > LARGEST_RESIDUAL:
        wider += 1
    return wider
