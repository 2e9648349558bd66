"""Runs blind probes over a multiple-choice file and says how far each gets, with the items that give most away."""

# N items, K options
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tenfold.evals.audits import rules
from tenfold.evals.audits.features import bag, char_ngrams, marked_words, weighted, with_length, word_pairs
from tenfold.evals.audits.folds import Folds, make_folds
from tenfold.evals.audits.items import AuditItem, Deck
from tenfold.evals.audits.probes import DeckRule, Logistic, NaiveBayes, Probe, TextRule
from tenfold.evals.statistics import Estimate, cluster_mean

LENGTH_TOKENS = with_length(marked_words, step=25, most=12)


@dataclass(frozen=True)
class ProbeResult:
    """How often a probe found the right option."""

    name: str
    accuracy: Estimate
    """Share of items, ties shared; the interval is over blocks."""
    folds_share_texts: bool
    """Whether it was trained on other items with some of the texts it was tested on."""
    points: tuple[float, ...] = ()
    """The point of each item, in the order of the items."""


def default_probes() -> list[Probe]:
    """The probes of every audit: rules first, then those that learn."""
    return [
        TextRule("no leading space", rules.no_leading_space),
        TextRule("no trailing space", rules.no_trailing_space),
        TextRule("fewest odd format marks", rules.no_odd_format),
        DeckRule("rarest string", rules.rarest),
        TextRule("shortest", rules.shortest),
        TextRule("longest", rules.longest),
        DeckRule("nearest to mean length", rules.nearest_length),
        DeckRule("medoid", rules.medoid),
        DeckRule("outlier", rules.outlier),
        DeckRule("overlap with question", rules.question_overlap),
        TextRule("fewest punctuation marks", rules.fewest_marks),
        TextRule("most punctuation marks", rules.most_marks),
        TextRule("ends with a full stop", rules.ends_with_full_stop),
        NaiveBayes("naive Bayes", lambda texts: bag(texts, LENGTH_TOKENS)),
        NaiveBayes("naive Bayes, stripped", lambda texts: bag(texts, lambda text: LENGTH_TOKENS(text.strip()))),
        Logistic("word n-gram logistic", lambda texts: weighted(bag(texts, word_pairs, counted=True))),
        Logistic("character n-gram logistic", char_ngrams),
    ]


def run_probes(
    items: Sequence[AuditItem], probes: Sequence[Probe] | None = None, *, folds: int = 5, seed: int = 0
) -> list[ProbeResult]:
    """Each probe's accuracy, in the order of the probes; those that learn are tested on held-out blocks.

    Raises:
        ValueError: no items, an item with fewer than two options or an impossible gold, or a single block.
    """
    deck, probes = Deck(items), default_probes() if probes is None else probes
    blocks = [item.block for item in items]
    texts = [row[row >= 0].tolist() for row in deck.ids_NK]
    most_splits = max((probe.splits for probe in probes), default=0)
    splits = [make_folds(blocks, texts, folds=folds, seed=seed + turn) for turn in range(max(1, most_splits))]
    return [_result(probe, deck, splits[: max(1, probe.splits)], blocks, seed) for probe in probes]


def _result(probe: Probe, deck: Deck, splits: Sequence[Folds], blocks: Sequence[str], seed: int) -> ProbeResult:
    points_N = np.mean([deck.points(probe.scores(deck, split)) for split in splits], axis=0)
    shared = probe.splits > 0 and any(split.share_texts for split in splits)
    return ProbeResult(probe.name, cluster_mean(points_N, blocks, seed=seed), shared, tuple(points_N.tolist()))


def best(results: Sequence[ProbeResult]) -> ProbeResult:
    """The probe that got furthest."""
    return max(results, key=lambda result: result.accuracy.value)


def chance(items: Sequence[AuditItem]) -> float:
    """The accuracy of a guess."""
    return float(np.mean([1 / len(item.options) for item in items]))


def worst_items(
    items: Sequence[AuditItem], results: Sequence[ProbeResult], *, top: int = 10
) -> list[tuple[AuditItem, float]]:
    """The items that most probes solve, each with the mean of the probes' points."""
    mean_N = np.mean([result.points for result in results], axis=0)
    return [(items[row], float(mean_N[row])) for row in np.argsort(-mean_N, kind="stable")[:top].tolist()]
