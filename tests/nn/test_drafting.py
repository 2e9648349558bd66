"""Draft trees against a walk from node to root."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn.drafting import NOTHING, ROOT, Draft


@st.composite
def drafts(draw):
    size = draw(st.integers(0, 12))
    return Draft(list(range(size)), [draw(st.integers(ROOT, node - 1)) for node in range(size)], "test")


def line(draft, node):
    """The node and all above it."""
    return [] if node == ROOT else [*line(draft, draft.parents[node]), node]


@given(drafts())
def test_depths_paths_and_ancestry_follow_the_parents(draft):
    seen = draft.ancestry()
    assert seen.shape == (len(draft.tokens) + 1,) * 2
    for node in range(len(draft.tokens)):
        assert draft.path(node) == line(draft, node)
        assert draft.depths[node] == len(line(draft, node))
        assert seen[node + 1].nonzero().flatten().tolist() == [0, *(step + 1 for step in line(draft, node))]
    assert seen[0].nonzero().flatten().tolist() == [0]


@given(st.lists(st.integers(0, 9), max_size=8))
def test_a_chain_is_the_tree_of_one_line(tokens):
    draft = Draft.chain(tokens, "test")
    assert draft.is_chain
    assert draft.depths == list(range(1, len(tokens) + 1))
    assert torch.equal(draft.ancestry(), torch.ones(len(tokens) + 1, len(tokens) + 1, dtype=torch.bool).tril())


@given(drafts())
def test_only_one_line_is_a_chain(draft):
    assert draft.is_chain == (draft.depths == list(range(1, len(draft.tokens) + 1)))


def test_no_guess_is_an_empty_chain():
    assert NOTHING.is_chain
    assert NOTHING.ancestry().tolist() == [[True]]
