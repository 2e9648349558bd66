"""Does a template harm what was right before? Tango's score interval on the same sound problems (ump.md section 6).

The difference is accuracy under the new template minus accuracy under the old one. It is "not harmed" where its one-sided
95 % lower bound lies above -margin, "harmed" where the upper bound lies below 0, else "inconclusive", with the number of
items that would settle it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tenfold.evals.statistics import non_inferiority

MARGIN = 0.02
"""Two points of accuracy."""


def harm_test(before: Sequence[bool], after: Sequence[bool], *, margin: float = MARGIN) -> dict[str, Any] | None:
    """The verdict on paired outcomes, one of each list per problem; None where there is no problem.

    `lower` and `upper` bound the difference, `gained` and `lost` count the problems that only one of both got right.

    Raises:
        ValueError: the lists differ in length, or the margin is not between 0 and 1.
    """
    pairs = list(zip(before, after, strict=True))
    if not pairs:
        return None
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    verdict = non_inferiority(gained, lost, len(pairs), margin)
    return {"n": len(pairs), "gained": gained, "lost": lost, "margin": margin, **asdict(verdict)}
