"""Blind probes over multiple-choice items: planted leaks are found, blind-proof blocks give nothing away."""

import random
import re
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.evals.audits import AuditItem, BlindProbe, best, chance, default_probes, run_probes, worst_items
from tenfold.evals.audits.features import bag, char_ngrams, content_words, marked_words, weighted
from tenfold.evals.audits.folds import make_folds
from tenfold.evals.audits.items import Deck
from tenfold.evals.audits.learners import choice_weights, naive_bayes

NAMES = [probe.name for probe in default_probes()]
WORDS = re.findall(
    r"\w+",
    "river stone cloud window garden letter market winter silver paper candle bridge forest engine harbour mirror",
)


def sentence(order, length=6):
    return " ".join(order.choices(WORDS, k=length))


def plain_items(num_items, *, seed=0):
    """Four options of equal form, the right one at random: no rule can know it."""
    order = random.Random(seed)
    return [
        AuditItem(f"i{place}", f"b{place}", [sentence(order) for _ in range(4)], order.randrange(4))
        for place in range(num_items)
    ]


def leaking(change, num_items=120):
    """The same with a change made to every option; `change` is told whether the option is the right one."""
    return [
        AuditItem(
            item.id, item.block, [change(text, place == item.gold) for place, text in enumerate(item.options)], item.gold
        )
        for item in plain_items(num_items)
    ]


LEAKS = {
    "no leading space": lambda text, right: text if right else " " + text,
    "no trailing space": lambda text, right: text if right else text + " ",
    "fewest odd format marks": lambda text, right: text if right else text.replace(" ", "  ", 1),
    "rarest string": lambda text, right: text if right else WORDS[len(text) % 4],
    "shortest": lambda text, right: text[:9] if right else text,
    "longest": lambda text, right: text + " and more" * 4 if right else text,
    "fewest punctuation marks": lambda text, right: text if right else text.replace(" ", ", "),
    "most punctuation marks": lambda text, right: text.replace(" ", ", ") if right else text,
    "ends with a full stop": lambda text, right: text + "." if right else text,
    "naive Bayes": lambda text, right: ("surely " if right else "perhaps ") + text,
    "naive Bayes, stripped": lambda text, right: ("surely " if right else "perhaps ") + text,
    "word n-gram logistic": lambda text, right: ("so be it " if right else "be so it ") + text,
    "character n-gram logistic": lambda text, right: text.replace("e", "ee" if right else "e"),
    "outlier": lambda text, right: "quartz lamp thunder" if right else "meadow spoon " + text,
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found_by_the_probe_made_for_it(name):
    probe = next(probe for probe in default_probes() if probe.name == name)
    assert run_probes(leaking(LEAKS[name]), [probe])[0].accuracy.value > 0.9


def test_the_medoid_and_the_nearest_length_find_what_sits_in_the_middle():
    options = ["lamp spoon cloud", "lamp spoon stone river", "lamp garden letter market", "spoon winter paper silver bridge"]
    by_gold = [
        {
            result.name: result.accuracy.value
            for result in run_probes([AuditItem(str(k), str(k), options, gold) for k in range(3)])
        }
        for gold in range(4)
    ]
    assert [results["medoid"] for results in by_gold] == [1, 0, 0, 0]
    assert [results["outlier"] for results in by_gold] == [0, 0, 0, 1]
    assert [results["nearest to mean length"] for results in by_gold] == [0, 1, 0, 0]
    assert [results["rarest string"] for results in by_gold] == [0.25] * 4


def test_the_overlap_probe_reads_the_question():
    items = [AuditItem(str(k), str(k), ["a red river", "the stone wall", "an old lamp"], k % 3, q) for k, q in
             enumerate(["what runs in the river?", "who built the wall of stone?", "where is the lamp?"] * 3)]  # fmt: skip
    results = {result.name: result.accuracy.value for result in run_probes(items)}
    assert results["overlap with question"] == 1


def test_without_a_leak_no_probe_beats_chance_by_much():
    items = plain_items(400)
    for result in run_probes(items):
        assert 0.17 <= result.accuracy.value <= 0.33, result.name
        assert result.accuracy.low <= result.accuracy.value <= result.accuracy.high
    assert chance(items) == 0.25


def quads(num_blocks, seed):
    """Blocks whose four questions share the same options in the same order, each option right once."""
    order = random.Random(seed)
    blocks = [[sentence(order, order.randrange(1, 9)) for _ in range(4)] for _ in range(num_blocks)]
    return [AuditItem(f"{b}-{gold}", str(b), options, gold, "q") for b, options in enumerate(blocks) for gold in range(4)]


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 10_000))
def test_quads_give_every_probe_exactly_a_quarter(seed):
    for result in run_probes(quads(12, seed)):
        assert (result.accuracy.value, *result.accuracy.interval) == pytest.approx((0.25,) * 3, abs=1e-12), result.name


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 3))
def test_any_deterministic_scorer_gets_exactly_a_quarter_on_quads(salt, levels):
    """Also one with many ties: with few levels, several options share the first place."""
    probe = BlindProbe("hash", score=lambda item: [crc32(text.encode(), salt) % (levels + 1) for text in item.options])
    assert run_probes(quads(8, 1), [probe])[0].accuracy.value == pytest.approx(0.25, abs=1e-12)


