"""Circular scoring: rotations are permutations, what is shown maps back, a blind answerer gains nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.evals.permute import arrange, circular_mean, circular_strict, circular_vote, map_back, restore, rotations


@given(st.integers(1, 10))
def test_each_option_stands_once_at_each_place(n):
    turns = rotations(n)
    assert turns[0] == tuple(range(n))
    assert all(sorted(column) == list(range(n)) for column in zip(*turns, strict=True))


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_what_is_shown_maps_back(options):
    for rotation in rotations(len(options)):
        shown = arrange(options, rotation)
        assert restore(shown, rotation) == options
        assert [options[map_back(place, rotation)] for place in range(len(options))] == shown


def test_no_answer_maps_to_none():
    assert map_back(None, (1, 0)) is None


@given(st.integers(2, 8), st.data())
def test_whoever_always_picks_the_same_place_scores_chance_and_never_all(n, data):
    place, gold = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    chosen = [map_back(place, rotation) for rotation in rotations(n)]
    assert circular_mean(chosen, gold) == pytest.approx(1 / n)
    assert circular_strict(chosen, gold) == 0
    assert circular_vote(chosen) is None


def test_scores_of_a_question():
    assert circular_mean([2, 2, None, 1], 2) == 0.5
    assert circular_strict([2, 2, 2, 2], 2) == 1
    assert circular_vote([2, None, 2, 1]) == 2
    assert circular_vote([None, None]) is None
    assert circular_vote([0, 1]) is None


def test_a_question_without_options_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        rotations(0)


@pytest.mark.parametrize("score", [circular_mean, circular_strict])
def test_a_question_that_was_not_asked_has_no_score(score):
    with pytest.raises(ValueError, match="no rotation was asked"):
        score([], 0)
