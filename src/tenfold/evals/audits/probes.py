"""Blind probes: rules and learners that score the options of a question without what the question is about.

A probe gives each option a number; the highest wins and ties share the point. What beats chance here is a leak of the
data set, not understanding. `Probe` is the seam: anything with a name and `scores` takes part in an audit.
"""

# N items, K options, U distinct option texts, V features
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tenfold.evals.audits.folds import Folds
from tenfold.evals.audits.items import AuditItem, Deck, Floats
from tenfold.evals.audits.learners import choice_weights, naive_bayes

ScoreItem = Callable[[AuditItem], Sequence[float]]
Mask = NDArray[np.bool_]
Features = Callable[[Sequence[str]], csr_array]


class Probe(Protocol):
    """Scores all options of a file."""

    @property
    def name(self) -> str: ...

    @property
    def splits(self) -> int:
        """Over how many splits into folds its points are averaged; 0 for a rule that learns nothing."""
        ...

    def scores(self, deck: Deck, folds: Folds) -> Floats:
        """(N, K) one number per option, -inf where there is none; the right option of an item may not enter its scores."""
        ...


@dataclass(frozen=True)
class BlindProbe:
    """A probe of your own, one item at a time: `score`, or `fit`, which learns a score from the items of other folds."""

    name: str
    fit: Callable[[Sequence[AuditItem]], ScoreItem] | None = None
    score: ScoreItem | None = None

    @property
    def splits(self) -> int:
        return int(self.fit is not None)

    def scores(self, deck: Deck, folds: Folds) -> Floats:
        scores_NK = np.full(deck.ids_NK.shape, -np.inf)
        for fold in folds.numbers:
            score = self._scorer([item for item, own in zip(deck.items, folds.fold_N, strict=True) if own != fold])
            for row in np.flatnonzero(folds.fold_N == fold).tolist():
                item = deck.items[row]
                scores_NK[row, : len(item.options)] = self._checked(score(item), item)
        return scores_NK

    def _checked(self, scores: Sequence[float], item: AuditItem) -> Sequence[float]:
        if len(scores) != len(item.options) or any(math.isnan(score) for score in scores):
            raise ValueError(f"probe {self.name!r} scores item {item.id!r} {list(scores)}; give one number per option")
        return scores

    def _scorer(self, training: Sequence[AuditItem]) -> ScoreItem:
        if self.fit is not None:
            return self.fit(training)
        if self.score is None:
            raise ValueError(f"probe {self.name!r} has neither fit nor score; give one of them")
        return self.score


@dataclass(frozen=True)
class TextRule:
    """The option whose text measures most."""

    name: str
    measure: Callable[[str], float]
    splits: int = 0

    def scores(self, deck: Deck, folds: Folds) -> Floats:
        return deck.measured(self.measure)


@dataclass(frozen=True)
class DeckRule:
    """A rule that needs the whole file (never the golds), or the item's other options."""

    name: str
    rule: Callable[[Deck], Floats]
    splits: int = 0

    def scores(self, deck: Deck, folds: Folds) -> Floats:
        return self.rule(deck)


@dataclass(frozen=True)
class NaiveBayes:
    """Gold against distractor by the features that are present; cheap, so several splits even out the luck of one."""

    name: str
    features: Features
    splits: int = 8

    def scores(self, deck: Deck, folds: Folds) -> Floats:
        rows_UV = deck.kept(self.name, self.features)
        return _held_out(deck, folds, lambda train_N: rows_UV @ naive_bayes(rows_UV, *_gold_and_rest(deck, train_N)))


@dataclass(frozen=True)
class Logistic:
    """Logistic regression over the options of each item."""

    name: str
    features: Features
    splits: int = 1

    def scores(self, deck: Deck, folds: Folds) -> Floats:
        rows_UV = deck.kept(self.name, self.features)
        return _held_out(
            deck,
            folds,
            lambda train_N: rows_UV @ choice_weights(rows_UV, deck.ids_NK[train_N], deck.gold_N[train_N]),
        )


def _held_out(deck: Deck, folds: Folds, learn: Callable[[Mask], Floats]) -> Floats:
    """(N, K) scores of each fold's items by what was learnt from the others."""
    scores_NK = np.full(deck.ids_NK.shape, -np.inf)
    for fold in folds.numbers:
        held_out_N = folds.fold_N == fold
        scores_NK[held_out_N] = deck.spread(learn(~held_out_N))[held_out_N]
    return scores_NK


def _gold_and_rest(deck: Deck, train_N: Mask) -> tuple[Floats, Floats]:
    """(U,) how often each text is the right option of a training item, and how often another one."""
    num_texts, ids_NK = len(deck.texts), deck.ids_NK[train_N]
    shown_U = np.bincount(ids_NK[ids_NK >= 0], minlength=num_texts)
    gold_U = np.bincount(deck.text_gold_N[train_N], minlength=num_texts)
    return gold_U.astype(np.float64), (shown_U - gold_U).astype(np.float64)
