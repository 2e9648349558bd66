"""The seam of chance: enumeration is complete and exact; seeded streams do not move each other."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.specdec.certificate.frequencies import chi_square_tail
from tenfold.systems.specdec.randomness import SeededRandomness, draw_coupled, outcomes

HALF, THIRD = Fraction(1, 2), Fraction(1, 3)


def laws(size=4):
    weights = st.lists(st.integers(0, 6), min_size=size, max_size=size).filter(any)
    return weights.map(lambda parts: np.array([Fraction(part, sum(parts)) for part in parts], dtype=object))


def test_every_outcome_comes_once_with_its_weight():
    law_V = np.array([HALF, Fraction(0), HALF], dtype=object)
    found = dict(outcomes(lambda randomness: (randomness.accepts(THIRD), randomness.draw(law_V))))
    assert found == {(True, 0): THIRD / 2, (True, 2): THIRD / 2, (False, 0): THIRD, (False, 2): THIRD}


def test_certain_answers_do_not_branch():
    assert list(outcomes(lambda randomness: (randomness.accepts(1), randomness.accepts(0)))) == [((True, False), 1)]


def test_a_negative_probability_is_an_error():
    with pytest.raises(ArithmeticError, match="negative"):
        list(outcomes(lambda randomness: randomness.draw(np.array([Fraction(3, 2), -HALF], dtype=object))))


@given(p=laws(), q=laws())
def test_laws_share_the_noise_of_a_position(p, q):
    pairs = Counter()
    for pair, weight in outcomes(lambda randomness: (randomness.draw_at(7, p), randomness.draw_at(7, q))):
        pairs[pair] += weight
    for token in range(4):
        assert sum(weight for pair, weight in pairs.items() if pair[0] == token) == p[token]
        assert sum(weight for pair, weight in pairs.items() if pair[1] == token) == q[token]


@given(p=laws())
def test_asked_again_the_same_law_gives_the_same_token(p):
    asked_twice = outcomes(lambda randomness: (randomness.draw_at(3, p), randomness.draw_at(3, p)))
    assert all(first == second for (first, second), _ in asked_twice)


def test_accepting_does_not_move_the_targets_draws():
    law_V = np.full(50, 0.02, dtype=np.float32)
    busy, idle = SeededRandomness(5), SeededRandomness(5)
    for _ in range(20):
        busy.accepts(0.5)
        assert busy.draw(law_V) == idle.draw(law_V)


def test_acceptance_is_sure_at_one_and_impossible_at_zero():
    randomness = SeededRandomness(0)
    assert all(randomness.accepts(1.0) and not randomness.accepts(0.0) for _ in range(200))


def test_coupled_draws_follow_the_law():
    law_V = np.array([0.5, 0.2, 0.0, 0.3], dtype=np.float32)
    counts = Counter(draw_coupled(1, position, law_V) for position in range(2000))
    assert counts[2] == 0
    statistic = sum((counts[token] - 2000 * law_V[token]) ** 2 / (2000 * law_V[token]) for token in (0, 1, 3))
    assert chi_square_tail(float(statistic), 2) > 1e-6


def test_a_coupled_draw_is_a_function_of_seed_and_position():
    law_V = np.full(1000, 1e-3)
    assert draw_coupled(1, 2, law_V) == draw_coupled(1, 2, law_V)
    assert len({draw_coupled(seed, position, law_V) for seed in range(4) for position in range(4)}) > 10
