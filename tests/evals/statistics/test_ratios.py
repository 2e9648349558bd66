"""Paired ratios: the geometric mean, and a bootstrap interval that covers what it should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.evals.statistics import geometric_mean, geometric_mean_ratio


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_geometric_mean_of_ratios_and_of_their_inverses_multiply_to_one(ratios):
    assert geometric_mean(ratios) * geometric_mean([1 / ratio for ratio in ratios]) == pytest.approx(1)


@pytest.mark.parametrize("ratios", [[], [1.0, 0.0], [-1.0]])
def test_what_has_no_geometric_mean_is_refused(ratios):
    with pytest.raises(ValueError, match="geometric mean"):
        geometric_mean(ratios)


def test_equal_ratios_have_an_interval_without_width():
    estimate = geometric_mean_ratio([2.0] * 6, ["a", "b"] * 3)
    assert (estimate.value, *estimate.interval) == pytest.approx((2.0, 2.0, 2.0))


def test_prompts_are_resampled_within_their_stratum():
    """Two tasks of very different, internally constant ratios: no resample may change a task's share."""
    estimate = geometric_mean_ratio([1.0] * 5 + [16.0] * 5, ["a"] * 5 + ["b"] * 5)
    assert estimate.interval == pytest.approx([4.0, 4.0])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        ratios = np.exp(generator.normal(np.log(1.5), 0.3, size=40)).tolist()
        low, high = geometric_mean_ratio(ratios, ["a"] * 40).interval
        covered += low <= 1.5 <= high
    assert 180 <= covered <= 199


def test_ratios_and_strata_must_match():
    with pytest.raises(ValueError, match="one stratum per ratio"):
        geometric_mean_ratio([1.0, 2.0], ["a"])


def test_tasks_of_a_single_prompt_are_resampled_together():
    low, high = geometric_mean_ratio([1.0, 4.0], ["a", "b"]).interval
    assert (low, high) == pytest.approx((1.0, 4.0))
