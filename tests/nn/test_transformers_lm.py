"""Any Transformers model behind the same seam: parity with its own straight pass, rollback, trees, refusals."""

import pytest
import torch
from transformers import GPT2Config

from tenfold.nn.drafting import Draft
from tenfold.nn.transformers_lm import TransformersLM

GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
TOKENS = [5, 9, 33, 96, 1, 17, 60, 60, 2, 41]


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request, new_tiny_model):
    return new_tiny_model() if request.param == "llama" else new_tiny_model(GPT2Config, **GPT2)


@pytest.fixture
def lm(model):
    return TransformersLM(model)


@torch.inference_mode()
def reference(model, tokens):
    return model(torch.tensor([tokens])).logits[0]


def close(got, expected):
    return torch.allclose(got, expected, atol=2e-5)


def test_logits_are_the_models_own_however_the_text_is_split(lm, model):
    expected_TV = reference(model, TOKENS)
    assert close(lm.prefill([TOKENS[:4]])[0], expected_TV[3])
    assert close(lm.forward(torch.tensor([TOKENS[4:7]]))[0], expected_TV[4:7])
    assert close(lm.prefill([TOKENS[7:9]])[0], expected_TV[8])
    assert close(lm.forward(torch.tensor([TOKENS[9:]]))[0], expected_TV[9:])
    assert list(lm.lengths) == [len(TOKENS)]


@pytest.mark.parametrize("count", [0, 1, 4, 6])
def test_rolled_back_and_fed_again_is_straight(lm, model, count):
    lm.prefill([TOKENS[:6]])
    lm.rollback([count])
    assert list(lm.lengths) == [6 - count]
    assert close(lm.forward(torch.tensor([TOKENS[6 - count :]]))[0], reference(model, TOKENS)[6 - count :])


def test_tree_pass_is_each_path_run_as_a_chain(lm, model):
    draft = Draft([8, 9, 10, 11, 12], [-1, 0, 0, -1, 1], "test")
    lm.prefill([TOKENS])
    depths_K, seen_KK = torch.tensor([0, *draft.depths]), draft.ancestry()
    logits_KV = lm.forward(torch.tensor([[7, *draft.tokens]]), depths_K=depths_K, ancestors_KK=seen_KK)[0]
    for node in range(len(draft.tokens)):
        path = [draft.tokens[step] for step in draft.path(node)]
        assert close(logits_KV[node + 1], reference(model, [*TOKENS, 7, *path])[-1])

    start = len(TOKENS)
    lm.keep(0, start, [start, *(start + 1 + node for node in draft.path(4))])
    assert list(lm.lengths) == [start + 4]
    assert close(lm.forward(torch.tensor([[3]]))[0], reference(model, [*TOKENS, 7, 8, 9, 12, 3])[-1:])


def test_keeping_nothing_empties_the_cache(lm, model):
    lm.prefill([TOKENS])
    lm.keep(0, 0, [])
    assert list(lm.lengths) == [0]
    assert close(lm.prefill([TOKENS])[0], reference(model, TOKENS)[-1])


def test_reset_forgets(lm, model):
    lm.prefill([TOKENS])
    lm.reset()
    assert close(lm.prefill([TOKENS[:3]])[0], reference(model, TOKENS[:3])[-1])


def test_users_mistakes_are_refused(lm):
    with pytest.raises(ValueError, match="prompt is empty"):
        lm.prefill([[]])
    with pytest.raises(ValueError, match="1 row"):
        lm.prefill([[1], [2]])
    with pytest.raises(ValueError, match="do not fit"):
        lm.prefill([[1] * (lm.max_positions + 1)])
    with pytest.raises(ValueError, match="cannot roll back 1 tokens of 0"):
        lm.rollback([1])
