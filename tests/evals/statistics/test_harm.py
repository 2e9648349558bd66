"""Tango's interval: golden numbers, symmetry, an independent solution of its equation, and its level."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from tenfold.evals.statistics import non_inferiority, tango_lower, tango_upper

Z = 1.6448536269514722
counts = st.integers(0, 40).flatmap(lambda b: st.tuples(st.just(b), st.integers(0, 40), st.integers(80, 400)))


@pytest.mark.parametrize(("b", "c", "n", "expected"), [(0, 0, 200, -0.013347), (3, 5, 400, -0.018902)])
def test_golden_lower_bounds(b, c, n, expected):
    assert tango_lower(b, c, n) == pytest.approx(expected, abs=5e-7)


def likeliest(b, c, n, difference):
    """The share of "right only without the change" that makes the counts likeliest, by looking at all of a fine grid."""
    share = np.linspace(max(0, -difference) + 1e-9, (1 - difference) / 2 - 1e-9, 200_001)
    neither = 1 - 2 * share - difference
    return share[np.argmax(b * np.log(share + difference) + c * np.log(share) + (n - b - c) * np.log(neither))]


def slow_lower(b, c, n):
    def lead(difference):
        variance = n * (2 * likeliest(b, c, n, difference) + difference * (1 - difference))
        return (b - c - n * difference) / np.sqrt(variance) - Z

    return brentq(lead, -0.999, (b - c) / n - 1e-6, xtol=1e-9)


@pytest.mark.parametrize(("b", "c", "n"), [(3, 5, 400), (10, 2, 50), (1, 20, 100), (7, 7, 30)])
def test_the_bound_solves_the_score_equation_at_the_likeliest_nuisance(b, c, n):
    assert tango_lower(b, c, n) == pytest.approx(slow_lower(b, c, n), abs=2e-5)


@given(counts)
def test_bounds_enclose_the_difference_and_mirror_each_other(case):
    b, c, n = case
    assert -1 <= tango_lower(b, c, n) <= (b - c) / n <= tango_upper(b, c, n) <= 1
    assert tango_upper(b, c, n) == -tango_lower(c, b, n)


@given(counts)
def test_more_losses_lower_the_bound(case):
    b, c, n = case
    assert tango_lower(b, c + 1, n) < tango_lower(b, c, n)


@pytest.mark.parametrize(
    ("b", "c", "n", "verdict"),
    [(3, 5, 400, "not harmed"), (0, 0, 100, "inconclusive"), (3, 40, 400, "harmed"), (10, 12, 100, "inconclusive")],
)
def test_verdicts_at_two_points(b, c, n, verdict):
    found = non_inferiority(b, c, n, 0.02)
    assert found.verdict == verdict
    assert (found.needed is None) == (verdict != "inconclusive")
    assert found.needed is None or found.needed > n


def test_the_share_of_false_all_clears_is_at_most_about_five_percent():
    """True loss exactly at the margin, tenth of items discordant: "not harmed" may be said one time in twenty."""
    generator = np.random.default_rng(0)
    draws = generator.multinomial(600, [0.04, 0.06, 0.90], size=1_500)
    false = np.mean([tango_lower(int(b), int(c), 600) > -0.02 for b, c, _ in draws])
    assert 0.03 <= false <= 0.065


@pytest.mark.parametrize(("b", "c", "n"), [(5, 6, 10), (-1, 0, 5), (0, 0, 0)])
def test_impossible_counts_are_refused(b, c, n):
    with pytest.raises(ValueError, match="count items"):
        tango_lower(b, c, n)


def test_a_margin_in_points_is_refused():
    with pytest.raises(ValueError, match=r"0\.02 for two points"):
        non_inferiority(1, 1, 10, 2)
