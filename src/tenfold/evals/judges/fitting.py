"""Fits a linear judge with scikit-learn: TF-IDF, L2 logistic regression, Platt's map on scores of held-out folds."""

# N documents, T terms, F flags
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
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
    min_documents: int = Field(default=2, ge=1)
    """Terms of fewer documents are left out."""
    max_terms: int = Field(default=20_000, ge=1)
    """At most so many terms, the most frequent ones."""
    min_domains: int = Field(default=1, ge=1)
    """Terms that occur in fewer domains are left out, so that no topic stands for a label."""
    strength: float = Field(default=1.0, gt=0)
    """Inverse of the L2 penalty: larger fits closer."""
    flag_scale: float = Field(default=1.0, gt=0)
    """Factor of every flag while fitting: larger lets flags weigh more under the same penalty."""
    folds: int = Field(default=5, ge=2)
    """Folds whose held-out scores Platt's map is fitted on."""
    seed: int = 0
    """Which items share a fold."""


@dataclass(frozen=True)
class Labelled:
    """Labelled cases. Empty sequences mean: each case for itself, all of one domain, all of weight 1."""

    cases: Sequence[Features]
    labels: Sequence[bool]
    groups: Sequence[str] = ()
    """Cases of one group (a problem, a block) share a fold."""
    domains: Sequence[str] = ()
    """Where each case comes from, for `min_domains`."""
    weights: Sequence[float] = ()
    """How much each case counts in the fit."""


def fit_linear(labelled: Labelled, config: FitConfig | None = None) -> LinearJudge:
    """A judge fitted on labelled cases; its Platt map is fitted on scores of held-out folds.

    Raises:
        ConfigError: fewer than two cases of a label for each fold, or flags that differ between cases.
    """
    config = config or FitConfig()
    table = _Table.of(labelled, config)
    positives = int(table.label_N.sum())
    if min(positives, len(table.texts) - positives) < 2 * config.folds:
        raise ConfigError(
            f"got {len(table.texts)} cases, {positives} of them positive; give at least {2 * config.folds} of each label"
        )
    platt = Platt.fit(_held_out(table, config), table.label_N)
    vectorizer, model = _fit(table, config)
    return _as_judge(vectorizer, model, table, platt, config)


@dataclass(frozen=True)
class _Table:
    """The same as arrays; flags are scaled."""

    texts: list[str]
    names: list[str]
    flag_NF: NDArray[np.float64]
    label_N: NDArray[np.bool_]
    group_N: NDArray[np.str_]
    domain_N: NDArray[np.str_]
    weight_N: NDArray[np.float64]

    @classmethod
    def of(cls, labelled: Labelled, config: FitConfig) -> "_Table":
        number, names = len(labelled.cases), sorted(labelled.cases[0].flags) if labelled.cases else []
        lengths = {len(x) for x in (labelled.groups, labelled.domains, labelled.weights) if len(x)} | {len(labelled.labels)}
        if lengths != {number}:
            raise ConfigError(f"got {number} cases and lists of {sorted(lengths)} entries; give one entry for each case")
        return cls(
            texts=[case.text for case in labelled.cases],
            names=names,
            flag_NF=_flags(labelled.cases, names) * config.flag_scale,
            label_N=np.asarray(labelled.labels, dtype=bool),
            group_N=np.asarray(labelled.groups if len(labelled.groups) else np.arange(number), dtype=str),
            domain_N=np.asarray(labelled.domains if len(labelled.domains) else np.zeros(number), dtype=str),
            weight_N=np.asarray(labelled.weights if len(labelled.weights) else np.ones(number), dtype=np.float64),
        )

    def take(self, places: NDArray[np.intp]) -> "_Table":
        return replace(
            self,
            texts=[self.texts[i] for i in places],
            flag_NF=self.flag_NF[places],
            label_N=self.label_N[places],
            group_N=self.group_N[places],
            domain_N=self.domain_N[places],
            weight_N=self.weight_N[places],
        )


