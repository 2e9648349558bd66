"""The automatic draft length: what it chooses, what it learns, and that it is never much slower than plain decoding."""

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn.drafting import NOTHING, Draft
from tenfold.systems.specdec.cost_model import CostModel, interpolate
from tenfold.systems.specdec.draft_length import Controller, FixedLength, first_tokens, kinds_of
from tenfold.systems.specdec.rounds import Round

MOST = 8


def costs(ms_of):
    """A cost model whose pass of k tokens takes `ms_of(k)` milliseconds."""
    return CostModel(identity="test", lengths=(100,), pass_times=(tuple(ms_of(k) for k in range(1, MOST + 1)),))


FREE = costs(lambda k: 10.0)
LINEAR = costs(lambda k: 10.0 * k)


def chain(length):
    return Draft.chain(list(range(length)), "test")


def play(controller, alpha, rounds, seed=0):
    """Rounds in which each drafted token holds with probability alpha; returns (our ms, plain ms)."""
    generator, ours, plain = random.Random(seed), 0.0, 0.0
    for _ in range(rounds):
        draft = controller.trim(chain(controller.most), 100)
        accepted = 0
        while accepted < len(draft.tokens) and generator.random() < alpha:
            accepted += 1
        controller.observe(Round(draft.source, len(draft.tokens), accepted, accepted + 1, 0.0, 0.0), 100, range(accepted))
        ours += controller.costs.pass_ms(len(draft.tokens) + 1, 100)
        plain += (accepted + 1) * controller.costs.pass_ms(1, 100)
    return ours, plain


def test_where_checking_is_free_everything_is_checked():
    assert len(Controller(FREE).trim(chain(5), 100).tokens) == 5


def test_where_a_pass_costs_as_much_as_its_tokens_nothing_is_worth_checking():
    assert Controller(LINEAR).trim(chain(5), 100) == NOTHING


@given(alpha=st.floats(0, 1), step_ms=st.floats(0, 12), seed=st.integers(0, 100))
def test_never_slower_than_plain_decoding_by_more_than_the_allowed_debt(alpha, step_ms, seed):
    controller = Controller(costs(lambda k: 10.0 + step_ms * (k - 1)))
    ours, plain = play(controller, alpha, 400, seed)
    widest_pass = controller.costs.pass_ms(MOST, 100)
    assert ours <= 1.02 * plain + 2 * 10.0 + 2 * widest_pass + 0.03 * plain


@pytest.mark.parametrize("alpha", [0.2, 0.5, 0.8, 0.95])
def test_close_to_the_best_fixed_length(alpha):
    ms_of = lambda k: 10.0 + 1.5 * (k - 1)  # noqa: E731
    rates = []
    for length in range(MOST):
        expected = 1 + sum(alpha**i for i in range(1, length + 1))
        rates.append(expected / ms_of(length + 1))
    ours, plain = play(Controller(costs(ms_of)), alpha, 4000)
    assert plain / 10.0 / ours >= 0.93 * max(rates)


def test_acceptance_is_learned_per_source_and_position():
    controller = Controller(FREE)
    for _ in range(100):
        controller.observe(Round("good", 3, 3, 4, 0.0, 0.0), 100, range(3))
        controller.observe(Round("bad", 3, 0, 1, 0.0, 0.0), 100, ())
    assert controller.acceptance("good", 3) > 0.95
    assert controller.acceptance("bad", 1) < 0.05
    assert controller.acceptance("bad", 2) == pytest.approx(0.6)


def test_acceptance_is_learned_by_what_the_drafter_says_of_itself():
    """Sure tokens turn out wrong and unsure ones right: the words lose, the record wins."""
    controller = Controller(costs(lambda k: 10.0 + 3.0 * (k - 1)))
    sure, unsure = Draft.chain([1, 2], "test", confidence=[0.95, 0.95]), Draft.chain([1, 2], "test", confidence=[0.3, 0.3])
    assert controller.trim(sure, 100).tokens
    assert not controller.trim(unsure, 100).tokens
    for draft, accepted in ((sure, 0), (unsure, 2)) * 30:
        controller.checked = draft
        controller.observe(Round("test", 2, accepted, accepted + 1, 0.0, 0.0), 100, range(accepted))
    controller.debt_ms, controller.paused_rounds = 0.0, 0
    assert not controller.trim(sure, 100).tokens
    assert controller.trim(unsure, 100).tokens


def test_the_confidence_of_a_drawn_token_does_not_decide_about_it():
    law_nV = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    drawn = [Draft.chain([0, 1], "test", confidence=[sure, 0.5], law_nV=law_nV) for sure in (0.01, 0.99)]
    assert kinds_of(drawn[0]) == kinds_of(drawn[1])


@given(st.integers(0, 6))
def test_a_shortened_chain_is_the_beginning_of_the_chain(length):
    draft = Draft.chain([5, 6, 7, 8, 9, 10], "test", confidence=[0.9] * 6)
    short = first_tokens(draft, length)
    assert list(short.tokens) == [5, 6, 7, 8, 9, 10][:length]
    assert len(short.parents) == len(short.tokens)
    assert short.is_chain


def tree(confidence):
    """Two guesses for the next token, and one below each of them; likeliest node first."""
    return Draft([1, 2, 3, 4], [-1, -1, 0, 1], "test", confidence)


def test_of_a_tree_the_nodes_that_pay_are_checked():
    """10 ms + 2 a node: the second guess brings .3 tokens a pass, the nodes below too little."""
    controller = Controller(costs(lambda k: 10.0 + 2.0 * (k - 1)))
    choices = controller.choices(tree([0.6, 0.3, 0.05, 0.05]), 100)
    assert [choice.expected_tokens for choice in choices] == pytest.approx([1, 1.6, 1.9, 1.93, 1.945])
    assert list(controller.trim(tree([0.6, 0.3, 0.05, 0.05]), 100).tokens) == [1, 2]


def test_nodes_of_a_tree_are_judged_where_their_parent_was_accepted():
    controller = Controller(FREE)
    draft = tree([0.9, 0.5, 0.4, 0.2])
    controller.checked = draft
    controller.observe(Round("test", 4, 2, 3, 0.0, 0.0), 100, (1, 3))
    record = dict(zip("abcd", (controller.seen.get(kind) for kind, _ in kinds_of(draft)), strict=True))
    assert record == {"a": (1.0, 0), "b": (1.0, 1), "c": None, "d": (1.0, 1)}


def test_a_fixed_length_changes_nothing():
    assert FixedLength(5).trim(chain(5), 100) == chain(5)


@given(st.integers(0, 3000))
def test_interpolation_stays_between_its_neighbours_and_hits_what_was_measured(place):
    places, values = [100, 500, 2000], [1.0, 3.0, 2.0]
    assert 1.0 <= interpolate(places, values, place) <= 3.0
    assert [interpolate(places, values, p) for p in places] == values