def test_ties_share_the_point():
    items = [AuditItem("a", "a", ["x", "y", "z"], 0), AuditItem("b", "b", ["x", "y"], 1)]
    flat = BlindProbe("flat", score=lambda item: [1.0] * len(item.options))
    first_two = BlindProbe("two", score=lambda item: [1.0, 1.0 + 1e-12, 0.0][: len(item.options)])
    points = [result.points for result in run_probes(items, [flat, first_two])]
    assert points == [pytest.approx((1 / 3, 1 / 2)), pytest.approx((1 / 2, 1 / 2))]


def test_a_probe_of_ones_own_is_fitted_without_the_items_it_is_tested_on():
    """It learns by heart; with every text its own, heart is of no use on held-out items."""

    def fit(items):
        known = {item.options[item.gold] for item in items}
        return lambda item: [float(text in known) for text in item.options]

    items = plain_items(50)
    result = run_probes(items, [BlindProbe("by heart", fit=fit)])[0]
    assert result.accuracy.value == pytest.approx(0.25)
    assert not result.folds_share_texts
    with pytest.raises(ValueError, match="neither fit nor score"):
        run_probes(items, [BlindProbe("empty")])


def test_shared_texts_are_reported_where_folds_cannot_part_them():
    shared = [AuditItem(str(k), str(k), ["the same", f"own {k}", f"other {k}"], 1) for k in range(30)]
    results = {result.name: result.folds_share_texts for result in run_probes(shared)}
    assert results["naive Bayes"]
    assert not results["shortest"]
    pairs = [AuditItem(str(k), str(k), [f"of pair {k // 2}", f"own {k}"], 1) for k in range(30)]
    assert not any(result.folds_share_texts for result in run_probes(pairs))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=40), st.integers(2, 5), st.integers(0, 99)
)
def test_folds_never_split_a_block_nor_hide_a_shared_text(rows, num_folds, seed):
    blocks, texts = [block for block, _ in rows], [[text] for _, text in rows]
    if len(set(blocks)) < 2:
        return
    folds = make_folds(blocks, texts, folds=num_folds, seed=seed)
    assert len(set(zip(blocks, folds.fold_N.tolist(), strict=True))) == len(set(blocks))
    crossing = any(
        folds.fold_N[a] != folds.fold_N[b] and texts[a] == texts[b] for a in range(len(rows)) for b in range(len(rows))
    )
    assert folds.share_texts == crossing


def test_naive_bayes_against_counting_by_hand():
    texts = ["red river", "red stone", "blue stone", "blue"]
    rows = bag(texts, content_words)
    gold, rest = np.array([2.0, 1, 0, 0]), np.array([0.0, 0, 3, 2])
    weights = dict(zip(["red", "river", "stone", "blue"], naive_bayes(rows, gold, rest), strict=True))
    assert weights["red"] == pytest.approx(np.log((3 + 1) / (3 + 2)) - np.log((0 + 1) / (5 + 2)))
    assert weights["stone"] == pytest.approx(np.log((1 + 1) / (3 + 2)) - np.log((3 + 1) / (5 + 2)))


