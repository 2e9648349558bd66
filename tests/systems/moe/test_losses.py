"""The losses equal equations 12-17 in a slow loop; the stock loss of Transformers misses a collapse that ours sees."""

import pytest
import torch
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM
from transformers.models.qwen2_moe.modeling_qwen2_moe import load_balancing_loss_func

from systems.moe.tiny import tiny_model
from tenfold.core.errors import ConfigError
from tenfold.systems.moe.losses import BalanceLoss, BalanceSettings, device_loss, expert_loss, measure_loads
from tenfold.systems.moe.router import choose

IDS = torch.arange(3 * 11).view(3, 11) * 5 % 61


def by_the_paper(logits_TN: torch.Tensor, num_chosen: int, num_devices: int) -> tuple[float, float]:
    """Equations 12-17 over one run of tokens, with plain loops."""
    score = logits_TN.double().softmax(-1).tolist()
    num_tokens, num_experts = logits_TN.shape
    chosen = [sorted(range(num_experts), key=lambda i, row=row: -row[i])[:num_chosen] for row in score]
    f = [num_experts / (num_chosen * num_tokens) * sum(i in row for row in chosen) for i in range(num_experts)]
    p = [sum(row[i] for row in score) / num_tokens for i in range(num_experts)]
    size = num_experts // num_devices
    groups = [range(d * size, (d + 1) * size) for d in range(num_devices)]
    devices = sum(sum(f[i] for i in group) / size * sum(p[i] for i in group) for group in groups)
    return sum(a * b for a, b in zip(f, p, strict=True)), devices


@pytest.mark.parametrize("scope", ["sequence", "batch", "global"])
def test_losses_equal_the_printed_equations(scope) -> None:
    logits = torch.randn(3, 11, 8, generator=torch.Generator().manual_seed(0)) * 2
    loads = measure_loads(logits, choose(logits, 3)[1], None, scope)
    runs = logits if scope == "sequence" else logits.view(1, 33, 8)
    expected = torch.tensor([by_the_paper(run, 3, 4) for run in runs]).mean(0)
    found = torch.stack([expert_loss(loads), device_loss(loads, 4)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_padding_is_not_counted() -> None:
    logits = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(1))
    real = torch.ones(2, 9)
    real[1, 4:] = 0
    loads = measure_loads(logits, choose(logits, 2)[1], real, "sequence")
    expected = (by_the_paper(logits[0], 2, 1)[0] + by_the_paper(logits[1, :4], 2, 1)[0]) / 2
    assert float(expert_loss(loads)) == pytest.approx(expected, abs=1e-5)


def test_balance_scores_one_and_collapse_scores_experts_over_chosen() -> None:
    even = torch.eye(8).repeat(4, 1).unsqueeze(0) * 40
    assert float(expert_loss(measure_loads(even, choose(even, 1)[1], None, "batch"))) == pytest.approx(1, abs=1e-4)
    collapsed = torch.full((1, 32, 8), -40.0)
    collapsed[..., :2] = 40
    assert float(expert_loss(measure_loads(collapsed, choose(collapsed, 2)[1], None, "batch"))) == pytest.approx(4, abs=1e-4)


def test_the_stock_loss_calls_a_collapse_in_every_layer_balanced() -> None:
    layers = []
    for layer in range(4):  # each layer sends every token to another pair
        logits = torch.full((1, 64, 8), -40.0)
        logits[..., 2 * layer : 2 * layer + 2] = 40
        layers.append(logits)
    stock = load_balancing_loss_func(tuple(each[0] for each in layers), num_experts=8, top_k=2)
    assert float(stock) == pytest.approx(2, abs=1e-3)  # its optimum is top_k
    ours = [float(expert_loss(measure_loads(each, choose(each, 2)[1], None, "batch"))) for each in layers]
    assert ours == pytest.approx([4, 4, 4, 4], abs=1e-3)  # each layer the worst possible: N / K


@pytest.mark.parametrize("checkpointed", [False, True])
def test_attached_losses_reach_the_routers(checkpointed: bool) -> None:
    model = tiny_model().train()
    if checkpointed:
        model.activation_checkpointing_enable()
    balance = BalanceLoss.attach(model, BalanceSettings(expert=0.5, device=0.25, num_devices=2, z=0.125))
    output = model(IDS, output_router_logits=True)
    expected = torch.zeros(())
    for logits in output.router_logits:
        loads = measure_loads(logits.view(3, 11, 8), choose(logits, 3)[1].view(3, 11, 3), None, "sequence")
        z = logits.logsumexp(-1).square().mean()
        expected = expected + 0.5 * expert_loss(loads) + 0.25 * device_loss(loads, 2) + 0.125 * z
    found = balance.collect(IDS.shape)
    torch.testing.assert_close(found, expected)
    found.backward()
    gate = model.model.layers[1].mlp.gate.weight
    assert gate.grad is not None and bool(gate.grad.any())
    with pytest.raises(ConfigError, match="no forward pass"):  # layers computed again in the backward pass do not count
        balance.collect(IDS.shape)


def test_losses_attach_to_another_familys_model() -> None:
    torch.manual_seed(0)
    config = Qwen2MoeConfig(
        vocab_size=61,
        hidden_size=32,
        intermediate_size=48,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_experts=8,
        num_experts_per_tok=2,
    )
    model = Qwen2MoeForCausalLM(config)
    balance = BalanceLoss.attach(model, BalanceSettings(expert=1.0, scope="batch"))
    output = model(IDS, output_router_logits=True)
    expected = sum(by_the_paper(logits.detach(), 2, 1)[0] for logits in output.router_logits)
    assert float(balance.collect(IDS.shape).detach()) == pytest.approx(expected, abs=1e-4)


def test_a_pass_is_collected_once() -> None:
    model = tiny_model()
    balance = BalanceLoss.attach(model)
    model(IDS)
    balance.collect(IDS.shape)
    with pytest.raises(ConfigError, match="no forward pass"):
        balance.collect(IDS.shape)
    balance.detach()
    model(IDS)
    with pytest.raises(ConfigError, match="no forward pass"):
        balance.collect(IDS.shape)


def test_experts_that_do_not_split_evenly_and_models_without_routers_are_refused() -> None:
    logits = torch.randn(1, 4, 8)
    with pytest.raises(ConfigError, match="8 experts cannot be split over 3 devices"):
        device_loss(measure_loads(logits, choose(logits, 2)[1], None, "batch"), 3)
    with pytest.raises(ConfigError, match="has no router"):
        BalanceLoss.attach(tiny_model(n_routed_experts=None))