def _held_out(table: _Table, config: FitConfig) -> NDArray[np.float64]:
    score_N = np.zeros(len(table.texts))
    splitter = StratifiedGroupKFold(config.folds, shuffle=True, random_state=config.seed)
    for train, test in splitter.split(table.label_N, table.label_N, table.group_N):
        vectorizer, model = _fit(table.take(train), config)
        score_N[test] = model.decision_function(_matrix(vectorizer, table.take(test)))
    return score_N


def _fit(table: _Table, config: FitConfig) -> tuple[TfidfVectorizer, LogisticRegression]:
    settings: dict[str, Any] = {"token_pattern": config.tokens, "ngram_range": (1, 2 if config.pairs else 1)}
    choice: dict[str, Any] = {"min_df": config.min_documents, "max_features": config.max_terms}
    if config.min_domains > 1:
        choice = {"vocabulary": _shared_terms(table, CountVectorizer(binary=True, **settings), config)}
    vectorizer = TfidfVectorizer(sublinear_tf=config.sublinear, **settings, **choice)
    vectorizer.fit(table.texts)
    model = LogisticRegression(C=config.strength, max_iter=2000, tol=1e-6)
    model.fit(_matrix(vectorizer, table), table.label_N, sample_weight=table.weight_N)
    return vectorizer, model


def _shared_terms(table: _Table, counter: CountVectorizer, config: FitConfig) -> list[str]:
    """Terms of enough documents and domains, those of most documents first to be kept, in alphabetical order."""
    occurs_NT = sparse.csr_matrix(counter.fit_transform(table.texts))
    domains = [np.flatnonzero(table.domain_N == name) for name in np.unique(table.domain_N)]
    domains_T = sum(np.asarray(occurs_NT[places].sum(axis=0)).ravel() > 0 for places in domains)
    documents_T = np.asarray(occurs_NT.sum(axis=0)).ravel()
    kept = np.flatnonzero((domains_T >= config.min_domains) & (documents_T >= config.min_documents))
    kept = kept[np.argsort(-documents_T[kept], kind="stable")][: config.max_terms]
    if not len(kept):
        raise ConfigError(f"no term occurs in {config.min_domains} domains; lower min_domains or min_documents")
    return sorted(counter.get_feature_names_out()[kept].tolist())


def _matrix(vectorizer: TfidfVectorizer, table: _Table) -> sparse.csr_matrix:
    return sparse.csr_matrix(sparse.hstack([vectorizer.transform(table.texts), sparse.csr_matrix(table.flag_NF)]))


def _flags(cases: Sequence[Features], names: list[str]) -> NDArray[np.float64]:
    odd = next((case for case in cases if sorted(case.flags) != names), None)
    if odd is not None:
        raise ConfigError(f"one case has the flags {sorted(odd.flags)}, another {names}; give all cases the same flags")
    return np.array([[case.flags[name] for name in names] for case in cases], dtype=np.float64).reshape(len(cases), -1)


def _as_judge(
    vectorizer: TfidfVectorizer, model: LogisticRegression, table: _Table, platt: Platt, config: FitConfig
) -> LinearJudge:
    terms, number = vectorizer.get_feature_names_out().tolist(), len(table.texts)
    weights = [float(weight) for weight in np.ravel(model.coef_)]
    counts = np.rint((1 + number) / np.exp(vectorizer.idf_ - 1) - 1).astype(int)  # the inverse of the formula
    return LinearJudge(
        tokens=config.tokens,
        sublinear=config.sublinear,
        num_documents=number,
        terms=tuple(terms),
        counts=tuple(counts.tolist()),
        weights=tuple(round(weight, DECIMALS) for weight in weights[: len(terms)]),
        flags={
            name: round(weight * config.flag_scale, DECIMALS)
            for name, weight in zip(table.names, weights[len(terms) :], strict=True)
        },
        intercept=round(float(np.ravel(model.intercept_)[0]), DECIMALS),
        platt=platt,
    )
