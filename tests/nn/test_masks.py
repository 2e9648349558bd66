"""Masks against the rule read aloud, slot by slot."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn.masks import HIDDEN, pass_mask

CPU = torch.device("cpu")


@st.composite
def trees(draw):
    """Ancestry of a random tree or forest: bool [K, K], each node sees itself and its parent's line."""
    size = draw(st.integers(1, 8))
    seen = torch.eye(size, dtype=torch.bool)
    for node in range(1, size):
        parent = draw(st.integers(-1, node - 1))
        if parent >= 0:
            seen[node] |= seen[parent]
    return seen


@st.composite
def passes(draw, with_tree=False):
    lengths = draw(st.lists(st.integers(0, 12), min_size=1, max_size=3))
    ancestors = draw(trees()) if with_tree else None
    num_new = draw(st.integers(1, 8)) if ancestors is None else len(ancestors)
    first = draw(st.integers(0, min(lengths)))
    end = max(lengths) + num_new + draw(st.integers(0, 5))
    return lengths, num_new, first, end, ancestors


def slow_mask(lengths, num_new, first, end, ancestors):
    mask = torch.full((len(lengths), num_new, end - first), HIDDEN)
    for row, length in enumerate(lengths):
        for query in range(num_new):
            for slot in range(first, end):
                new = slot - length
                if new < 0 or (new <= query if ancestors is None else new < num_new and ancestors[query, new]):
                    mask[row, query, slot - first] = 0
    return mask


@given(passes() | passes(with_tree=True))
def test_mask_is_the_slow_one(case):
    lengths, num_new, first, end, ancestors = case
    mask = pass_mask(lengths, num_new, first=first, end=end, ancestors_KK=ancestors, device=CPU)
    assert torch.equal(mask, slow_mask(*case))


@given(passes())
def test_a_chain_is_the_tree_in_which_each_sees_all_before_it(case):
    lengths, num_new, first, end, _ = case
    chain = torch.ones(num_new, num_new, dtype=torch.bool).tril()
    kwargs = {"first": first, "end": end, "device": CPU}
    assert torch.equal(pass_mask(lengths, num_new, **kwargs), pass_mask(lengths, num_new, ancestors_KK=chain, **kwargs))
