"""Rows share the tokens of a pass, and who guesses wrong pauses."""

from tenfold.apps.server.budget import PAUSE, SharedLength
from tenfold.systems.specdec.rounds import Round


def step(num_drafted, num_accepted):
    return Round("ngram", num_drafted, num_accepted, num_accepted + 1, 0.0, 0.0)


def test_the_more_rows_the_fewer_guesses_but_always_one():
    rows = [1]
    length = SharedLength(5, 12, lambda: rows[0])
    found = []
    for rows[0] in (0, 1, 2, 3, 4, 8, 40):
        found.append(length.most)
    assert found == [5, 5, 5, 3, 2, 1, 1]


def test_who_hardly_ever_guesses_right_pauses_and_tries_again():
    length = SharedLength(5, 12, lambda: 1)
    rounds = 0
    while length.most:
        length.observe(step(5, 0), 0, [])
        rounds += 1
    assert 10 < rounds < 30
    for _ in range(PAUSE):
        assert length.most == 0
        length.observe(step(0, 0), 0, [])
    assert length.most == 5
    for _ in range(100):
        length.observe(step(5, 3), 0, [])
    assert length.most == 5
