"""An upcycled model computes what the dense one does; reordered neurons change nothing; impossible cuts are refused."""

import pytest
import torch
from transformers import GPT2Config, LlamaConfig

from conftest import build_tiny_model
from tenfold.core.errors import ConfigError
from tenfold.systems.moe.flops import count_parameters
from tenfold.systems.moe.upcycle import Cut, hold_ties, mean_inputs, mixture_config, neuron_order, upcycle

IDS = torch.arange(2 * 19).view(2, 19) * 7 % 97


def dense(**changes: object):
    return build_tiny_model(LlamaConfig, intermediate_size=64, num_hidden_layers=3, tie_word_embeddings=True, **changes)


@pytest.mark.parametrize("cut", [Cut(), Cut(shared=0), Cut(segments=4, shared=1, copies=2, first_dense=0), Cut(copies=1)])
def test_the_function_is_the_same_at_the_start(cut: Cut) -> None:
    model = dense()
    mixture = upcycle(model, cut)
    expected, found = model(IDS).logits, mixture(IDS).logits
    assert (found - expected).abs().max() < 5e-3 * expected.std()
    losses = [each(IDS, labels=IDS).loss for each in (model, mixture)]
    assert abs(losses[0] - losses[1]) < 1e-3


def test_the_error_follows_epsilon() -> None:
    model = dense()
    expected = model(IDS).logits
    errors = [(upcycle(model, Cut(epsilon=epsilon))(IDS).logits - expected).abs().max() for epsilon in (1e-3, 1e-2)]
    assert 3 < errors[1] / errors[0] < 30


def test_every_token_takes_one_whole_copy() -> None:
    mixture = upcycle(dense(), Cut())
    gate = mixture.model.layers[1].mlp.gate
    _, weight, expert = gate(torch.randn(200, 32, generator=torch.Generator().manual_seed(0)))
    copies = expert // 6
    assert bool((copies == copies[:, :1]).all()) and len(copies.unique()) > 1
    assert torch.equal(expert.sort().values % 6, torch.arange(6).expand(200, 6))
    assert (weight * 24 - 1).abs().max() < 0.02


def test_reordered_neurons_compute_the_same() -> None:
    model = dense()
    order = neuron_order(model, IDS)
    assert all(torch.equal(each.sort().values, torch.arange(64)) for each in order)
    found = upcycle(model, Cut(), order=order)(IDS).logits
    assert (found - model(IDS).logits).abs().max() < 5e-3 * found.std()


def test_the_shared_neurons_are_those_that_matter_most() -> None:
    model = dense()
    seen = []
    handle = model.model.layers[1].mlp.down_proj.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(IDS)
    handle.remove()
    weighed = seen[0].abs().mean((0, 1)) * model.model.layers[1].mlp.down_proj.weight.norm(dim=0)
    assert torch.equal(neuron_order(model, IDS)[1], weighed.argsort(descending=True))


def test_dropped_neurons_change_the_function_and_copies_differ() -> None:
    model = dense()
    mixture = upcycle(model, Cut(drop=0.5))
    weights = mixture.model.layers[1].mlp.experts.gate_up_proj
    assert not torch.equal(weights[0], weights[6])
    assert (mixture(IDS).logits - model(IDS).logits).abs().max() > 1e-2


def test_it_trains_on_and_the_copies_part() -> None:
    mixture = upcycle(dense(), Cut()).train()
    optimizer = torch.optim.AdamW(mixture.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        loss = mixture(IDS, labels=IDS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    down = mixture.model.layers[1].mlp.experts.down_proj
    assert not torch.equal(down[0], down[6])


def test_held_ties_survive_an_optimizer_and_free_ones_do_not() -> None:
    for held in (True, False):
        mixture = upcycle(dense(), Cut()).train()
        if held:
            hold_ties(mixture, Cut())
        optimizer = torch.optim.AdamW(mixture.parameters(), lr=1e-3)
        for _ in range(3):
            mixture(IDS, labels=IDS).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        row_RKD = mixture.model.layers[1].mlp.gate.weight.unflatten(0, (4, 6))
        assert torch.equal(row_RKD, row_RKD[:, :1].expand_as(row_RKD)) == held
        expert = mixture.model.layers[1].mlp.gate(torch.randn(200, 32))[2]
        assert bool((expert.sort().values % 6 == torch.arange(6)).all()) == held


def test_a_router_that_disregards_the_mean_spreads_tokens() -> None:
    model = dense()
    centres = mean_inputs(model, IDS)
    mixture = upcycle(model, Cut(), centres=centres)
    for layer, centre in zip(mixture.model.layers[1:], centres[1:], strict=True):
        assert (layer.mlp.gate.weight @ centre).abs().max() < 1e-8
    assert (mixture(IDS).logits - model(IDS).logits).abs().max() < 5e-3 * model(IDS).logits.std()


def test_the_default_model_gets_the_stated_size() -> None:
    smollm2 = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    smollm2 |= {"num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True}
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**smollm2))
    counted = count_parameters(mixture_config(model, Cut()))
    assert (round(counted.total / 1e6, 1), round(counted.activated / 1e6, 1)) == (308.1, 134.9)


def test_impossible_cuts_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave no routed expert"):
        Cut(segments=4, shared=4)
    with pytest.raises(ConfigError, match=r"epsilon is 0\.0001"):
        Cut(epsilon=1e-4)
    with pytest.raises(ConfigError, match="next that is would be 96"):
        upcycle(dense(), Cut(segments=12, shared=2))
    with pytest.raises(ConfigError, match="GPT2LMHeadModel cannot be upcycled"):
        upcycle(build_tiny_model(GPT2Config), Cut())
