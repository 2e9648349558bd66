"""Calibration against scikit-learn, against a slow reference, and through its JSON."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tenfold.evals.statistics import (
    Isotonic,
    Platt,
    Temperature,
    expected_calibration_error,
    read_calibration,
    reliability,
)

GENERATOR = np.random.default_rng(0)
SCORES = GENERATOR.normal(size=2_000) * 3 + 1
LABELS = GENERATOR.random(2_000) < 1 / (1 + np.exp(-(0.7 * SCORES - 1.1)))


def slow_error(probabilities, labels, bins):
    total = 0.0
    for b in range(bins):
        inside = [min(int(p * bins), bins - 1) == b for p in probabilities]
        chosen = [(p, y) for p, y, i in zip(probabilities, labels, inside, strict=True) if i]
        if chosen:
            total += abs(sum(p for p, _ in chosen) - sum(y for _, y in chosen))
    return total / len(probabilities)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=50), st.integers(1, 20))
def test_expected_calibration_error_against_a_slow_reference(pairs, bins):
    probabilities, labels = [p for p, _ in pairs], [y for _, y in pairs]
    expected = slow_error(probabilities, labels, bins)
    assert expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-9)


def test_the_reliability_table_holds_every_item_once():
    table = reliability([0.0, 0.05, 0.5, 1.0], [False, True, True, True], bins=10)
    assert [(row.low, row.num_items, row.share_true) for row in table] == [(0.0, 2, 0.5), (0.5, 1, 1.0), (0.9, 1, 1.0)]
    with pytest.raises(ValueError, match=r"0\.\.1"):
        reliability([1.2], [True])
    with pytest.raises(ValueError, match="one of each per item"):
        expected_calibration_error([0.5], [])


def test_platt_finds_the_true_curve_as_scikit_learn_does():
    platt = Platt.fit(SCORES, LABELS)
    reference = LogisticRegression(C=1e9, tol=1e-8).fit(SCORES[:, None], LABELS)
    assert platt.slope == pytest.approx(reference.coef_[0, 0], abs=0.01)
    assert platt.intercept == pytest.approx(reference.intercept_[0], abs=0.01)
    assert expected_calibration_error(platt.apply(SCORES), LABELS) < 0.03


@pytest.mark.parametrize("labels", [[False] * 3 + [True] * 3, [True] * 6])
def test_platt_stays_finite_where_the_likelihood_has_no_peak(labels):
    platt = Platt.fit([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0], labels)
    assert np.isfinite([platt.slope, platt.intercept]).all()
    assert (platt.apply([-1e9, 1e9]) <= 1).all()


def test_platt_of_constant_scores_is_the_base_rate():
    assert Platt.fit([2.0] * 100, [True] * 30 + [False] * 70).apply([2.0])[0] == pytest.approx(0.3, abs=0.01)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=60))
def test_isotonic_against_scikit_learn(pairs):
    scores, labels = [float(s) for s, _ in pairs], [float(y) for _, y in pairs]
    ours = Isotonic.fit(scores, labels)
    reference = IsotonicRegression(out_of_bounds="clip").fit(scores, labels)
    probe = np.linspace(-1, 13, 57)
    assert ours.apply(probe) == pytest.approx(reference.predict(probe), abs=1e-9)
    assert (np.diff(ours.apply(probe)) >= -1e-12).all()


def test_temperature_undoes_a_temperature():
    logits = GENERATOR.normal(size=(4_000, 4)) * 2
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (p.cumsum(axis=1) < GENERATOR.random((4_000, 1))).sum(axis=1)
    fitted = Temperature.fit(logits * 3, labels)
    assert fitted.temperature == pytest.approx(3, rel=0.05)
    assert fitted.apply(logits).sum(axis=1) == pytest.approx(np.ones(4_000))


def test_temperature_of_a_faultless_model_is_small_and_finite():
    assert 0.001 <= Temperature.fit([[2.0, 0.0], [0.0, 2.0]], [0, 1]).temperature < 0.1


@pytest.mark.parametrize(
    "fitted", [Platt.fit(SCORES, LABELS), Isotonic.fit(SCORES[:50], LABELS[:50]), Temperature(temperature=1.5)]
)
def test_each_map_survives_its_json(fitted):
    assert read_calibration(fitted.model_dump_json()) == fitted


@pytest.mark.parametrize("fit", [Platt.fit, Isotonic.fit, reliability, expected_calibration_error])
@pytest.mark.parametrize("values", [([0.2, float("nan")], [0, 1]), ([0.2, 0.3], [None, 1]), ([], [])])
def test_missing_values_are_refused(fit, values):
    with pytest.raises(ValueError, match=r"missing|no values"):
        fit(*values)


@pytest.mark.parametrize(
    ("logits", "labels"), [([[0, -1]], [2]), ([[0, -1]], [-1]), ([[0, -np.inf]], [0]), ([[0, -1]], [0, 1]), ([], [])]
)
def test_a_temperature_needs_a_finite_logit_of_every_class(logits, labels):
    with pytest.raises(ValueError, match="give"):
        Temperature.fit(logits, labels)
