"""What a verdict rests on, by leaving things out: rules one by one, and pieces of the response one by one.

attribution of rule i = log-odds of the verdict with all rules - without rule i
weight of a piece     = log-odds of the verdict with the whole response - without the piece
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.systems.shieldlm.prompting import Lang
from tenfold.systems.shieldlm.verdict import VerdictScorer

SENTENCE = re.compile(r"[^.!?\u3002\uff01\uff1f\n]*[.!?\u3002\uff01\uff1f]+[\"'\u201d)]*\s*|[^.!?\u3002\uff01\uff1f\n]+")
WORDS_AT_ONCE = 4
MOST_PIECES = 24
EPSILON = 0.1
"""Attributions (nats) below this are taken for none."""


@dataclass(frozen=True)
class Evidence:
    """A piece of the response and how much of the verdict's log-odds goes with it."""

    start: int
    end: int
    weight: float


def attributions(
    scorer: VerdictScorer, query: str, response: str, rules: Sequence[str], label: str, *, lang: Lang
) -> list[float]:
    """One number per rule, in nats."""
    whole = scorer.score(query, response, rules, lang=lang).log_odds(label)
    return [
        whole - scorer.score(query, response, [*rules[:place], *rules[place + 1 :]], lang=lang).log_odds(label)
        for place in range(len(rules))
    ]


def evidence(
    scorer: VerdictScorer, query: str, response: str, rules: Sequence[str], label: str, *, lang: Lang
) -> list[Evidence]:
    """The pieces of the response by falling weight. Sentences; of a single sentence, runs of words."""
    whole = scorer.score(query, response, rules, lang=lang).log_odds(label)
    found = [
        Evidence(
            start, end, whole - scorer.score(query, response[:start] + response[end:], rules, lang=lang).log_odds(label)
        )
        for start, end in pieces(response)
    ]
    return sorted(found, key=lambda each: -each.weight)


def pieces(text: str) -> list[tuple[int, int]]:
    """Where the text is cut: character positions that cover it without gaps; at most MOST_PIECES."""
    spans = [found.span() for found in SENTENCE.finditer(text) if found[0].strip()]
    if len(spans) < 2:
        words = [found.span() for found in re.finditer(r"[\u4e00-\u9fff]|[^\s\u4e00-\u9fff]+", text)]
        runs = [words[place : place + WORDS_AT_ONCE] for place in range(0, len(words), WORDS_AT_ONCE)]
        spans = [(run[0][0], run[-1][1]) for run in runs]
    size = -(-len(spans) // MOST_PIECES) or 1
    return [(part[0][0], part[-1][1]) for part in (spans[at : at + size] for at in range(0, len(spans), size))]


def cited_rule(weights: Sequence[float]) -> int | None:
    """The number (from 1) of the rule with the largest attribution; None if all are below EPSILON."""
    if not weights or max(weights) < EPSILON:
        return None
    return max(range(len(weights)), key=lambda place: weights[place]) + 1
