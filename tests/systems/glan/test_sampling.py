"""Laws of the sampler: exact counts, no repeat before exhaustion, both sessions touched, uniformity, coverage."""

from collections import Counter
from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from tenfold.core.errors import UserError
from tenfold.systems.glan.combinations import Combination, Stratum, count, permuted, strata
from tenfold.systems.glan.covering import subsets_by_sum
from tenfold.systems.glan.sampling import draws, take

MODES = ["cover", "by_size", "uniform"]
SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=3)


def every_combination(sizes, num_sessions):
    """By brute force: all sets of 1 to 5 concepts that touch exactly so many sessions."""
    places = [(session, concept) for session, m in enumerate(sizes) for concept in range(m)]
    chosen = (Combination(subset) for k in range(1, 6) for subset in combinations(places, k))
    return {combination for combination in chosen if len(combination.sessions) == num_sessions}


def test_the_paper_s_counts():
    assert count([5], 1) == 31
    assert count([5, 5], 2) == 575
    assert [stratum.size for stratum in strata([5, 5], 2)] == [25, 100, 200, 250]
    assert (count([5] * 20, 1), count([5] * 20, 2)) == (620, 109_250)


@given(sizes=SIZES)
def test_unranking_is_a_bijection_onto_all_combinations(sizes):
    for num_sessions in (1, 2):
        found = []
        for stratum in strata(sizes, num_sessions):
            numbered = [stratum.unrank(number) for number in range(stratum.size)]
            assert [stratum.rank(combination) for combination in numbered] == list(range(stratum.size))
            found += numbered
        assert len(found) == len(set(found)) == count(sizes, num_sessions)
        assert set(found) == every_combination(sizes, num_sessions)


def test_unranking_needs_no_listing():
    stratum = Stratum((0, 1), (1000, 1000), 5)
    assert stratum.rank(stratum.unrank(stratum.size - 1)) == stratum.size - 1 > 10**14


@given(size=st.integers(1, 300), key=st.text(max_size=3))
def test_the_keyed_order_is_a_bijection(size, key):
    assert sorted(permuted(number, size, key) for number in range(size)) == list(range(size))


@pytest.mark.parametrize("mode", MODES)
@given(sizes=SIZES, mix=st.sampled_from([0.0, 0.3, 0.5, 1.0]), reserved=st.integers(0, 9))
def test_no_repeat_before_all_combinations_were_drawn(mode, sizes, mix, reserved):
    drawn = list(draws(sizes, "key", mode=mode, mix=mix, reserved=reserved))
    found = [draw.combination for draw in drawn]
    allowed = every_combination(sizes, 1) if mix < 1 else set()
    allowed |= every_combination(sizes, 2) if mix > 0 else set()
    assert len(found) == len(set(found)) and set(found) == allowed
    assert all(len(draw.combination.sessions) == (1 if draw.strategy == "one session" else 2) for draw in drawn)
    assert [draw.index for draw in drawn] == list(range(len(drawn)))


@pytest.mark.parametrize("mode", MODES)
def test_575_draws_of_two_sessions_touch_both_and_then_end(mode):
    found = [draw.combination for draw in draws([5, 5], "key", mode=mode, mix=1.0)]
    assert len(set(found)) == len(found) == 575
    assert all(combination.sessions == (0, 1) for combination in found)
    assert len({draw.combination for draw in draws([5], "key", mode=mode, mix=0.0)}) == 31


