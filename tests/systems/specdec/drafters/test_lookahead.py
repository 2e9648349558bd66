"""Lookahead and Jacobi decoding on a target that counts: the token after n is n + 1."""

import pytest
import torch

from tenfold.nn.drafting import NOTHING, ROOT
from tenfold.systems.specdec.drafters.continuations import followed
from tenfold.systems.specdec.drafters.lookahead import LookaheadDrafter, jacobi

VOCAB = 100


def one_round(drafter, context, num_tokens=16):
    """Drafts, lets the counting target answer, and appends what it emits; returns the draft."""
    draft = drafter.propose(context, num_tokens)
    tokens = torch.tensor([context[-1], *draft.tokens])
    logits_KV = torch.nn.functional.one_hot((tokens + 1) % VOCAB, VOCAB).float()
    truth = [(context[-1] + step) % VOCAB for step in range(1, len(tokens) + 1)]
    emitted = truth[: len(followed(draft, truth)) + 1]
    drafter.observe(emitted, logits_KV, draft)
    context += emitted
    return draft


def test_jacobi_accepts_what_the_target_said_to_wrong_guesses():
    drafter, always_7 = jacobi(window=4), torch.nn.functional.one_hot(torch.full((5,), 7), VOCAB).float()
    first = drafter.propose([1, 2], 4)
    drafter.observe([7], always_7, first)
    second = drafter.propose([1, 2, 7], 4)
    assert first.is_chain
    assert list(second.tokens) == [7, 7, 7, 7]


def test_jacobi_moves_on_with_the_text():
    drafter = jacobi(window=3)
    draft = drafter.propose([1, 2, 3], 3)
    choices = torch.nn.functional.one_hot(torch.tensor([1, 9, 8, 7]), VOCAB).float()
    drafter.observe([1, 9], choices, draft)
    assert list(drafter.propose([1, 2, 3, 1, 9], 2).tokens) == [8, 7], "one accepted, so the window moved on by one column"


def test_the_window_and_the_pool_fill_the_draft_as_in_the_paper():
    drafter, context = LookaheadDrafter(window=3, level=3, num_ngrams=2), [3, 9, 50]
    sizes = [len(one_round(drafter, context).tokens) for _ in range(3)]
    assert sizes[0] == 3
    assert max(sizes) <= (3 + 2) * 2
    assert drafter.pool


def test_pool_ngrams_are_the_targets_own():
    drafter, context = LookaheadDrafter(window=2, level=3, num_ngrams=1), [10, 20]
    for _ in range(3):
        one_round(drafter, context)
    # What a column recorded last is the target's choice after the rest of it.
    assert all(rest[-1] == (rest[-2] + 1) % VOCAB for known in drafter.pool.values() for rest in known)
    assert all(len(known) <= 1 for known in drafter.pool.values())


def test_siblings_differ_and_parents_come_first():
    drafter, context = LookaheadDrafter(), [1, 1, 1]
    for _ in range(5):
        draft = one_round(drafter, context)
        assert len(set(zip(draft.parents, draft.tokens, strict=True))) == len(draft.tokens)
        assert all(ROOT <= parent < node for node, parent in enumerate(draft.parents))


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 5])
def test_a_small_budget_is_kept(num_tokens):
    drafter, context = LookaheadDrafter(), [4]
    assert all(len(one_round(drafter, context, num_tokens).tokens) <= num_tokens for _ in range(6))


def test_other_peoples_drafts_teach_nothing_and_reset_forgets():
    drafter, context = LookaheadDrafter(), [4, 5]
    one_round(drafter, context)
    columns = [list(column) for column in drafter.columns]
    drafter.observe([7], torch.zeros(1, VOCAB), NOTHING)
    assert drafter.columns == columns
    drafter.reset()
    assert (drafter.columns, drafter.pool) == ([], {})


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="level 1"):
        LookaheadDrafter(level=1)