def test_character_ngrams_against_slow_counting():
    """Hashing keeps the counts apart, up to collisions; n-grams do not reach into the next text."""
    texts = ["abcab", "", "cab", "b\U0001f600b"]
    rows = char_ngrams(texts, sizes=(1, 2))
    for first in range(4):
        for second in range(4):
            assert (rows[[first]] @ rows[[second]].T).toarray()[0, 0] == pytest.approx(slow_cosine(texts, first, second))


def slow_cosine(texts, first, second):
    def grams(text):
        return [text[at : at + size] for size in (1, 2) for at in range(len(text) - size + 1)]

    holding = {gram: sum(gram in grams(text) for text in texts) for text in texts for gram in grams(text)}

    def vector(text):
        raw = {g: (1 + np.log(grams(text).count(g))) * (1 + np.log(5 / (1 + holding[g]))) for g in grams(text)}
        length = np.sqrt(sum(value**2 for value in raw.values())) or 1
        return {gram: value / length for gram, value in raw.items()}

    ours, theirs = vector(texts[first]), vector(texts[second])
    return sum(value * theirs.get(gram, 0) for gram, value in ours.items())


def test_choice_regression_has_the_gradient_it_says():
    """At its optimum no small move of a weight lowers the loss."""
    deck = Deck(leaking(LEAKS["naive Bayes"], 30))
    rows = weighted(bag(deck.texts, marked_words, counted=True))
    weights = choice_weights(rows, deck.ids_NK, deck.gold_N)

    def loss(vector):
        logits = deck.spread(rows @ vector)
        gold = logits[np.arange(30), deck.gold_N]
        return np.mean(np.log(np.exp(logits).sum(axis=1)) - gold) + 1e-4 / 2 * vector @ vector

    step = np.random.default_rng(0).normal(size=len(weights))
    slope = (loss(weights + 1e-4 * step) - loss(weights - 1e-4 * step)) / 2e-4
    assert abs(slope) < 0.02
    assert loss(weights) < loss(0.5 * weights) < loss(0 * weights)


def test_the_worst_items_are_those_that_most_probes_solve():
    items = plain_items(20)
    easy = AuditItem("easy", "easy", [" first thing, here", "lamp", " other thing, there"], 1)
    probes = [probe for probe in default_probes() if not probe.splits]
    results = run_probes([*items, easy], probes)
    assert worst_items([*items, easy], results, top=1)[0][0] is easy
    assert best(results).accuracy.value == max(result.accuracy.value for result in results)


def test_the_same_seed_gives_the_same_results():
    assert run_probes(plain_items(40), seed=2) == run_probes(plain_items(40), seed=2)


def test_there_are_at_least_ten_probes_with_names_of_their_own():
    assert len(set(NAMES)) == len(NAMES) >= 10


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "no items"),
        ([AuditItem("x", "x", ["one"], 0)], "two or more options"),
        ([AuditItem("x", "x", ["one", "two"], 2)], "counted from 0"),
        ([AuditItem("x", "b", ["one", "two"], 0), AuditItem("y", "b", ["one", "two"], 1)], "two or more of each"),
    ],
)
def test_what_cannot_be_audited_is_refused(items, said):
    with pytest.raises(ValueError, match=said):
        run_probes(items)


def test_learners_always_have_something_to_learn_from():
    """Also where one block holds nearly all items."""
    blocks = ["large"] * 99 + ["small"]
    for seed in range(8):
        folds = make_folds(blocks, [[place] for place in range(100)], seed=seed)
        assert len(folds.numbers) == 2


@pytest.mark.parametrize("scores", [[1.0], [float("nan"), 1.0], [1.0, 2.0, 3.0]])
def test_a_probe_of_ones_own_must_score_every_option(scores):
    items = [AuditItem(str(place), str(place), ("a", "b"), 0) for place in range(4)]
    with pytest.raises(ValueError, match=r"probe 'own' scores item '\d' .*; give one number per option"):
        run_probes(items, [BlindProbe("own", score=lambda item: scores)])
