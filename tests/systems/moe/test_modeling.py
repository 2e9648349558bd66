"""The layer equals equations 9-11 in a slow float64 loop; every backend, the cache and files agree with the plain model."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from systems.moe.tiny import tiny_config, tiny_model
from tenfold.core.errors import ConfigError
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.flops import count_parameters
from tenfold.systems.moe.modeling import SORTED, DeepseekForCausalLM, DeepseekMoE

BACKENDS = ["eager", "batched_mm", "grouped_mm", SORTED]
IDS = torch.arange(2 * 17).view(2, 17) * 7 % 61


def by_the_paper(layer: DeepseekMoE, u_TD: torch.Tensor) -> torch.Tensor:
    """Token by token and expert by expert, in float64, as equations 9-11 are printed (without the residual)."""
    weights = {name: weight.double() for name, weight in layer.state_dict().items()}
    width = weights["experts.down_proj"].shape[-1]
    found = []
    for u_D in u_TD.double():
        score = [torch.dot(u_D, e_D).exp() for e_D in weights["gate.weight"]]
        score = [value / sum(score) for value in score]
        chosen = sorted(range(len(score)), key=lambda i: -score[i])[: layer.gate.num_chosen]
        gate, up, down = (weights[f"shared_experts.{name}_proj.weight"] for name in ("gate", "up", "down"))
        total = torch.zeros_like(u_D)
        for start in range(0, len(gate), width):  # each shared expert by itself
            part = slice(start, start + width)
            total += down[:, part] @ (functional.silu(gate[part] @ u_D) * (up[part] @ u_D))
        for i in chosen:
            both = weights["experts.gate_up_proj"][i] @ u_D
            total += score[i] * (weights["experts.down_proj"][i] @ (functional.silu(both[:width]) * both[width:]))
        found.append(total)
    return torch.stack(found)


def sparse_layer(model: DeepseekForCausalLM) -> DeepseekMoE:
    layer = model.model.layers[-1].mlp
    assert isinstance(layer, DeepseekMoE)
    return layer


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layer_is_the_papers(backend: str) -> None:
    model = tiny_model()
    model.set_experts_implementation(backend)
    u_TD = torch.randn(33, 32, generator=torch.Generator().manual_seed(1))
    found = sparse_layer(model)(u_TD.unsqueeze(0))[0]
    assert (found - by_the_paper(sparse_layer(model), u_TD)).abs().max() <= 5e-6


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_backends_give_the_gradients_of_the_loop(backend: str) -> None:
    grads = []
    for name in ("eager", backend):
        model = tiny_model()
        model.set_experts_implementation(name)
        model(IDS, labels=IDS).loss.backward()
        grads.append({key: weight.grad for key, weight in model.named_parameters()})
    for key, grad in grads[0].items():
        torch.testing.assert_close(grads[1][key], grad, atol=1e-5, rtol=1e-4, msg=key)


def test_cached_decoding_equals_one_pass() -> None:
    model = tiny_model()
    whole = model(IDS).logits
    first = model(IDS[:, :9], use_cache=True)
    steps = [first.logits]
    with torch.no_grad():
        for place in range(9, 17):
            steps.append(model(IDS[:, place : place + 1], past_key_values=first.past_key_values, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=1e-4)


def test_padding_on_the_left_changes_nothing() -> None:
    model = tiny_model()
    mask = torch.tensor([[0] * 4 + [1] * 17])
    padded = torch.cat([torch.zeros(1, 4, dtype=torch.long), IDS[:1]], dim=1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    found = model(padded, attention_mask=mask, position_ids=positions).logits[:, 4:]
    torch.testing.assert_close(found, model(IDS[:1]).logits, atol=1e-5, rtol=1e-4)


def test_checkpointed_gradients_are_the_plain_ones() -> None:
    plain, saved = tiny_model().train(), tiny_model().train()
    saved.activation_checkpointing_enable()
    for model in (plain, saved):
        model(IDS, labels=IDS).loss.backward()
    for (key, weight), other in zip(plain.named_parameters(), saved.parameters(), strict=True):
        torch.testing.assert_close(other.grad, weight.grad, msg=key)


def test_files_carry_the_official_names_and_reload(tmp_path: Path) -> None:
    model = tiny_model()
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    assert state["model.layers.1.mlp.experts.7.gate_proj.weight"].shape == (16, 32)
    assert state["model.layers.1.mlp.experts.0.down_proj.weight"].shape == (32, 16)
    assert state["model.layers.1.mlp.gate.weight"].shape == (8, 32)
    assert state["model.layers.2.mlp.shared_experts.up_proj.weight"].shape == (32, 32)
    assert state["model.layers.0.mlp.gate_proj.weight"].shape == (48, 32)
    assert not [name for name in state if "gate_up" in name]
    again, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert isinstance(again, DeepseekForCausalLM)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.equal(again(IDS).logits, model(IDS).logits)
    assert json.loads((tmp_path / "config.json").read_text())["n_shared_experts"] == 2
    assert isinstance(AutoConfig.from_pretrained(tmp_path), DeepseekConfig)


def test_the_order_of_experts_means_nothing() -> None:
    model, order = tiny_model(), torch.randperm(8, generator=torch.Generator().manual_seed(3))
    before = model(IDS).logits
    with torch.no_grad():
        for layer in model.model.layers[1:]:
            for weight in (layer.mlp.gate.weight, layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                weight.copy_(weight[order].clone())
    torch.testing.assert_close(model(IDS).logits, before, atol=1e-5, rtol=1e-4)


def test_generation_is_the_argmax_of_full_passes() -> None:
    model, ids = tiny_model(), IDS[:1, :5]
    found = model.generate(ids, max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=1)
    for _ in range(6):
        logits = model(ids).logits[:, -1]
        logits[:, 1] = -torch.inf
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(found, ids)


def test_a_hash_router_sends_each_token_by_its_id() -> None:
    model = tiny_model(router="hash", num_experts_per_tok=1, n_shared_experts=0)
    _, weight, expert = sparse_layer(model).gate(torch.zeros(61, 32), torch.arange(61))
    assert torch.equal(expert[:, 0], torch.arange(61) % 8) and bool((weight == 1).all())
    assert model(IDS).logits.isfinite().all()


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": True}, {"n_routed_experts": None}, {"router": "hash"}, {"attention_bias": True}]
)
def test_parameters_are_counted_without_the_model(changes: dict) -> None:
    model = tiny_model(**changes)
    assert count_parameters(model.config).total == sum(weight.numel() for weight in model.parameters())


def test_the_official_16b_configuration_has_its_size() -> None:
    with torch.device("meta"):
        model = DeepseekForCausalLM(DeepseekConfig())
    assert sum(weight.numel() for weight in model.parameters()) == 16_375_728_128
    assert count_parameters(model.config).total == 16_375_728_128


def test_a_seeded_model_gives_the_logits_it_always_gave() -> None:
    logits = tiny_model()(IDS).logits
    expected = torch.tensor([[-0.61719, -2.15036, -2.06498, 0.58312], [1.65586, -0.10019, 1.37241, -0.06676]])
    torch.testing.assert_close(torch.stack([logits[0, -1, :4], logits[1, 8, :4]]), expected, atol=1e-4, rtol=0)


def test_more_choices_than_experts_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_experts_per_tok is 9, but there are 8"):
        tiny_config(num_experts_per_tok=9)
