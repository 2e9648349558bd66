"""Rates: Wilson and kappa against libraries, and corrected rates in simulation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from tenfold.evals.statistics import kappa, prediction_powered, rogan_gladen, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_against_scipy(case):
    hits, n = case
    reference = binomtest(hits, n).proportion_ci(method="wilson")
    estimate = wilson(hits, n)
    assert estimate.value == hits / n
    assert estimate.interval == pytest.approx([reference.low, reference.high], abs=1e-9)


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_impossible_counts_are_refused(hits, n):
    with pytest.raises(ValueError, match="hits must lie between"):
        wilson(hits, n)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("xyz")), min_size=4, max_size=60))
def test_kappa_against_scikit_learn(pairs):
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    if len(set(first) | set(second)) > 1:
        assert kappa(first, second) == pytest.approx(cohen_kappa_score(first, second))


def test_kappa_of_one_label_throughout_is_one():
    assert kappa("aaa", "aaa") == 1.0
    with pytest.raises(ValueError, match="one from each rater"):
        kappa("ab", "a")


@given(st.floats(0, 1), st.floats(0.7, 1), st.floats(0.7, 1))
def test_rogan_gladen_undoes_a_judge_of_known_errors(truth, sensitivity, specificity):
    seen = truth * sensitivity + (1 - truth) * (1 - specificity)
    assert rogan_gladen(seen, sensitivity, specificity) == pytest.approx(truth, abs=1e-9)


def test_rogan_gladen_is_clipped_and_refuses_a_judge_that_tells_little():
    assert rogan_gladen(0.01, 0.9, 0.9) == 0.0
    assert rogan_gladen(0.99, 0.9, 0.9) == 1.0
    with pytest.raises(ValueError, match="better judge"):
        rogan_gladen(0.5, 0.6, 0.55)


def judged(generator, size, truth=0.55, sensitivity=0.80, specificity=0.90):
    labels = (generator.random(size) < truth).astype(float)
    return labels, np.where(labels > 0, generator.random(size) < sensitivity, generator.random(size) > specificity).astype(
        float
    )


def test_prediction_powered_by_the_formula():
    f_U, f_L, y_L = np.array([0.2, 0.9, 0.4, 0.6]), np.array([0.1, 0.9, 0.7]), np.array([0.0, 0.5, 0.5])
    n, M = 3, 4
    lam = np.cov(y_L, f_L)[0, 1] / ((1 + n / M) * np.var(np.concatenate([f_U, f_L]), ddof=1))
    value = lam * f_U.mean() + (y_L - lam * f_L).mean()
    spread = 1.959964 * np.sqrt(lam**2 * f_U.var(ddof=1) / M + (y_L - lam * f_L).var(ddof=1) / n)
    estimate = prediction_powered(f_U, f_L, y_L)
    assert 0 < lam < 1
    assert (estimate.value, *estimate.interval) == pytest.approx((value, value - spread, value + spread), rel=1e-6)


def test_prediction_powered_is_unbiased_covers_and_is_narrower_than_labels_alone():
    """200 labels among 4,702 answers, as in ump.md section 6; the judge's own share is off by several points."""
    generator = np.random.default_rng(0)
    errors, covered, widths, alone = [], 0, [], []
    for _ in range(600):
        labels, scores = judged(generator, 4_702)
        estimate = prediction_powered(scores[200:], scores[:200], labels[:200])
        errors.append(estimate.value - 0.55)
        covered += estimate.low <= 0.55 <= estimate.high
        widths.append(estimate.high - estimate.low)
        alone.append(2 * 1.96 * labels[:200].std(ddof=1) / np.sqrt(200))
    assert abs(np.mean(errors)) < 0.005
    assert 0.93 <= covered / 600 <= 0.97
    assert np.mean(widths) < 0.8 * np.mean(alone)


def test_a_judge_that_says_nothing_leaves_the_labels_alone():
    labels = np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    assert prediction_powered(np.ones(50), np.ones(5), labels).value == pytest.approx(0.6)
    assert prediction_powered(np.linspace(0, 1, 50), 1 - labels, labels).value == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("unlabelled", "labelled", "labels", "said"),
    [
        ([], [1, 0], [1, 0], "no unlabelled scores"),
        ([1], [1], [1], "two or more"),
        ([1], [1, 0], [1], "one of each"),
        ([1, float("nan")], [1, 0], [1, 0], "1 of 2 unlabelled scores are missing"),
    ],
)
def test_too_few_labels_are_refused(unlabelled, labelled, labels, said):
    with pytest.raises(ValueError, match=said):
        prediction_powered(unlabelled, labelled, labels)


@pytest.mark.parametrize("shares", [(float("nan"), 0.9, 0.9), (50, 0.9, 0.9), (0.5, float("nan"), 0.9), (0.5, 0.9, 1.2)])
def test_what_is_no_share_cannot_be_corrected(shares):
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        rogan_gladen(*shares)
