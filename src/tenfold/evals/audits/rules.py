"""Blind rules that need no training: how an option is set, how long, how rare, how alike to the others it is."""

# N items, K options, U distinct option texts, V words
import re
from collections import Counter
from itertools import combinations
from math import log

import numpy as np

from tenfold.evals.audits.features import bag, content_words
from tenfold.evals.audits.items import Deck, Floats

MARK = re.compile(r"[^\w\s]")
ODD_FORMAT = re.compile(r"\s\s|[\t\n\r\u00a0\u200b\ufeff]|\s[.,;:!?]|[\u201c\u201d\u2018\u2019]")


def no_leading_space(text: str) -> float:
    return -float(text[:1].isspace())


def no_trailing_space(text: str) -> float:
    return -float(text[-1:].isspace())


def no_odd_format(text: str) -> float:
    """Fewest double spaces, line breaks, invisible characters, spaces before a mark, curly quotes."""
    return -len(ODD_FORMAT.findall(text.strip()))


def shortest(text: str) -> float:
    return -len(text.strip())


def longest(text: str) -> float:
    return len(text.strip())


def fewest_marks(text: str) -> float:
    return -len(MARK.findall(text))


def most_marks(text: str) -> float:
    return len(MARK.findall(text))


def ends_with_full_stop(text: str) -> float:
    return float(text.rstrip().endswith((".", "。")))


def rarest(deck: Deck) -> Floats:
    """The option whose stripped, lower-case text occurs least often in the file."""
    times_U = np.bincount(deck.ids_NK[deck.exists_NK], minlength=len(deck.texts))
    times: Counter[str] = Counter()
    for text, number in zip(deck.texts, times_U.tolist(), strict=True):
        times[text.strip().lower()] += number
    return deck.spread([-times[text.strip().lower()] for text in deck.texts])


def nearest_length(deck: Deck) -> Floats:
    """The option whose log-length is nearest to the mean of its item's."""
    logs_NK = deck.spread([log(1 + len(text.strip())) for text in deck.texts])
    sums_N1 = np.where(deck.exists_NK, logs_NK, 0).sum(axis=1, keepdims=True)
    return -np.abs(logs_NK - sums_N1 / deck.exists_NK.sum(axis=1, keepdims=True))


def medoid(deck: Deck) -> Floats:
    """The option most like the others: the summed Jaccard index of its content words and each other option's."""
    words_UV = deck.kept("content words", lambda texts: bag(texts, content_words))
    sizes_U = words_UV.sum(axis=1)
    likeness_NK = np.where(deck.exists_NK, 0.0, -np.inf)
    for first, second in combinations(range(deck.ids_NK.shape[1]), 2):
        rows_N = np.flatnonzero(deck.exists_NK[:, second])
        a_N, b_N = deck.ids_NK[rows_N, first], deck.ids_NK[rows_N, second]
        common_N = words_UV[a_N].multiply(words_UV[b_N]).sum(axis=1)
        jaccard_N = common_N / np.maximum(sizes_U[a_N] + sizes_U[b_N] - common_N, 1)
        likeness_NK[rows_N, first] += jaccard_N
        likeness_NK[rows_N, second] += jaccard_N
    return likeness_NK


def outlier(deck: Deck) -> Floats:
    """The option least like the others."""
    return np.where(deck.exists_NK, -medoid(deck), -np.inf)


def question_overlap(deck: Deck) -> Floats:
    """The option of whose content words the largest share occurs in the question."""
    words_U = [frozenset(content_words(text)) for text in deck.texts]
    scores_NK = np.full(deck.ids_NK.shape, -np.inf)
    for row, item in enumerate(deck.items):
        asked = frozenset(content_words(item.question))
        own = [words_U[text] for text in deck.ids_NK[row, : len(item.options)]]
        scores_NK[row, : len(own)] = [len(asked & option) / max(1, len(option)) for option in own]
    return scores_NK
