"""ROUGE-1, -2, -L and -Lsum as F measures (Lin 2004): a text and its reference come in, shares come out.

Words are folded letters and digits; English words are stemmed by their commonest endings, which is coarser than
Porter's stemmer.
"""

import re
from collections import Counter
from collections.abc import Sequence

from tenfold.systems.slotsum.tokens import words

ENDING = re.compile(r"(?:ing|edly|ed|es|s|ly)$")
SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s+|\n")


def rouge(text: str, reference: str) -> dict[str, float]:
    """The four scores, each in [0, 1]; 0 where either side has no words."""
    said, wanted = stems(text), stems(reference)
    return {
        "rouge1": _grams(said, wanted, 1),
        "rouge2": _grams(said, wanted, 2),
        "rougeL": _f_measure(longest_common(said, wanted), len(said), len(wanted)),
        "rougeLsum": _summary(text, reference),
    }


def stems(text: str) -> list[str]:
    """The words of a text without endings; short words keep theirs."""
    return [ENDING.sub("", word) if len(word) > 4 else word for word in words(text)]


def _grams(said: Sequence[str], wanted: Sequence[str], size: int) -> float:
    bags = [Counter(tuple(side[n : n + size]) for n in range(len(side) - size + 1)) for side in (said, wanted)]
    return _f_measure((bags[0] & bags[1]).total(), bags[0].total(), bags[1].total())


def _f_measure(shared: int, said: int, wanted: int) -> float:
    return 2 * shared / (said + wanted) if said and wanted else 0.0


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    return len(_common_places(first, second))


def _common_places(first: Sequence[str], second: Sequence[str]) -> list[int]:
    """Places in `second` of one longest common subsequence."""
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for row, word in enumerate(first, start=1):
        for column, other in enumerate(second, start=1):
            longer = max(table[row - 1][column], table[row][column - 1])
            table[row][column] = table[row - 1][column - 1] + 1 if word == other else longer
    places: list[int] = []
    row, column = len(first), len(second)
    while row and column:
        if first[row - 1] == second[column - 1]:
            places.append(column - 1)
            row, column = row - 1, column - 1
        elif table[row - 1][column] >= table[row][column - 1]:
            row -= 1
        else:
            column -= 1
    return places[::-1]


def _summary(text: str, reference: str) -> float:
    """Union of the common subsequences of each reference sentence with every sentence of the text; no word counts twice."""
    said = [stems(sentence) for sentence in SENTENCE_END.split(text)]
    wanted = [stems(sentence) for sentence in SENTENCE_END.split(reference)]
    left = [Counter(word for sentence in side for word in sentence) for side in (said, wanted)]
    totals = [bag.total() for bag in left]
    hits = 0
    for sentence in wanted:
        union = {place for other in said for place in _common_places(other, sentence)}
        for place in sorted(union):
            word = sentence[place]
            if left[0][word] > 0 and left[1][word] > 0:
                hits += 1
                left[0][word] -= 1
                left[1][word] -= 1
    return _f_measure(hits, totals[0], totals[1])
