"""Fits the linear stage, and chooses its settings on models and on data sets that the fit has not seen.

The counts of all terms are made once; a fit selects rows, weights and terms from them, which makes the hundreds of
fits of a nested evaluation affordable. Three things keep the judge from learning what a data set is about instead of
how answers speak: each (set, label) cell weighs less the larger it is, terms must occur in several sets, and settings
must hold on unseen sets as well as on unseen models. The share of flagged answers differs widely between sets, so
the threshold stays where the balanced fit puts it; the map to probabilities only stretches.
"""

# N answers, T terms, F flags, K kept terms
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from tenfold.evals.judges.linear import Features, LinearJudge
from tenfold.evals.statistics import Platt, Temperature, kappa
from tenfold.systems.ump.flags import TOKENS

MIN_DOCUMENTS = 5
MIN_IN_SET = 3
"""A term counts as known in a set if this many of its answers hold it."""

Floats = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Choice:
    """Settings of one fit."""

    strength: float
    """Inverse of the L2 penalty."""
    balance: float
    """Answers of a cell of n (set, label) weigh n ** -balance."""
    min_sets: int
    """Terms must be known in this many sets; 0 leaves all terms out."""


CHOICES = tuple(Choice(*each) for each in product((0.1, 0.3, 1.0), (0.5,), (0, 3)))
GROUP_FOLDS = 5
"""Groups are put into this many folds when settings are compared."""


class Corpus:
    """Labelled answers, counted once. `sets` and `groups` name each answer's data set and its model."""

    def __init__(
        self, cases: Sequence[Features], labels: Sequence[bool], sets: Sequence[str], groups: Sequence[str]
    ) -> None:
        self.cases = cases
        self.label_N = np.asarray(labels, dtype=bool)
        self.set_N, self.group_N = np.asarray(sets), np.asarray(groups)
        self.names = sorted(cases[0].flags)
        self.flag_NF = sparse.csr_matrix([[float(case.flags[name]) for name in self.names] for case in cases])
        vectorizer = CountVectorizer(token_pattern=TOKENS, ngram_range=(1, 2), min_df=MIN_DOCUMENTS)
        self.count_NT = sparse.csr_matrix(vectorizer.fit_transform(case.text for case in cases), dtype=np.float64)
        self.terms = np.asarray(vectorizer.get_feature_names_out())

    @property
    def everything(self) -> Places:
        return np.arange(len(self.label_N))


@dataclass(frozen=True)
class Fit:
    """A logistic model over kept terms and flags; `scores` are log-odds before Platt's map."""

    corpus: Corpus
    kept_K: Places
    documents_K: NDArray[np.int64]
    num_documents: int
    model: LogisticRegression

    @staticmethod
    def on(corpus: Corpus, rows: Places, choice: Choice) -> "Fit":
        kept_K, documents_K = _kept_terms(corpus, rows, choice.min_sets)
        unfitted = LogisticRegression(C=choice.strength, max_iter=1000)
        fit = Fit(corpus, kept_K, documents_K, len(rows), unfitted)
        fit.model.fit(fit._inputs(rows), corpus.label_N[rows], sample_weight=_weights(corpus, rows, choice.balance))
        return fit

    def scores(self, rows: Places) -> Floats:
        return np.asarray(self.model.decision_function(self._inputs(rows)), dtype=np.float64)

    def _inputs(self, rows: Places) -> sparse.csr_matrix:
        tf_NK = sparse.csr_matrix(self.corpus.count_NT[rows][:, self.kept_K])
        tf_NK.data = 1 + np.log(tf_NK.data)
        idf_K = np.log((1 + self.num_documents) / (1 + self.documents_K)) + 1
        tfidf_NK = sparse.csr_matrix(tf_NK.multiply(idf_K))
        length_N = np.sqrt(np.asarray(tfidf_NK.multiply(tfidf_NK).sum(axis=1)).ravel())
        unit_NK = sparse.diags(1 / np.where(length_N > 0, length_N, 1)) @ tfidf_NK
        return sparse.csr_matrix(sparse.hstack([unit_NK, self.corpus.flag_NF[rows]]))

    def as_judge(self, platt: Platt) -> LinearJudge:
        """The same model as a judge that is kept as JSON."""
        weights: list[float] = [round(float(weight), 9) for weight in self.model.coef_[0]]
        return LinearJudge(
            tokens=TOKENS,
            sublinear=True,
            num_documents=self.num_documents,
            terms=tuple(self.corpus.terms[self.kept_K].tolist()),
            counts=tuple(self.documents_K.tolist()),
            weights=tuple(weights[: len(self.kept_K)]),
            flags=dict(zip(self.corpus.names, weights[len(self.kept_K) :], strict=True)),
            intercept=round(float(np.ravel(self.model.intercept_)[0]), 9),
            platt=platt,
        )


