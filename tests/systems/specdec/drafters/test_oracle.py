"""The oracle errs exactly as often as it was told to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.nn.drafting import NOTHING
from tenfold.systems.specdec.drafters.oracle import OracleDrafter, oracle_law

TEXT = [place % 50 for place in range(4000)]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9, 1.0])
def test_the_share_of_right_tokens_is_alpha(alpha):
    tokens = OracleDrafter(TEXT, alpha=alpha, vocab_size=60).propose(TEXT[:1], len(TEXT)).tokens
    share = sum(a == b for a, b in zip(tokens, TEXT[1:], strict=True)) / len(tokens)
    assert abs(share - alpha) < 0.03
    assert all(0 <= token < 60 for token in tokens)


def test_a_request_repeats_after_reset():
    drafter = OracleDrafter(TEXT, alpha=0.5, vocab_size=60, seed=3)
    first = drafter.propose(TEXT[:7], 20)
    drafter.reset()
    assert drafter.propose(TEXT[:7], 20) == first


def test_it_is_silent_off_its_text_and_at_its_end():
    drafter = OracleDrafter([1, 2, 3], alpha=1, vocab_size=9)
    assert drafter.propose([1, 5], 2) is NOTHING
    assert drafter.propose([1, 2, 3], 2) is NOTHING
    assert drafter.propose([1, 2, 3, 4], 2) is NOTHING
    assert list(drafter.propose((1, 2), 4).tokens) == [3]


@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=8), st.floats(0.5, 1))
def test_the_law_shares_exactly_alpha_with_the_targets(weights, alpha):
    p_1V = torch.tensor([weights], dtype=torch.float64)
    p_1V /= p_1V.sum()
    q_1V = oracle_law(p_1V, alpha)
    assert bool((q_1V >= 0).all())
    assert q_1V.sum().item() == pytest.approx(1, abs=1e-12)
    assert torch.minimum(p_1V, q_1V).sum().item() == pytest.approx(alpha, abs=1e-12)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match=r"alpha is 1\.5"):
        OracleDrafter([1], alpha=1.5, vocab_size=9)
    with pytest.raises(ValueError, match=r"alpha is 0\.1"):
        oracle_law(torch.tensor([[0.5, 0.5]]), 0.1)
