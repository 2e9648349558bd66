"""The recycled matrix against one kept in the most obvious way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.nn.drafting import NOTHING, Draft
from tenfold.systems.specdec.drafters.recycle import RecycleDrafter

VOCAB, KEPT = 12, 3


def successors(logits_V):
    return torch.sort(logits_V, descending=True, stable=True).indices[:KEPT].tolist()


@st.composite
def passes(draw):
    """Drafted chains, and the seed of the logits that the target answers with."""
    return draw(
        st.lists(st.tuples(st.lists(st.integers(0, VOCAB - 1), max_size=4), st.integers(0, 99)), min_size=1, max_size=6)
    )


@given(passes())
@settings(deadline=None)
def test_each_token_has_the_successors_last_seen_for_it(passes):
    drafter, context = RecycleDrafter(num_successors=KEPT), [0]
    naive = {}
    for tokens, seed in passes:
        drafter.locate(context, 4)
        draft = Draft.chain(tokens, "test")
        logits_KV = torch.randn(len(tokens) + 1, VOCAB, generator=torch.Generator().manual_seed(seed))
        places = [context[-1], *tokens]
        num_accepted = 0
        while num_accepted < len(tokens) and successors(logits_KV[num_accepted])[0] == tokens[num_accepted]:
            num_accepted += 1
        emitted = [*tokens[:num_accepted], successors(logits_KV[num_accepted])[0]]
        drafter.observe(emitted, logits_KV, draft)
        for query in [*range(len(places)), *range(num_accepted + 1)]:
            naive[places[query]] = successors(logits_KV[query])
        context += emitted
    known = {place[0]: [token for token, _ in row] for place, row in drafter.rows.items() if len(place) == 1}
    assert known == naive


def taught(**settings):
    """A drafter that has seen 1 -> 2 or 3, 2 -> 4."""
    drafter = RecycleDrafter(num_successors=2, **settings)
    drafter.locate([1], 1)
    logits_KV = torch.full((2, VOCAB), -9.0)
    logits_KV[0, [2, 3]] = torch.tensor([2.0, 1.0])
    logits_KV[1, [4, 5]] = torch.tensor([3.0, 0.0])
    drafter.observe([2, 4], logits_KV, Draft.chain([2], "test"))
    return drafter


def test_a_chain_follows_the_likeliest_successors():
    assert list(taught(shape="chain").propose([1], 2).tokens) == [2, 4]


def test_a_tree_takes_the_likeliest_nodes():
    draft = taught(shape="tree").propose([1], 3)
    assert list(zip(draft.tokens, draft.parents, strict=True)) == [(2, -1), (4, 0), (3, -1)]


def test_two_tokens_of_context_count_before_one():
    drafter = taught(shape="chain")
    drafter.locate([9, 1], 1)
    logits_KV = torch.full((1, VOCAB), -9.0)
    logits_KV[0, 7] = 1.0
    drafter.observe([7], logits_KV, NOTHING)
    drafter.locate([8, 1], 1)
    logits_KV[0, 6] = 2.0
    drafter.observe([6], logits_KV, NOTHING)
    assert drafter.propose([9, 1], 1).tokens == [7]
    assert drafter.propose([3, 1], 1).tokens == [6]


def test_cold_forgets_and_hot_remembers():
    hot, cold = taught(), taught(cold=True)
    hot.reset()
    cold.reset()
    assert (hot.state, cold.state) == ("process", "request")
    assert hot.propose([1], 2).tokens
    assert cold.propose([1], 2) is NOTHING


def test_the_oldest_rows_make_room():
    drafter = taught(max_rows=2)
    assert len(drafter.rows) == 2


def test_a_first_pass_without_a_draft_is_learnt_too():
    drafter = RecycleDrafter()
    drafter.observe([1], torch.zeros(1, VOCAB), NOTHING)
    assert drafter.propose([1], 3) is NOTHING


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="max_nodes 0"):
        RecycleDrafter(max_nodes=0)
