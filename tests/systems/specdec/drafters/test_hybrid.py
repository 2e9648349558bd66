"""The hybrid: who speaks when, and that it learns from whatever the target says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn.drafting import NOTHING, Draft
from tenfold.systems.specdec.drafters.calibration import Calibration, confidence_class
from tenfold.systems.specdec.drafters.hybrid import HybridDrafter, expected_accepted
from tenfold.systems.specdec.drafters.suffix import SuffixDrafter

VOCAB = 10


class Says:
    """Always drafts the same tokens with the same confidence."""

    state = "none"

    def __init__(self, name, tokens, confidence):
        self.name, self.tokens, self.confidence, self.asked = name, tokens, confidence, 0

    def reset(self):
        pass

    def propose(self, context, num_tokens):
        self.asked += 1
        tokens = self.tokens[:num_tokens]
        return Draft.chain(tokens, self.name, confidence=[self.confidence] * len(tokens))

    def observe(self, emitted, logits_KV, draft):
        pass


def rounds(hybrid, emitted, num_rounds, num_tokens=4):
    """Lets the target emit the same tokens round after round; returns the last draft."""
    draft = NOTHING
    for _ in range(num_rounds):
        draft = hybrid.propose([1], num_tokens)
        hybrid.observe(emitted, torch.zeros(len(draft.tokens) + 1, VOCAB), draft)
    return draft


def test_the_surest_member_speaks_first():
    hybrid = HybridDrafter([Says("low", [3], 0.4), Says("high", [4], 0.6)])
    draft = hybrid.propose([1], 4)
    assert list(draft.tokens) == [4]
    assert draft.source == "hybrid:high"


def test_a_member_that_boasts_is_found_out():
    hybrid = HybridDrafter([Says("boaster", [3, 3], 0.95), Says("modest", [4, 4], 0.2)])
    assert list(rounds(hybrid, [4, 4], 30).tokens) == [4, 4]


def test_a_guess_that_was_not_drafted_counts_too():
    hybrid = HybridDrafter([Says("boaster", [3], 0.95), Says("modest", [4], 0.2)])
    rounds(hybrid, [4], 12)
    assert hybrid.calibration((1, confidence_class(0.2)), 0.2) > 0.6
    assert hybrid.calibration((0, confidence_class(0.95)), 0.95) < 0.5


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0.01, 1)), min_size=1, max_size=5), st.integers(1, 6))
def test_before_anything_is_known_no_member_alone_promises_more(members, num_tokens):
    says = [Says(f"m{place}", [token] * 3, confidence) for place, (token, confidence) in enumerate(members)]
    joined = HybridDrafter(says, shape="tree").propose([1], num_tokens)
    alone = [expected_accepted(member.propose([1], num_tokens)) for member in says]
    assert expected_accepted(joined) >= max(alone) - 1e-9


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 12), st.sampled_from(["chain", "tree"]))
def test_drafts_are_well_formed(context, num_tokens, shape):
    hybrid = HybridDrafter(shape=shape)
    draft = hybrid.propose(context, num_tokens)
    hybrid.observe([1], torch.randn(len(draft.tokens) + 1, VOCAB), draft)
    draft = hybrid.propose([*context, 1], num_tokens)
    assert len(draft.tokens) <= num_tokens
    assert shape == "tree" or draft.is_chain
    assert all(parent < node for node, parent in enumerate(draft.parents))
    assert len(set(zip(draft.parents, draft.tokens, strict=True))) == len(draft.tokens)
    assert all(0 < confidence <= 1 for confidence in draft.confidence)


def test_equal_calls_give_equal_drafts():
    drafts = []
    for _ in range(2):
        hybrid = HybridDrafter(shape="tree")
        generator = torch.Generator().manual_seed(0)
        context = [1, 2, 3, 1, 2]
        for _ in range(6):
            draft = hybrid.propose(context, 6)
            drafts.append((list(draft.tokens), list(draft.parents)))
            hybrid.observe([3, 1], torch.randn(len(draft.tokens) + 1, VOCAB, generator=generator), draft)
            context += [3, 1]
    assert drafts[:6] == drafts[6:]


def test_a_costly_member_is_asked_only_where_it_pays():
    cheap, costly = Says("cheap", [3, 3, 3], 0.9), Says("costly", [4, 4, 4], 0.9)
    hybrid = HybridDrafter([cheap, costly], costs={"costly": 0.5})
    hybrid.propose([1], 3)
    assert costly.asked == 0, "what is at hand promises 2.4 tokens, the costly member 2 for half a pass"
    cheap.tokens = []
    hybrid.propose([1], 3)
    assert costly.asked == 1


def test_a_costly_member_that_fails_is_asked_no_more():
    costly = Says("costly", [4], 0.9)
    hybrid = HybridDrafter([Says("cheap", [], 0.9), costly], costs={"costly": 0.5})
    rounds(hybrid, [5], 40)
    asked = costly.asked
    assert 0 < asked < 40
    rounds(hybrid, [5], 5)
    assert costly.asked == asked


def test_cold_forgets_what_it_learnt_and_hot_does_not():
    for cold in (False, True):
        hybrid = HybridDrafter([SuffixDrafter()], cold=cold)
        rounds(hybrid, [1], 1)
        hybrid.calibration.note((0, 3), 0.2, True)
        hybrid.reset()
        assert ((0, 3) in hybrid.calibration.rates) != cold
        assert hybrid.state == ("request" if cold else "process")


def test_without_members_there_is_no_hybrid():
    with pytest.raises(ValueError, match="at least 1"):
        HybridDrafter([])


def test_calibration_moves_from_the_first_word_to_the_facts():
    calibration = Calibration()
    assert calibration("kind", 0.7) == 0.7
    for _ in range(200):
        calibration.note("kind", 0.7, False)
    assert calibration("kind", 0.7) < 0.05
