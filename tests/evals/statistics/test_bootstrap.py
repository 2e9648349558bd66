"""The cluster bootstrap: the fast forms equal the slow one, and intervals cover what they should."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.evals.statistics import cluster_bootstrap, cluster_mean, cluster_ratio


def correlated_hits(generator, num_blocks, correlation, rate=0.6):
    """0/1 items in blocks of four whose intraclass correlation is as given: a block is of one mind or of four."""
    of_one_mind = generator.random((num_blocks, 1)) < correlation
    shared, own = generator.random((num_blocks, 1)) < rate, generator.random((num_blocks, 4)) < rate
    return np.where(of_one_mind, shared, own).astype(float).ravel()


def blocks_of_four(num_items):
    return [str(item // 4) for item in range(num_items)]


@pytest.mark.parametrize("values", ["hits", "reals"])
def test_the_fast_mean_agrees_with_recomputing_the_mean_of_every_draw(values):
    """Counting kinds of clusters, picking clusters, and drawing items: three ways to one interval."""
    generator = np.random.default_rng(0)
    sizes = generator.integers(1, 6, size=60)
    clusters = [str(cluster) for cluster, size in enumerate(sizes) for _ in range(size)]
    value_N = generator.random(len(clusters)) if values == "reals" else (generator.random(len(clusters)) < 0.4).astype(float)
    fast = cluster_mean(value_N, clusters, draws=20_000)
    slow = cluster_bootstrap(lambda index: value_N[index].mean(), clusters, draws=4_000)
    assert fast.value == pytest.approx(slow.value)
    assert fast.interval == pytest.approx(slow.interval, abs=0.015)


def test_a_ratio_counts_only_the_items_of_its_subset():
    hits, counted = np.array([1, 1, 0, 1, 0, 1.0]), np.array([1, 0, 1, 1, 0, 0.0])
    clusters = list("aabbcc")
    ratio = cluster_ratio(hits * counted, counted, clusters)
    assert ratio.value == pytest.approx(2 / 3)
    slow = cluster_bootstrap(
        lambda index: (hits * counted)[index].sum() / counted[index].sum() if counted[index].sum() else np.nan, clusters
    )
    assert ratio.interval == pytest.approx(slow.interval, abs=0.1)


@given(st.floats(-5, 5), st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_equal_values_have_an_interval_without_width(value, clusters):
    estimate = cluster_mean([value] * len(clusters), clusters, draws=50)
    assert (estimate.value, *estimate.interval) == pytest.approx((value, value, value))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1)), min_size=2, max_size=20), st.randoms())
def test_the_order_of_items_does_not_matter(items, order):
    shuffled = order.sample(items, len(items))
    first = cluster_mean([hit for _, hit in items], [cluster for cluster, _ in items], draws=200)
    second = cluster_mean([hit for _, hit in shuffled], [cluster for cluster, _ in shuffled], draws=200)
    assert first == second


def test_same_seed_same_interval():
    values = np.random.default_rng(1).random(40)
    assert cluster_mean(values, blocks_of_four(40), seed=3) == cluster_mean(values, blocks_of_four(40), seed=3)
    assert cluster_mean(values, blocks_of_four(40), seed=3) != cluster_mean(values, blocks_of_four(40), seed=4)


def test_clusters_of_one_mind_widen_the_interval():
    hits = np.repeat(np.random.default_rng(0).random(50) < 0.5, 4).astype(float)
    wide, narrow = cluster_mean(hits, blocks_of_four(200)), cluster_mean(hits, [str(item) for item in range(200)])
    assert wide.high - wide.low > 1.7 * (narrow.high - narrow.low)  # twice, in expectation


@pytest.mark.parametrize("correlation", [0.0, 0.25, 0.5])
def test_the_interval_covers_the_truth_93_to_97_times_in_100(correlation):
    generator = np.random.default_rng(11)
    covered = 0
    for trial in range(1_000):
        hits = correlated_hits(generator, 60, correlation)
        low, high = cluster_mean(hits, blocks_of_four(240), draws=1_000, seed=trial).interval
        covered += low <= 0.6 <= high
    assert 0.93 <= covered / 1_000 <= 0.97


def test_ten_thousand_draws_of_two_thousand_items_take_well_under_a_second():
    values = np.random.default_rng(0).random(2_000)
    start = time.process_time()
    cluster_mean(values, blocks_of_four(2_000))
    assert time.process_time() - start < 0.7


@pytest.mark.parametrize(
    ("values", "clusters", "said"),
    [
        ([], [], "no items"),
        ([1.0, None], ["a", "b"], "1 of 2 values are missing"),
        ([1.0], ["a", "b"], "one of each per item"),
        ([[1.0]], ["a"], "one of each"),
    ],
)
def test_what_has_no_mean_is_refused(values, clusters, said):
    with pytest.raises(ValueError, match=said):
        cluster_mean(values, clusters)


def test_a_ratio_over_nothing_is_refused():
    with pytest.raises(ValueError, match="sum to 0"):
        cluster_ratio([1.0, 0.0], [0.0, 0.0], ["a", "b"])
    with pytest.raises(ValueError, match="NaN"):
        cluster_bootstrap(lambda index: float("nan"), ["a"])


def test_draws_without_a_statistic_are_left_out():
    values = np.array([1.0, 2.0, np.nan, np.nan])
    estimate = cluster_bootstrap(
        lambda index: np.nanmean(values[index]) if index.min() < 2 else np.nan, list("abcd"), draws=300
    )
    assert 1.0 <= estimate.low <= estimate.high <= 2.0
