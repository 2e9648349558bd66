"""A linear judge: TF-IDF of single words and pairs of neighbours, and named flags, in a logistic model with Platt's map.

    score = intercept + sum_t weight_t * tfidf_t + sum_f weight_f * flag_f        probability = platt(score)
    tfidf_t = tf_t * (ln((1 + N) / (1 + N_t)) + 1), scaled to length 1;   tf = count, or 1 + ln(count)

It is kept as JSON and needs numpy alone: nothing is unpickled, and scikit-learn is only there to fit it (`fitting`).
The numbers equal those of scikit-learn's TfidfVectorizer and LogisticRegression.
"""

# T terms, W distinct words in terms, N documents, L tokens of a text
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tenfold.core.config import Config, first_problem
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.evals.statistics import Platt
from tenfold.store import atomic

TOKENS = r"[^\W\d_]+|#+|\d+|[^\w\s]"
"""Words, runs of `#`, numbers, and every other sign by itself."""


@dataclass(frozen=True)
class Features:
    """What a linear judge sees of a case: a text that the caller chose, and named flags."""

    text: str
    flags: Mapping[str, float] = field(default_factory=dict)


class LinearJudge(Config):
    """The fitted model; `read` and `write` keep it as JSON."""

    tokens: str
    """Regular expression of a token; texts are lower-cased first."""
    sublinear: bool
    """Whether a count c weighs 1 + ln(c) instead of c."""
    num_documents: int
    """Documents that were fitted."""
    terms: tuple[str, ...]
    """Words, and pairs of neighbours with one space between them."""
    counts: tuple[int, ...]
    """Documents in which each term occurred."""
    weights: tuple[float, ...]
    """Weight of each term."""
    flags: dict[str, float]
    """Weight of each flag."""
    intercept: float
    """Score of an empty text without flags."""
    platt: Platt
    """From score to probability."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """The judge in a file.

        Raises:
            MissingArtifactError: there is no such file.
            ConfigError: it does not hold a judge.
        """
        if not path.is_file():
            raise MissingArtifactError(f"no judge {str(path)!r}; give the .json file of a fitted judge")
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise ConfigError(f"{path} does not hold a linear judge: {first_problem(error)}") from None

    def write(self, path: Path) -> None:
        """Replaces the file in one step."""
        atomic.write_text(path, self.model_dump_json() + "\n")

    def score(self, features: Features) -> float:
        """Log-odds before Platt's map.

        Raises:
            ConfigError: a flag that the judge was not fitted with, or one of its flags is missing.
        """
        if features.flags.keys() != self.flags.keys():
            got, known = ", ".join(sorted(features.flags)), ", ".join(sorted(self.flags))
            raise ConfigError(f"got the flags {got or 'none'}; the judge was fitted with {known or 'none'}; give these")
        flagged = sum(weight * features.flags[name] for name, weight in self.flags.items())
        return self.intercept + flagged + self._text_score(features.text)

    def probability(self, features: Features) -> float:
        """How probable the positive label is."""
        return float(self.platt.apply(self.score(features)))

    def probabilities(self, cases: Iterable[Features]) -> NDArray[np.float64]:
        """The same of many cases."""
        return self.platt.apply(np.array([self.score(case) for case in cases], dtype=np.float64))

    def strongest(self, number: int) -> list[tuple[str, float]]:
        """The terms and flags of the largest weights, for a page that explains the judge."""
        named = [*zip(self.terms, self.weights, strict=True), *self.flags.items()]
        return sorted(named, key=lambda pair: -abs(pair[1]))[:number]

    def _text_score(self, text: str) -> float:
        places = self._vocabulary.places(self._pattern.findall(text.lower()))
        term_L, count_L = np.unique(places, return_counts=True)
        tf_L = 1 + np.log(count_L) if self.sublinear else count_L
        tfidf_L = tf_L * self._idf_by_term[term_L]
        length = np.sqrt((tfidf_L**2).sum())
        return float(tfidf_L @ self._weight_by_term[term_L] / length) if length else 0.0

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.tokens)

    @cached_property
    def _vocabulary(self) -> "Vocabulary":
        return Vocabulary(self.terms)

    @cached_property
    def _idf_by_term(self) -> NDArray[np.float64]:
        return np.log((1 + self.num_documents) / (1 + np.array(self.counts, dtype=np.float64))) + 1

    @cached_property
    def _weight_by_term(self) -> NDArray[np.float64]:
        return np.array(self.weights, dtype=np.float64)


class _WordIds(dict[str, int]):
    def __missing__(self, word: str) -> int:
        return -1


class Vocabulary:
    """Terms by place: words and pairs, looked up for a whole text at a time."""

    def __init__(self, terms: Sequence[str]) -> None:
        words = sorted({word for term in terms for word in term.split(" ")})
        self._ids = _WordIds({word: number for number, word in enumerate(words)})
        self._size = len(words)
        self._single_W = np.full(self._size + 1, -1)  # the last entry serves the id -1 of an unknown word
        pairs = {}
        for place, term in enumerate(terms):
            ids = [self._ids[word] for word in term.split(" ")]
            if len(ids) == 1:
                self._single_W[ids[0]] = place
            else:
                pairs[ids[0] * self._size + ids[1]] = place
        self._codes = np.array(sorted(pairs), dtype=np.int64)
        self._pair_places = np.array([pairs[code] for code in self._codes.tolist()], dtype=np.int64)

    def places(self, tokens: Sequence[str]) -> NDArray[np.int64]:
        """Places of all known terms in a text, as often as they occur."""
        id_L = np.fromiter(map(self._ids.__getitem__, tokens), dtype=np.int64, count=len(tokens))
        single_L = self._single_W[id_L]
        return np.concatenate([single_L[single_L >= 0], self._pairs(id_L)])

    def _pairs(self, id_L: NDArray[np.int64]) -> NDArray[np.int64]:
        if not len(self._codes):
            return np.zeros(0, dtype=np.int64)
        first, second = id_L[:-1], id_L[1:]
        code = (first * self._size + second)[(first >= 0) & (second >= 0)]
        at = np.minimum(np.searchsorted(self._codes, code), len(self._codes) - 1)
        return self._pair_places[at[self._codes[at] == code]]