def held_out_scores(corpus: Corpus, rows: Places, choice: Choice, folds: Sequence[Any]) -> Floats:
    """The score of each of these rows from a fit on the rows of all other folds; `folds` names the fold of each row."""
    fold_N, score_N = np.asarray(folds), np.zeros(len(rows))
    for fold in np.unique(fold_N):
        inside = fold_N == fold
        score_N[inside] = Fit.on(corpus, rows[~inside], choice).scores(rows[inside])
    return score_N


def choose(corpus: Corpus, rows: Places, choices: Sequence[Choice] = CHOICES) -> tuple[Choice, Floats]:
    """The settings that hold best on unseen groups and unseen sets, and the scores of the unseen groups under them."""
    tried = [(choice, held_out_scores(corpus, rows, choice, _group_folds(corpus, rows))) for choice in choices]
    if len(set(corpus.set_N[rows].tolist())) < 2:
        return max(tried, key=lambda each: _kappa(corpus, rows, each[1]))
    on_sets = {choice: held_out_scores(corpus, rows, choice, corpus.set_N[rows].tolist()) for choice in choices}
    return max(tried, key=lambda each: _kappa(corpus, rows, each[1]) + _kappa(corpus, rows, on_sets[each[0]]))


def fit_judge(corpus: Corpus, rows: Places, choices: Sequence[Choice] = CHOICES) -> tuple[LinearJudge, Choice]:
    """Settings, weights and the map to probabilities, from these rows alone."""
    choice, score_N = choose(corpus, rows, choices)
    spread = Temperature.fit(np.stack([np.zeros(len(rows)), score_N], axis=1), corpus.label_N[rows])
    stretch = Platt(slope=1 / spread.temperature, intercept=0.0)
    return Fit.on(corpus, rows, choice).as_judge(stretch), choice


def _group_folds(corpus: Corpus, rows: Places) -> list[int]:
    names = sorted(set(corpus.group_N[rows].tolist()))
    number = {name: place % GROUP_FOLDS for place, name in enumerate(names)}
    return [number[name] for name in corpus.group_N[rows].tolist()]


def _kappa(corpus: Corpus, rows: Places, score_N: Floats) -> float:
    return kappa((score_N >= 0).tolist(), corpus.label_N[rows].tolist())


def _kept_terms(corpus: Corpus, rows: Places, min_sets: int) -> tuple[Places, NDArray[np.int64]]:
    if not min_sets:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.int64)
    present_NT = sparse.csr_matrix(corpus.count_NT[rows] > 0, dtype=np.int64)
    set_N = corpus.set_N[rows]
    in_set = [_documents(present_NT, set_N == name) >= MIN_IN_SET for name in sorted(set(set_N.tolist()))]
    documents_T = _documents(present_NT, np.ones(len(rows), dtype=bool))
    kept_K = np.flatnonzero((np.sum(in_set, axis=0) >= min_sets) & (documents_T >= MIN_DOCUMENTS))
    return kept_K, documents_T[kept_K]


def _documents(present_NT: sparse.csr_matrix, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.asarray(present_NT[rows].sum(axis=0)).ravel()


def _weights(corpus: Corpus, rows: Places, balance: float) -> Floats:
    cells: list[Any] = list(zip(corpus.set_N[rows].tolist(), corpus.label_N[rows].tolist(), strict=True))
    sizes = Counter(cells)
    weight_N = np.array([sizes[cell] ** -balance for cell in cells])
    return weight_N / weight_N.mean()
