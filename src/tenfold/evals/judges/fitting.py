"""Fits a linear judge with scikit-learn: TF-IDF, L2 logistic regression, Platt's map on scores of held-out folds."""

# N documents, T terms, F flags
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.evals.judges.linear import TOKENS, Features, LinearJudge
from tenfold.evals.statistics import Platt

DECIMALS = 12


class FitConfig(Config):
    """How a linear judge is fitted."""

    tokens: str = TOKENS
    """Regular expression of a token; texts are lower-cased first."""
    pairs: bool = True
    """Whether pairs of neighbouring words count as terms."""
    sublinear: bool = True
    """Whether a count c weighs 1 + ln(c) instead of c."""
    min_documents: int = Field(2, ge=1)
    """Terms of fewer documents are left out."""
    max_terms: int = Field(20_000, ge=1)
    """At most so many terms, the most frequent ones."""
    strength: float = Field(1.0, gt=0)
    """Inverse of the L2 penalty: larger fits closer."""
    folds: int = Field(5, ge=2)
    """Folds whose held-out scores Platt's map is fitted on."""
    seed: int = 0
    """Which items share a fold."""


def fit_linear(
    cases: Sequence[Features], labels: Sequence[bool], *, config: FitConfig | None = None, groups: Sequence[str] = ()
) -> LinearJudge:
    """A judge fitted on labelled cases.

    Args:
        groups: cases of one group (a problem, a block) share a fold; empty means each case for itself.

    Raises:
        ConfigError: fewer than two cases of a label for each fold, or flags that differ between cases.
    """
    config = config or FitConfig()
    label_N = np.asarray(labels, dtype=bool)
    if min(label_N.sum(), (~label_N).sum()) < 2 * config.folds or len(cases) != len(label_N):
        raise ConfigError(
            f"got {len(cases)} cases, {label_N.sum()} of them positive; give at least {2 * config.folds} of each label"
        )
    names = sorted(cases[0].flags)
    flag_NF = _flags(cases, names)
    texts = [case.text for case in cases]
    platt = Platt.fit(_held_out(texts, flag_NF, label_N, groups, config), label_N)
    vectorizer, model = _fit(texts, flag_NF, label_N, config)
    return _as_judge(vectorizer, model, names, platt, texts, config)


def _held_out(
    texts: list[str], flag_NF: NDArray[np.float64], label_N: NDArray[np.bool_], groups: Sequence[str], config: FitConfig
) -> NDArray[np.float64]:
    group_N = np.asarray(groups) if len(groups) else np.arange(len(label_N))
    score_N = np.zeros(len(label_N))
    splitter = StratifiedGroupKFold(config.folds, shuffle=True, random_state=config.seed)
    for train, test in splitter.split(label_N, label_N, group_N):
        vectorizer, model = _fit([texts[i] for i in train], flag_NF[train], label_N[train], config)
        score_N[test] = model.decision_function(_matrix(vectorizer, [texts[i] for i in test], flag_NF[test]))
    return score_N


def _fit(
    texts: list[str], flag_NF: NDArray[np.float64], label_N: NDArray[np.bool_], config: FitConfig
) -> tuple[TfidfVectorizer, LogisticRegression]:
    vectorizer = TfidfVectorizer(
        token_pattern=config.tokens,
        ngram_range=(1, 2 if config.pairs else 1),
        sublinear_tf=config.sublinear,
        min_df=config.min_documents,
        max_features=config.max_terms,
    )
    vectorizer.fit(texts)
    model = LogisticRegression(C=config.strength, max_iter=2000, tol=1e-6)
    model.fit(_matrix(vectorizer, texts, flag_NF), label_N)
    return vectorizer, model


def _matrix(vectorizer: TfidfVectorizer, texts: list[str], flag_NF: NDArray[np.float64]) -> sparse.csr_matrix:
    return sparse.csr_matrix(sparse.hstack([vectorizer.transform(texts), sparse.csr_matrix(flag_NF)]))


def _flags(cases: Sequence[Features], names: list[str]) -> NDArray[np.float64]:
    odd = next((case for case in cases if sorted(case.flags) != names), None)
    if odd is not None:
        raise ConfigError(f"one case has the flags {sorted(odd.flags)}, another {names}; give all cases the same flags")
    return np.array([[case.flags[name] for name in names] for case in cases], dtype=np.float64).reshape(len(cases), -1)


def _as_judge(
    vectorizer: TfidfVectorizer,
    model: LogisticRegression,
    names: list[str],
    platt: Platt,
    texts: list[str],
    config: FitConfig,
) -> LinearJudge:
    terms = vectorizer.get_feature_names_out().tolist()
    weights = [round(float(weight), DECIMALS) for weight in model.coef_[0]]
    counts = np.rint((1 + len(texts)) / np.exp(vectorizer.idf_ - 1) - 1).astype(int)  # the inverse of the formula
    return LinearJudge(
        tokens=config.tokens,
        sublinear=config.sublinear,
        num_documents=len(texts),
        terms=tuple(terms),
        counts=tuple(counts.tolist()),
        weights=tuple(weights[: len(terms)]),
        flags=dict(zip(names, weights[len(terms) :], strict=True)),
        intercept=round(float(model.intercept_[0]), DECIMALS),
        platt=platt,
    )
