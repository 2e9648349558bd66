"""Evaluation on groups that the fit has not seen: leave one group out, fit on the rest, apply to the one left out."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from tenfold.core.errors import ConfigError
from tenfold.evals.judges.judgement import is_positive
from tenfold.evals.judges.record import Agreement

Fitted = TypeVar("Fitted")


def leave_one_out(
    groups: Sequence[str],
    fit: Callable[[list[int]], Fitted],
    apply: Callable[[Fitted, list[int]], Sequence[float]],
) -> list[float]:
    """The probability of each item from a judge that saw no item of its group.

    Args:
        groups: the group of each item, such as the model that wrote the answer.
        fit: from places of items to something fitted on them.
        apply: from what was fitted and places of items to their probabilities.

    Raises:
        ConfigError: there is one group only.
    """
    names = list(dict.fromkeys(groups))
    if len(names) < 2:
        raise ConfigError(f"got {len(names)} group; leaving one out needs at least two")
    probabilities = [0.0] * len(groups)
    for name in names:
        rest = [place for place, group in enumerate(groups) if group != name]
        left_out = [place for place, group in enumerate(groups) if group == name]
        for place, probability in zip(left_out, apply(fit(rest), left_out), strict=True):
            probabilities[place] = float(probability)
    return probabilities


def agreement_by_group(
    groups: Sequence[str], probabilities: Sequence[float], labels: Sequence[bool]
) -> dict[str, Agreement]:
    """How the judgements agree with the labels within each group, in the order of appearance."""
    by_group: dict[str, list[int]] = {}
    for place, group in enumerate(groups):
        by_group.setdefault(group, []).append(place)
    return {
        group: Agreement.of([is_positive(probabilities[i]) for i in places], [labels[i] for i in places])
        for group, places in by_group.items()
    }
