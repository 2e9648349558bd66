"""Blind probes for texts with a yes/no label in pairs: is the label in the wording rather than in the matter?

A probe gives each text a number, above 0 for yes. `answerability` is how often that is right on held-out blocks,
`pairwise` how often the yes of a pair scores above its no. On crossed blocks (each wording once in a yes and once in a no)
every score that adds up parts of the text gets exactly one half.
"""

# N texts, U distinct texts, V features
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy.sparse import csr_array

from tenfold.evals.audits.features import bag, char_ngrams, marked_words, weighted, with_length, word_pairs, words
from tenfold.evals.audits.folds import Folds, make_folds
from tenfold.evals.audits.labelled import Floats, LabelledText, Mask, TextDeck
from tenfold.evals.audits.learners import label_weights, naive_bayes, naive_bayes_counts
from tenfold.evals.statistics import Estimate, cluster_mean

Features = Callable[[Sequence[str]], csr_array]
Learner = Callable[[csr_array, Floats, Floats], Floats]

VAGUE = re.compile(r"\b(?:some|several|a few|many|a number of|a couple|certain|various|a lot)\b")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
FORMAT_MARKS = {
    "starts with space": re.compile(r"\A\s"),
    "ends with space": re.compile(r"\s\Z"),
    "two full stops": re.compile(r"\.\."),
    "two spaces": re.compile(r"\S\s\s+\S"),
    "space before mark": re.compile(r"\s[.,;:?!]"),
    "no space after mark": re.compile(r"[a-z][.,;:?!][A-Za-z]"),
    "two marks": re.compile(r"[,;:][.?!]|[?!]\."),
    "small letter first": re.compile(r"\A\s*[a-z]"),
    "small letter after full stop": re.compile(r"\.\s+[a-z]"),
    "no mark at the end": re.compile(r"\w\s*\Z"),
    "full stop at the end": re.compile(r"\.\s*\Z"),
    "question mark inside": re.compile(r"\?\s*\S"),
}


class PairResult(NamedTuple):
    """How far a probe got; intervals over blocks."""

    answerability: Estimate
    """Held-out accuracy of the label."""
    pairwise: Estimate
    """Share of pairs ordered rightly, ties half: one half for a probe that knows nothing."""
    strictly_ordered: Estimate
    """The same with ties counted as lost."""


class TextProbe(Protocol):
    """Scores labelled texts; anything with these two takes part in an audit."""

    @property
    def name(self) -> str: ...

    def scores(self, deck: TextDeck, folds: Folds) -> Floats:
        """(N,) above 0 for yes; a text's own label may not enter its score."""
        ...


@dataclass(frozen=True)
class LinearProbe:
    """A learner over features of the text."""

    name: str
    features: Features
    learner: Learner

    def scores(self, deck: TextDeck, folds: Folds) -> Floats:
        rows_UV = deck.kept(self.name, self.features)
        return _held_out(deck, folds, lambda train_N: rows_UV @ self.learner(rows_UV, *deck.classes(train_N)))


@dataclass(frozen=True)
class MeasureProbe:
    """One number of a text; which way and above which threshold it means yes is learnt from the other folds."""

    name: str
    measure: Callable[[str], float]

    def scores(self, deck: TextDeck, folds: Folds) -> Floats:
        values_U = np.array([self.measure(text) for text in deck.texts], dtype=np.float64)
        return _held_out(deck, folds, lambda train_N: _cut(values_U, *deck.classes(train_N)))


def default_text_probes() -> list[TextProbe]:
    """The probes of every pairwise audit."""
    return [
        LinearProbe("naive Bayes", lambda texts: bag(texts, _tokens_with_format), naive_bayes),
        LinearProbe("naive Bayes, set of words", lambda texts: bag(texts, words), naive_bayes),
        LinearProbe("naive Bayes, counts of words", _word_counts, naive_bayes_counts),
        LinearProbe("format marks", lambda texts: bag(texts, format_marks), naive_bayes),
        LinearProbe("numbers", lambda texts: bag(texts, number_marks), naive_bayes),
        MeasureProbe("length", len),
        MeasureProbe("count of numbers", lambda text: len(NUMBER.findall(text))),
        MeasureProbe("vague quantities", lambda text: len(VAGUE.findall(text.lower()))),
        LinearProbe("word n-gram logistic", lambda texts: weighted(bag(texts, word_pairs, counted=True)), label_weights),
        LinearProbe("character n-gram logistic", char_ngrams, label_weights),
    ]


