"""Paired tests against scipy, against enumeration, and in simulation under the null."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control

from tenfold.evals.statistics import holm, mcnemar, sign_flip


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_the_exact_binomial_test(only_first, only_second):
    expected = binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_golden_numbers():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(5_000, 5_600) == pytest.approx(binomtest(5_000, 10_600).pvalue, rel=1e-6)
    with pytest.raises(ValueError, match="negative"):
        mcnemar(-1, 2)


def enumerated(differences, clusters):
    """Every assignment of signs to clusters, one after another."""
    names = sorted(set(clusters))
    sums = [sum(d for d, cluster in zip(differences, clusters, strict=True) if cluster == name) for name in names]
    totals = [abs(sum(s * v for s, v in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=len(sums))]
    return sum(total >= abs(sum(sums)) - 1e-9 for total in totals) / len(totals)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])), min_size=1, max_size=24)
)
def test_sign_flips_equal_enumeration(items):
    clusters, differences = [cluster for cluster, _ in items], [difference for _, difference in items]
    assert sign_flip(differences, clusters) == pytest.approx(enumerated(differences, clusters))


def test_sign_flips_are_exact_up_to_sixteen_clusters():
    differences = np.random.default_rng(0).normal(0.4, 1, size=16)
    clusters = [str(place) for place in range(16)]
    assert sign_flip(differences, clusters) == pytest.approx(enumerated(differences.tolist(), clusters))


def test_sampled_sign_flips_are_near_the_exact_ones():
    """Seventeen clusters are sampled; the exact value is known from the sixteen-cluster code by fixing one sign each way."""
    differences = np.random.default_rng(2).normal(0.5, 1, size=17)
    clusters = [str(place) for place in range(17)]
    assert sign_flip(differences, clusters) == pytest.approx(enumerated(differences.tolist(), clusters), abs=0.01)


def test_single_items_in_clusters_of_their_own_give_mcnemar():
    differences = [1.0] * 9 + [-1.0] * 2 + [0.0] * 50
    assert sign_flip(differences, [str(place) for place in range(61)]) == pytest.approx(mcnemar(9, 2))


def test_clusters_that_cancel_say_nothing():
    assert sign_flip([1, -1, 0.1, -0.1], list("aabb")) == 1.0
    assert sign_flip([0.1, 0.2, -0.3], list("aaa")) == 1.0


def test_a_clear_difference_is_found_and_its_p_is_never_zero():
    assert sign_flip([1.0] * 200, [str(place // 2) for place in range(200)]) == pytest.approx(1 / 10_001)


def test_sign_flips_keep_their_level_under_the_null():
    generator = np.random.default_rng(5)
    clusters = [str(place // 4) for place in range(120)]
    alarms = sum(
        sign_flip(np.repeat(generator.normal(size=30), 4) + generator.normal(size=120), clusters, seed=trial) < 0.05
        for trial in range(300)
    )
    assert alarms / 300 < 0.09


def test_lengths_must_match():
    with pytest.raises(ValueError, match="one of each per item"):
        sign_flip([1.0, 2.0], ["a"])


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), min_size=1, max_size=8))
def test_holm_by_its_definition(p_values):
    adjusted = holm(p_values)
    assert list(adjusted) == list(p_values)
    ranked = sorted(p_values, key=p_values.__getitem__)
    for place, name in enumerate(ranked):
        slow = max(min(1.0, (len(ranked) - earlier) * p_values[ranked[earlier]]) for earlier in range(place + 1))
        assert adjusted[name] == pytest.approx(slow)


def test_holm_is_stricter_than_the_false_discovery_rate_and_laxer_than_bonferroni():
    p_values = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    adjusted = holm(p_values)
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    for name, fdr in zip(p_values, false_discovery_control(list(p_values.values())), strict=True):
        assert fdr <= adjusted[name] <= 4 * p_values[name]


def test_a_missing_difference_is_no_evidence_of_equality():
    with pytest.raises(ValueError, match="1 of 3 differences are missing"):
        sign_flip([1.0, None, 1.0], ["a", "b", "c"])  # pyright: ignore[reportArgumentType]


def test_counts_may_be_numpys():
    assert mcnemar(np.int64(40), np.int64(60)) == mcnemar(40, 60)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("p", [float("nan"), -0.1, 1.5])
def test_what_is_no_p_cannot_be_adjusted(p):
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm({"a": p, "b": 0.01})
