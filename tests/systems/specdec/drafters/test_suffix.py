"""The suffix drafter against a search of the whole text."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn.drafting import NOTHING
from tenfold.systems.specdec.drafters.earlier_requests import EarlierRequests
from tenfold.systems.specdec.drafters.suffix import SuffixDrafter
from tenfold.systems.specdec.drafters.suffix_automaton import SuffixAutomaton

contexts = st.lists(st.integers(0, 3), min_size=1, max_size=40)


def naive_draft(text, num_tokens, factor, least):
    """Searches the longest suffix that occurred before, then its most frequent continuation, the newest among equals."""
    sizes = range(len(text) - 1, 0, -1)
    size = next((n for n in sizes if text[-n:] in [text[i : i + n] for i in range(len(text) - n)]), 0)
    drafted, path = [], 1.0
    while len(drafted) < min(num_tokens, int(factor * size)):
        matched = text[len(text) - size :] + drafted
        places = [end for end in range(len(matched), len(text)) if text[end - len(matched) : end] == matched]
        if not places:
            break
        nexts = [text[place] for place in places]
        weights = {token: nexts.count(token) + (token == nexts[-1]) for token in nexts}
        best = max(
            weights, key=lambda token: (weights[token], max(p for p, t in zip(places, nexts, strict=True) if t == token))
        )
        path *= weights[best] / (sum(weights.values()) + 3 / len(matched))
        if path < least:
            break
        drafted.append(best)
    return drafted


@given(contexts, st.integers(1, 8), st.sampled_from([0.5, 1.0, 3.0]))
def test_a_chain_is_what_a_search_finds(text, num_tokens, factor):
    drafter = SuffixDrafter(factor=factor)
    for end in sorted({1, max(len(text) // 2, 1), len(text)}):
        draft = drafter.propose(text[:end], num_tokens)
    assert list(draft.tokens) == naive_draft(text, num_tokens, factor, 0.1)


@given(contexts, st.integers(1, 12))
def test_the_first_path_of_a_tree_is_the_chain_and_siblings_differ(text, num_tokens):
    chain = SuffixDrafter(shape="chain").propose(text, 1)
    tree = SuffixDrafter(shape="tree").propose(text, num_tokens)
    assert list(tree.tokens[:1]) == list(chain.tokens)
    assert len(tree.tokens) <= num_tokens
    assert len(set(zip(tree.parents, tree.tokens, strict=True))) == len(tree.tokens)
    assert all(parent < node for node, parent in enumerate(tree.parents))


def test_an_unseen_token_gives_no_draft():
    assert SuffixDrafter().propose([5], 4) is NOTHING
    assert SuffixDrafter().propose([5, 6], 4) is NOTHING


def test_a_long_match_in_the_index_wins_over_a_short_local_one():
    index = SuffixAutomaton()
    index.extend([1, 2, 3, 4, 5, 6, 7, 8, 9])
    drafter = SuffixDrafter(index=index)
    assert drafter.state == "corpus"
    assert list(drafter.propose([6, 0, 1, 2, 3, 4, 5, 6], 3).tokens) == [7, 8, 9]
    drafter.reset()
    assert list(drafter.propose([6, 0, 3, 4, 5, 6], 3).tokens) == [0], "four tokens in the index are too few"
    drafter.reset()
    local = [1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6]
    assert list(drafter.propose(local, 1).tokens) == [0], "the index must win by five"


def test_earlier_requests_are_remembered_across_resets():
    drafter = SuffixDrafter(remembered_tokens=100)
    assert drafter.state == "process"
    drafter.propose([1, 2, 3, 4, 5, 6, 7], 3)
    drafter.reset()
    assert list(drafter.propose([9, 2, 3, 4, 5, 6], 3).tokens) == [7]


def test_without_memory_a_reset_forgets():
    drafter = SuffixDrafter()
    drafter.propose([1, 2, 3, 4, 5, 6, 7], 3)
    drafter.reset()
    assert drafter.state == "request"
    assert drafter.propose([9, 2, 3, 4, 5, 6], 3) is NOTHING


def test_the_least_recently_useful_text_is_forgotten_first():
    earlier = EarlierRequests(40)
    earlier.remember([1] * 9)
    earlier.remember([2] * 9)
    earlier.remember([3] * 9)
    earlier.touch(5)
    earlier.remember([4] * 12)
    assert [text[0] for text in earlier.texts] == [4] or [text[0] for text in earlier.texts] == [1, 4]
    assert len(earlier.automaton) <= 40


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=12), max_size=20))
def test_memory_stays_within_its_room(texts):
    earlier = EarlierRequests(30)
    for text in texts:
        earlier.remember(text)
        assert len(earlier.automaton) <= 30
        assert len(earlier.texts) == len(earlier.ends) == len(earlier.last_use)
        if earlier.texts:
            earlier.touch(earlier.ends[0] - 1)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="factor is 0"):
        SuffixDrafter(factor=0)
    with pytest.raises(ValueError, match="the one or the other"):
        SuffixDrafter(index=SuffixAutomaton(), remembered_tokens=5)


def test_observing_changes_nothing():
    drafter = SuffixDrafter()
    draft = drafter.propose([1, 2, 1], 2)
    drafter.observe([2], torch.zeros(2, 4), draft)
    assert drafter.propose([1, 2, 1], 2) == draft