def audit_pairs(
    texts: Sequence[LabelledText], probes: Sequence[TextProbe] | None = None, *, folds: int = 5, seed: int = 0
) -> dict[str, PairResult]:
    """Each probe's results by its name; learners are tested on held-out blocks.

    Raises:
        ValueError: no pair has both labels, or there is a single block.
    """
    deck = TextDeck(texts)
    blocks = [item.block for item in texts]
    split = make_folds(blocks, [[item.text] for item in texts], folds=folds, seed=seed)
    probes = default_text_probes() if probes is None else probes
    return {probe.name: _result(deck, blocks, probe.scores(deck, split), seed) for probe in probes}


def identical_pairs(texts: Sequence[LabelledText]) -> list[str]:
    """The pairs whose yes and no are the same text."""
    deck = TextDeck(texts)
    same_C = deck.ids_N[deck.yes_C] == deck.ids_N[deck.no_C]
    return [texts[row].pair for row in deck.yes_C[same_C].tolist()]


def texts_with(texts: Sequence[LabelledText], pattern: re.Pattern[str]) -> tuple[int, int]:
    """How many texts hold the pattern: of those labelled no, of those labelled yes."""
    holding = [item.label for item in texts if pattern.search(item.text)]
    return len(holding) - sum(holding), sum(holding)


def format_marks(text: str) -> list[str]:
    """How a text is set, whatever it says."""
    return [name for name, pattern in FORMAT_MARKS.items() if pattern.search(text)]


def number_marks(text: str) -> list[str]:
    """How many numbers a text has, how long they are, and whether one comes twice."""
    numbers = NUMBER.findall(text)
    sizes = [f"digits {len(number)}" for number in set(numbers)]
    twice = ["a number twice"] if len(set(numbers)) < len(numbers) else []
    return [f"numbers {min(9, len(numbers))}", *sizes, *twice]


def _tokens_with_format(text: str) -> list[str]:
    """What naive Bayes of ump.md section 9 sees."""
    return [*with_length(marked_words, step=20, most=20)(text), *(["ends with space"] if text[-1:].isspace() else [])]


def _word_counts(texts: Sequence[str]) -> csr_array:
    return bag(texts, words, counted=True)


def _held_out(deck: TextDeck, folds: Folds, learn: Callable[[Mask], Floats]) -> Floats:
    scores_N = np.zeros(len(deck.labelled))
    for fold in folds.numbers:
        held_out_N = folds.fold_N == fold
        scores_N[held_out_N] = learn(~held_out_N)[deck.ids_N[held_out_N]]
    return scores_N


def _cut(values_U: Floats, yes_U: Floats, no_U: Floats) -> Floats:
    """The values less the threshold that parts yes from no best, turned so that yes is above 0."""
    steps, place_U = np.unique(values_U, return_inverse=True)
    lead = np.cumsum(np.bincount(place_U, weights=no_U - yes_U))  # of "no" at or below each step
    best = int(np.argmax(np.abs(lead)))
    threshold = (steps[best] + steps[min(best + 1, len(steps) - 1)]) / 2
    return (values_U - threshold) * (1 if lead[best] >= 0 else -1)


def _result(deck: TextDeck, blocks: Sequence[str], scores_N: Floats, seed: int) -> PairResult:
    pair_blocks = [blocks[int(row)] for row in deck.yes_C]
    return PairResult(
        cluster_mean(deck.label_points(scores_N), blocks, seed=seed),
        cluster_mean(deck.pair_points(scores_N), pair_blocks, seed=seed),
        cluster_mean(deck.pair_points(scores_N, tie=0.0), pair_blocks, seed=seed),
    )
