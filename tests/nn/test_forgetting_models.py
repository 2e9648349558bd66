"""Models that look at a window, or fold the past into a state: rolled back, they are as if it had never happened."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    BambaConfig,
    FalconH1Config,
    Gemma2Config,
    Gemma3TextConfig,
    JambaConfig,
    Lfm2Config,
    Mamba2Config,
    MambaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3NextConfig,
    RwkvConfig,
)

from tenfold.core.errors import UserError
from tenfold.nn.scoring import score_candidates
from tenfold.nn.transformers_lm import MOST_PENDING, TransformersLM

STATE = {"state_size": 4, "num_key_value_heads": None}
MIXER = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 4, "mamba_chunk_size": 4}
MODELS = {
    "mistral": (MistralConfig, {"sliding_window": 6}),
    "qwen2": (Qwen2Config, {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "gemma2": (Gemma2Config, {"sliding_window": 6, "head_dim": 8}),
    "gemma3": (
        Gemma3TextConfig,
        {"sliding_window": 6, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "lfm2": (Lfm2Config, {"layer_types": ["conv", "full_attention"], "block_ff_dim": 32}),
    "falcon-h1": (
        FalconH1Config,
        {
            **MIXER,
            "mamba_n_heads": 4,
            "mamba_d_ssm": 32,
            "mamba_n_groups": 1,
            "head_dim": 8,
        },
    ),
    "qwen3-next": (
        Qwen3NextConfig,
        {
            "layer_types": ["linear_attention", "full_attention"],
            "head_dim": 8,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
        },
    ),
    "mamba": (MambaConfig, STATE),
    "mamba2": (Mamba2Config, {**STATE, "num_heads": 8, "head_dim": 8, "n_groups": 2, "chunk_size": 4}),
    "bamba": (BambaConfig, {**MIXER, "attn_layer_indices": [1]}),
    "jamba": (
        JambaConfig,
        {
            "mamba_d_state": 4,
            "mamba_dt_rank": 4,
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "use_mamba_kernels": False,
            "num_experts": 2,
        },
    ),
}
WINDOWED = ("mistral", "qwen2", "gemma2", "gemma3")
ONE_BY_ONE = ("mamba", "jamba")
"""Their several-token passes ignore the state, in Transformers 5.23."""


@pytest.fixture(scope="module", params=list(MODELS))
def named(request, new_tiny_model):
    config_type, changes = MODELS[request.param]
    return request.param, TransformersLM(new_tiny_model(config_type, **changes))


@torch.inference_mode()
def reference(lm, tokens):
    return lm.model(torch.tensor([tokens])).logits[0]


def close(got, expected):
    return torch.allclose(got, expected, atol=5e-5)


def test_what_kind_of_model_it_is(named):
    name, lm = named
    assert not lm.takes_trees
    assert lm.is_recurrent == (name not in WINDOWED)
    assert lm.feeds_one_by_one == (name in ONE_BY_ONE)


@pytest.mark.parametrize("name", ["mamba", "mamba2", "jamba", "bamba", "lfm2"])
def test_the_kind_is_found_in_coarse_arithmetic_too(new_tiny_model, name):
    config_type, changes = MODELS[name]
    lm = TransformersLM(new_tiny_model(config_type, **changes).bfloat16())
    assert lm.feeds_one_by_one == (name in ONE_BY_ONE)


steps = st.lists(st.tuples(st.lists(st.integers(3, 96), min_size=1, max_size=6), st.integers(0, 6)), min_size=1, max_size=6)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompt=st.lists(st.integers(3, 96), min_size=1, max_size=12), steps=steps)
def test_every_pass_is_that_of_the_text_that_was_kept(named, prompt, steps):
    """Passes of several tokens, each rolled back by some number, as the rounds of speculation do."""
    _, lm = named
    lm.reset()
    assert close(lm.prefill([prompt])[0], reference(lm, prompt)[-1])
    text = list(prompt)
    for tokens, back in steps:
        logits_KV = lm.forward(torch.tensor([tokens]))[0]
        assert close(logits_KV, reference(lm, [*text, *tokens])[-len(tokens) :])
        kept = max(len(tokens) - back, 0)
        lm.keep(0, len(text), range(len(text), len(text) + kept))
        text += tokens[:kept]
        assert list(lm.lengths) == [len(text)]


@pytest.mark.parametrize("back", [1, 3, 5, 9, 11])
def test_a_rollback_further_than_the_last_pass(named, back):
    _, lm = named
    tokens = [5, 9, 33, 96, 4, 17, 60, 60, 8, 41, 23, 11]
    lm.reset()
    lm.prefill([tokens[:4]])
    lm.forward(torch.tensor([tokens[4:10]]))
    lm.forward(torch.tensor([tokens[10:]]))
    lm.rollback([back])
    kept = tokens[: len(tokens) - back]
    assert close(lm.forward(torch.tensor([[7, 8]]))[0], reference(lm, [*kept, 7, 8])[-2:])


def test_rejection_after_rejection_costs_few_passes(named):
    """What is fed again rides along with the next pass; it gets one of its own only once in a while."""
    name, lm = named
    lm.reset()
    lm.prefill([[5, 9, 33]])
    calls = []
    original = lm._run
    lm._run = lambda ids, *others: calls.append(len(ids)) or original(ids, *others)
    for _ in range(20):
        start = lm.lengths[0]
        lm.forward(torch.tensor([[4, 5, 6]]))
        lm.keep(0, start, [start])
    del lm._run
    if name not in ONE_BY_ONE:
        assert len(calls) <= 20 + 20 // MOST_PENDING
        assert max(calls) <= MOST_PENDING + 3


def test_candidates_are_scored_without_a_tree(named):
    _, lm = named
    prompt, candidates = [5, 6, 7, 8, 9, 10, 11], [[3], [3, 4], [12, 13, 14]]
    scores = score_candidates(lm, prompt, candidates)
    for score, candidate in zip(scores, candidates, strict=True):
        law_TV = reference(lm, [*prompt, *candidate])[len(prompt) - 1 : -1].log_softmax(-1)
        assert float(score) == pytest.approx(float(law_TV.gather(1, torch.tensor(candidate)[:, None]).sum()), abs=1e-3)


def test_trees_and_unknown_states_are_refused(named, new_tiny_model):
    _, lm = named
    with pytest.raises(UserError, match="takes no token trees"):
        lm.forward(torch.tensor([[1, 2]]), depths_K=torch.tensor([0, 0]), ancestors_KK=torch.eye(2, dtype=torch.bool))
    with pytest.raises(UserError, match="follow one another"):
        lm.keep(0, 0, [1, 3])


def test_a_state_outside_of_the_cache_is_refused(new_tiny_model):
    with pytest.raises(UserError, match=r"rwkv keeps a state that cannot be rolled back here"):
        TransformersLM(new_tiny_model(RwkvConfig, attention_hidden_size=32))
