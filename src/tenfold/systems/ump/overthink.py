"""How much longer do answers to flawed problems get, and how soon do they say that something is wrong?

Lengths are of one kind at a time: words, visible tokens or reasoning tokens, never mixed (ump.md section 6). A model that
notices a flaw at once has an inflation below 1; one that searches for a way out has one far above it.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from statistics import median
from typing import Any

from tenfold.evals.statistics import cluster_mean, cluster_ratio
from tenfold.systems.ump.cues import first_cue


@dataclass(frozen=True)
class Length:
    """How long one answer is."""

    size: int
    """In words or tokens."""
    sound: bool
    """Whether its problem is."""
    pair: str
    """Shared by a flawed problem and its sound partner."""
    cluster: str
    """What is resampled together."""


def num_words(answer: str) -> int:
    """Words between white space, reasoning included where the text holds it."""
    return len(answer.split())


def inflation(lengths: Sequence[Length]) -> dict[str, Any] | None:
    """mean length on flawed problems / mean length on sound ones, and the geometric mean of the pairs' ratios.

    None where one side has no answer of any length. `pairs` counts those with two answers that are not empty; `paired` is
    None without any.
    """
    flawed = [length for length in lengths if not length.sound]
    sound = [length for length in lengths if length.sound]
    if not any(length.size for length in flawed) or not any(length.size for length in sound):
        return None
    ratio = cluster_ratio(
        [0.0 if length.sound else length.size / len(flawed) for length in lengths],
        [length.size / len(sound) if length.sound else 0.0 for length in lengths],
        [length.cluster for length in lengths],
    )
    partners = {length.pair: length.size for length in sound}
    logs = {
        length.pair: (log(length.size / partners[length.pair]), length.cluster)
        for length in flawed
        if length.size and partners.get(length.pair)
    }
    return {"ratio_of_means": asdict(ratio), "paired": _paired(list(logs.values())), "pairs": len(logs)}


def _paired(logs: Sequence[tuple[float, str]]) -> dict[str, float] | None:
    if not logs:
        return None
    mean = cluster_mean([value for value, _ in logs], [cluster for _, cluster in logs])
    return {name: exp(value) for name, value in asdict(mean).items()}


def first_flags(answers: Sequence[str]) -> dict[str, Any] | None:
    """Where answers first say that something is wrong: `place` is 0 at the beginning and 1 at the end; medians.

    `with_cue` counts the answers in which such words are found at all; None where there is none.
    """
    found = [(answer, start) for answer in answers if (start := first_cue(answer)) is not None]
    if not found:
        return None
    return {
        "with_cue": len(found),
        "place": median(start / len(answer) for answer, start in found),
        "words_after": median(num_words(answer[start:]) for answer, start in found),
    }
