"""How alike two texts are: the cosine of their weighted words (deepeval.md section 4).

Words are `[a-z']+` of the lower-cased text without 36 function words; a word's weight in a text is
(1 + ln tf) * ln((n + 1) / (df + 1/2)), with n texts and df of them holding the word; each vector has length 1.
"""

# N texts, V words of the vocabulary
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

ARTICLES_AND_LINKS = {"a", "an", "the", "and", "or", "but", "of", "to", "in", "on", "at", "by", "for", "with", "from", "as"}
FORMS_OF_BE = {"is", "are", "was", "were", "be", "been"}
PRONOUNS = {"it", "its", "this", "that", "these", "those", "he", "she", "they", "his", "her", "their", "who", "which"}
FUNCTION_WORDS = ARTICLES_AND_LINKS | FORMS_OF_BE | PRONOUNS
WORD = re.compile(r"[a-z']+")


def words(text: str) -> list[str]:
    """The words of a text in order, without function words."""
    return [word for word in WORD.findall(text.lower()) if word not in FUNCTION_WORDS]


@dataclass(frozen=True)
class Weights:
    """How many texts hold each word; a word that none holds counts as the rarest."""

    num_texts: int
    num_holding: dict[str, int]

    @staticmethod
    def of(texts: Sequence[str]) -> "Weights":
        return Weights(len(texts), dict(Counter(word for text in texts for word in set(words(text)))))

    def vector(self, text: str) -> dict[str, float]:
        """A text's words and their weights, of length 1; empty where there are no words."""
        raw = {word: (1 + log(count)) * self._rarity(word) for word, count in Counter(words(text)).items()}
        length = sum(weight * weight for weight in raw.values()) ** 0.5
        return {word: weight / length for word, weight in raw.items()} if length else {}

    def _rarity(self, word: str) -> float:
        return log((self.num_texts + 1) / (self.num_holding.get(word, 0) + 0.5))

    def matrix(self, texts: Iterable[str]) -> csr_array:
        """One row per text; the columns are the words of these texts in the order in which they come."""
        vectors = [self.vector(text) for text in texts]
        column = {word: place for place, word in enumerate(dict.fromkeys(word for vector in vectors for word in vector))}
        ends = np.cumsum([0, *(len(vector) for vector in vectors)])
        columns = [column[word] for vector in vectors for word in vector]
        values = [weight for vector in vectors for weight in vector.values()]
        return csr_array((values, columns, ends), shape=(len(vectors), max(1, len(column))), dtype=np.float64)

    def cosine(self, first: str, second: str) -> float:
        """Between 0 (no word in common) and 1."""
        return _dot(self.vector(first), self.vector(second))


def cosine_matrix(texts: Sequence[str]) -> NDArray[np.float64]:
    """The cosine of every pair of texts, their words weighted over these texts."""
    matrix_NV = Weights.of(texts).matrix(texts)
    return (matrix_NV @ matrix_NV.T).toarray()


def distractor_cosines(weights: Weights, questions: Iterable[tuple[Sequence[str], int]]) -> list[float]:
    """The cosine of the right option with each distractor, over questions given as (options, place of the right one)."""
    vectors: dict[str, dict[str, float]] = {}
    cosines = []
    for options, gold in questions:
        for text in options:
            if text not in vectors:
                vectors[text] = weights.vector(text)
        right = vectors[options[gold]]
        cosines += [_dot(right, vectors[text]) for place, text in enumerate(options) if place != gold]
    return cosines


def _dot(first: dict[str, float], second: dict[str, float]) -> float:
    return sum(weight * second[word] for word, weight in first.items() if word in second)
