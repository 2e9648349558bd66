"""Every linear map of the layers once, in a stable order, as [outputs, inputs]; experts one by one."""

import pytest
import torch
from transformers import GPT2Config, MixtralConfig

from tenfold.core.errors import UserError
from tenfold.nn.named_linears import named_linears


def test_llama_has_seven_maps_a_layer_in_order(tiny_llama):
    found = named_linears(tiny_llama)
    assert [linear.layer for linear in found] == [0] * 7 + [1] * 7
    assert [linear.kind for linear in found[:7]] == [linear.kind for linear in found[7:]]
    assert found[0].name == "model.layers.0.self_attn.q_proj"
    assert len({linear.name for linear in found}) == 14


def test_conv1d_is_seen_as_outputs_by_inputs(new_tiny_model):
    first = named_linears(new_tiny_model(GPT2Config, n_embd=32, n_layer=2, n_head=4))[0]
    assert first.kind == "attn.c_attn"
    assert first.weight_OI.shape == (96, 32)


def test_each_expert_is_a_map_of_its_own_and_a_view(new_tiny_model):
    model = new_tiny_model(MixtralConfig, num_local_experts=3, num_experts_per_tok=2)
    experts = [linear for linear in named_linears(model) if linear.expert is not None]
    assert len(experts) == 2 * 3 * 2
    assert {linear.expert for linear in experts} == {0, 1, 2}
    experts[0].weight_OI.zero_()
    assert float(experts[0].parameter[0].detach().abs().max()) == 0
    assert float(experts[0].parameter[1].detach().abs().max()) > 0


def test_a_model_without_layers_is_refused(tiny_llama):
    class Bare(torch.nn.Module):
        config = tiny_llama.config

    with pytest.raises(UserError, match="no list of 2 layers"):
        named_linears(Bare())  # pyright: ignore[reportArgumentType]