@pytest.mark.parametrize("mode", MODES)
@given(sizes=SIZES, short=st.integers(0, 20), more=st.integers(0, 20))
def test_a_longer_stream_begins_with_the_shorter_one(mode, sizes, short, more):
    assert take(sizes, "key", short + more, mode=mode)[:short] == take(sizes, "key", short, mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_reserved_draws_never_come_back(mode):
    held_out = take([5] * 4, "key", 40, mode=mode)
    assert not {d.combination for d in held_out} & {d.combination for d in take([5] * 4, "key", 60, mode=mode, reserved=40)}


def test_uniform_is_uniform_over_combinations():
    counts = Counter(take([5, 5], f"key {n}", 1, mode="uniform", mix=1.0)[0].combination for n in range(575 * 12))
    counted = [counts[combination] for combination in every_combination([5, 5], 2)]
    assert chisquare(counted).pvalue > 0.01
    ones = Counter(draw.combination for n in range(600) for draw in take([5], f"key {n}", 3, mode="uniform", mix=0.0))
    assert chisquare([ones[combination] for combination in every_combination([5], 1)]).pvalue > 0.01


@pytest.mark.parametrize(("mode", "slack"), [("by_size", 1), ("cover", 4)])
def test_numbers_of_concepts_come_in_turn(mode, slack):
    """`cover` goes on to the next number where the least used session has no combination left: k = 5 has one."""
    drawn = take([5] * 20, "key", 100, mode=mode)
    for strategy in ("one session", "two sessions"):
        sizes = Counter(len(draw.combination.concepts) for draw in drawn if draw.strategy == strategy)
        assert max(sizes.values()) - min(sizes.values()) <= slack


@given(weights=st.lists(st.integers(0, 3), min_size=1, max_size=6).map(sorted), k=st.integers(1, 4))
def test_subsets_come_by_their_sum(weights, k):
    if k <= len(weights):
        found = list(subsets_by_sum(weights, k))
        assert sorted(found) == list(combinations(range(len(weights)), k))
        assert [sum(weights[i] for i in s) for s in found] == sorted(sum(weights[i] for i in s) for s in found)


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 4), min_size=2, max_size=3))
def test_cover_takes_the_least_used_undrawn_combination(sizes):
    """Parity with a search over all undrawn combinations of the same sessions and number of concepts."""
    use, drawn = Counter(), set()
    for draw in draws(sizes, "key", mode="cover"):
        chosen = draw.combination
        rivals = every_combination(sizes, len(chosen.sessions)) - drawn
        rivals = [r for r in rivals if r.sessions == chosen.sessions and len(r.concepts) == len(chosen.concepts)]
        total = lambda combination: sum(use[place] for place in combination.concepts)  # noqa: E731
        assert total(chosen) == min(map(total, rivals))
        use.update(chosen.concepts)
        drawn.add(chosen)


def coverage(found):
    concepts = {place for combination in found for place in combination.concepts}
    return len(concepts) / 100, len({session for session, _ in concepts}) / 20


def independent(rng, number):
    """As public reproductions draw: sessions, number and concepts at random each time."""
    for index in range(number):
        sessions = rng.choice(20, size=1 + index % 2, replace=False)
        places = [(int(s), c) for s in sessions for c in range(5)]
        size = rng.integers(len(sessions), 6)
        yield Combination(tuple(sorted(places[i] for i in rng.choice(len(places), size=size, replace=False))))


def test_cover_reaches_all_sessions_and_concepts_where_independent_draws_do_not():
    covers = [coverage([d.combination for d in take([5] * 20, f"key {n}", 50)]) for n in range(10)]
    at_random = [coverage(independent(np.random.default_rng(n), 50)) for n in range(60)]
    assert min(concepts for concepts, _ in covers) >= 0.99 and all(sessions == 1 for _, sessions in covers)
    assert 0.77 < np.mean([concepts for concepts, _ in at_random]) < 0.87


@given(number=st.integers(1, 200), key=st.text(max_size=3))
def test_cover_uses_sessions_evenly(number, key):
    use = Counter(s for draw in take([5] * 20, key, number) for s in draw.combination.sessions)
    assert max(use.values()) - min(use[s] for s in range(20)) <= 1


def test_a_share_outside_0_to_1_is_refused():
    with pytest.raises(UserError, match="mix is 1"):
        next(draws([5], "key", mix=1.5))


def test_a_stream_is_cheap_where_the_space_is_huge():
    assert len(list(islice(draws([12] * 30, "key"), 300))) == 300
