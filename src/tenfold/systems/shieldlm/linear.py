"""The linear guard: TF-IDF of words and of character runs in a logistic regression. It is the floor, and a cheap first look.

    score = sigmoid(intercept + sum_t weight_t * tfidf_t);   tf = 1 + ln(count), terms of two texts or more, C = 4

Kept as an .npz of numbers beside a .json of terms; nothing is unpickled.
"""

# N texts, T terms
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store import atomic

Lang = Literal["en", "zh"]
VIEWS = {
    "en": ({"analyzer": "word", "ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (2, 5)}),
    "zh": ({"analyzer": "char", "ngram_range": (1, 3)},),
}
INVERSE_PENALTY = 4.0


class LinearGuard:
    """p(unsafe) of a text. `fit` makes one, `write` and `read` keep it."""

    def __init__(
        self, lang: Lang, views: Sequence[TfidfVectorizer], weight_T: NDArray[np.float64], intercept: float
    ) -> None:
        self.lang: Lang = lang
        self._views = list(views)
        self._weight_T = weight_T
        self._intercept = intercept

    @classmethod
    def fit(cls, texts: Sequence[str], unsafe: Sequence[bool], lang: Lang) -> Self:
        """Learns from labelled texts.

        Raises:
            ConfigError: all labels are equal.
        """
        if len(set(unsafe)) < 2:
            raise ConfigError(f"all {len(unsafe)} labels are equal; give safe and unsafe texts")
        views = [TfidfVectorizer(sublinear_tf=True, min_df=2, **view) for view in VIEWS[lang]]
        features = csr_matrix(hstack([view.fit_transform(texts) for view in views]))
        fitted = LogisticRegression(C=INVERSE_PENALTY, solver="liblinear", random_state=0).fit(features, np.asarray(unsafe))
        return cls(lang, views, fitted.coef_[0], float(fitted.intercept_[0]))

    def scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """p(unsafe) of each text, [N]."""
        if not texts:
            return np.zeros(0)
        features = csr_matrix(hstack([view.transform(texts) for view in self._views]))
        return 1 / (1 + np.exp(-(features @ self._weight_T + self._intercept)))

    def write(self, folder: Path) -> None:
        """Writes linear.json (language and terms) and linear.npz (weights) into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        terms = [view.get_feature_names_out().tolist() for view in self._views]
        idf = {f"idf{place}": view.idf_ for place, view in enumerate(self._views)}
        arrays = {"weight": self._weight_T, "intercept": np.asarray(self._intercept), **idf}
        np.savez_compressed(folder / "linear.npz", allow_pickle=False, **arrays)
        atomic.write_text(folder / "linear.json", json.dumps({"lang": self.lang, "terms": terms}, ensure_ascii=False))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The guard in a folder; MissingArtifactError if it holds none."""
        if not (folder / "linear.json").is_file() or not (folder / "linear.npz").is_file():
            raise MissingArtifactError(f"no linear guard in {str(folder)!r}; give a folder with linear.json and linear.npz")
        kept = json.loads((folder / "linear.json").read_text(encoding="utf-8"))
        with np.load(folder / "linear.npz", allow_pickle=False) as numbers:
            views = [
                _view(options, terms, numbers[f"idf{place}"])
                for place, (options, terms) in enumerate(zip(VIEWS[kept["lang"]], kept["terms"], strict=True))
            ]
            return cls(kept["lang"], views, numbers["weight"], float(numbers["intercept"]))


def _view(options: dict[str, object], terms: Sequence[str], idf_T: NDArray[np.float64]) -> TfidfVectorizer:
    view = TfidfVectorizer(sublinear_tf=True, vocabulary={term: place for place, term in enumerate(terms)}, **options)  # pyright: ignore
    view.idf_ = idf_T
    return view
