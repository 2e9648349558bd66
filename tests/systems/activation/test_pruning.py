"""Masks equal naive loops, plans keep their mean, layers are judged on pruned inputs, masks survive merging and saving."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, LlamaConfig, MixtralConfig

from tenfold.core.errors import ConfigError, MissingArtifactError, UserError
from tenfold.nn.named_linears import decoder_layers, named_linears
from tenfold.systems.activation import allocate, search, signals
from tenfold.systems.activation.masks import Masks, load_masks, merge_lora
from tenfold.systems.activation.opened import OpenedModel
from tenfold.systems.activation.pruners import Pattern, Pruner, inverse_factor, largest, n_of_m
from tenfold.systems.activation.pruning import PruneSettings, losses, losses_after, make_pruner, prune, restored
from tenfold.systems.activation.walk import InputStatistics, walk
from tenfold.train.adapters import LoraSettings, add_lora

TEXTS = [[5, 9, 3, 44, 7, 61, 20, 8], [8, 2, 60, 33, 14, 9, 9, 51], [31, 12, 12, 5, 90, 66, 4, 77]]


def opened(model):
    return OpenedModel("tiny", model, lambda text: [ord(c) % 97 for c in text], "")


def inputs_of(model, name):
    """What goes into one map, text by text, as [rows, inputs]."""
    seen = []
    handle = model.get_submodule(name).register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0].detach()[0]))
    for ids in TEXTS:
        model(input_ids=torch.tensor([ids]), use_cache=False)
    handle.remove()
    return torch.cat(seen)


def naive_wanda(weight_OI, rows_RI, sparsity):
    score = weight_OI.abs() * rows_RI.double().pow(2).sum(0).sqrt()
    total = round(sparsity * weight_OI.numel())
    mask = torch.ones_like(weight_OI, dtype=torch.bool)
    for o in range(len(weight_OI)):
        count = total // len(weight_OI) + (o < total % len(weight_OI))
        for i in score[o].argsort()[:count]:
            mask[o, i] = False
    return mask


@pytest.mark.parametrize("config_type", [LlamaConfig, GPT2Config])
@pytest.mark.parametrize("sparsity", [0.3, 0.5])
def test_wanda_equals_loops_and_sees_the_pruned_layers_below(new_tiny_model, config_type, sparsity):
    model, by_hand = new_tiny_model(config_type), new_tiny_model(config_type)
    masks = prune(opened(model), TEXTS, Pruner("wanda"), allocate.uniform(sparsity, 2))
    for layer in range(2):
        mine = [linear for linear in named_linears(by_hand) if linear.layer == layer]
        expected = {x.name: naive_wanda(x.weight_OI.double(), inputs_of(by_hand, x.name), sparsity) for x in mine}
        for linear in mine:  # a layer's own maps are judged before any of them is pruned
            assert torch.equal(masks.kept[linear.name], expected[linear.name]), linear.name
            linear.weight_OI.mul_(expected[linear.name])
    assert masks.sparsity == pytest.approx(sparsity, abs=5e-4)  # a matrix of 512 weights loses a whole number of them


def test_statistics_of_the_dense_model_would_give_other_masks(new_tiny_model):
    dense, model = new_tiny_model(), new_tiny_model()
    masks = prune(opened(model), TEXTS, Pruner("wanda"), allocate.uniform(0.6, 2))
    name = "model.layers.1.mlp.up_proj"
    weight_OI = dense.get_submodule(name).weight.detach().double()
    assert not torch.equal(masks.kept[name], naive_wanda(weight_OI, inputs_of(dense, name), 0.6))


@given(rows=st.integers(1, 6), columns=st.integers(1, 12), sparsity=st.floats(0, 0.98), seed=st.integers(0, 99))
def test_exactly_the_share_goes_also_with_ties(rows, columns, sparsity, seed):
    score = torch.randint(0, 3, (rows, columns), generator=torch.Generator().manual_seed(seed)).float()
    mask = largest(score, sparsity)
    assert int((~mask).sum()) == round(sparsity * rows * columns)
    for row in range(rows):
        if 0 < int(mask[row].sum()) < columns:
            assert float(score[row][mask[row]].min()) >= float(score[row][~mask[row]].max())


@pytest.mark.parametrize("text", ["2:4", "4:8"])
def test_n_of_m_equals_loops(text):
    pattern = Pattern.parse(text)
    score = torch.rand(5, 24, generator=torch.Generator().manual_seed(1))
    mask = n_of_m(score, pattern)
    for row in range(5):
        for start in range(0, 24, pattern.group):
            part = score[row, start : start + pattern.group]
            best = set(part.argsort(descending=True)[: pattern.keep].tolist())
            assert {i for i in range(pattern.group) if mask[row, start + i]} == best


def naive_obs(weight_OI, hessian_II, sparsity):
    """Column by column with an explicit inverse of what is left, all columns of one block."""
    weight, inverse = weight_OI.double().clone(), torch.linalg.inv(hessian_II)
    factor = torch.linalg.cholesky(inverse, upper=True)
    count = round(sparsity * weight.numel())
    order = (weight / factor.diagonal()).square().flatten().argsort()
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[order[:count]] = False
    mask = mask.view_as(weight)
    for column in range(weight.shape[1]):
        error = torch.where(mask[:, column], 0.0, weight[:, column]) / inverse[0, 0]
        weight[:, column:] -= error[:, None] * inverse[0]
        inverse = (inverse - inverse[:, :1] @ inverse[:1] / inverse[0, 0])[1:, 1:]
    return weight * mask, mask


def test_sparsegpt_equals_elimination_with_an_explicit_inverse(new_tiny_model):
    model = new_tiny_model()
    linear = named_linears(model)[0]
    statistics = InputStatistics(linear, with_products=True)
    rows_RI = torch.randn(200, 32, generator=torch.Generator().manual_seed(3))
    statistics.see(rows_RI)
    hessian = rows_RI.double().T @ rows_RI.double() / 200
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(32, dtype=torch.float64)
    weight, mask = naive_obs(linear.weight_OI, hessian, 0.5)
    before = linear.weight_OI.clone()
    found = Pruner("sparsegpt").prune(statistics, 0.5)
    assert torch.equal(found, mask)
    torch.testing.assert_close(linear.weight_OI.double(), weight, rtol=1e-3, atol=1e-4)
    error = ((linear.weight_OI - before) @ rows_RI.T).square().sum()
    assert error < ((before * mask - before) @ rows_RI.T).square().sum()


def test_dead_inputs_are_dropped(new_tiny_model):
    statistics = InputStatistics(named_linears(new_tiny_model())[0], with_products=True)
    rows = torch.randn(50, 32)
    rows[:, 4] = 0
    statistics.see(rows)
    assert inverse_factor(statistics)[1].nonzero().flatten().tolist() == [4]


@pytest.mark.parametrize("name", ["magnitude", "wanda", "sparsegpt", "grad", "gblm"])
@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
def test_every_pruner_keeps_its_share_and_puts_weights_back(new_tiny_model, name, pattern):
    whole = opened(new_tiny_model())
    before = losses(whole, TEXTS)
    pruner = make_pruner(whole, TEXTS, PruneSettings(name, pattern))
    plan = allocate.uniform(0.5, 2)
    with restored(whole):
        masks = prune(whole, TEXTS, pruner, plan)
        assert masks.sparsity == pytest.approx(0.5, abs=1e-4)
        for linear in named_linears(whole.model):
            assert not bool(linear.weight_OI[~masks.kept[linear.name]].any())
    assert np.array_equal(losses(whole, TEXTS), before)
    assert not np.array_equal(losses_after(whole, TEXTS, TEXTS, pruner, plan), before)


def test_each_expert_is_judged_by_its_own_tokens(new_tiny_model):
    config = {"num_local_experts": 8, "num_experts_per_tok": 1}
    model = new_tiny_model(MixtralConfig, **config)
    seen = {}
    for _ in walk(model, TEXTS, lambda one: seen.update({one.linear.name: one})):
        pass
    routed = sum(one.rows for name, one in seen.items() if "layers.0" in name and name.endswith("down_proj"))
    assert routed == sum(map(len, TEXTS))
    silent = [one for one in seen.values() if one.rows == 0]
    assert silent
    assert all(torch.equal(one.norms_I, torch.ones_like(one.norms_I)) for one in silent)
    masks = prune(opened(model), TEXTS, Pruner("wanda"), allocate.uniform(0.5, 2))
    assert masks.sparsity == pytest.approx(0.5, abs=1e-4)


@given(
    signal=st.lists(st.floats(-5, 5), min_size=2, max_size=12),
    sparsity=st.floats(0.01, 0.98),
    strength=st.floats(0, 2),
)
def test_mean_of_a_plan_is_exact_also_under_clipping(signal, sparsity, strength):
    sizes = [100 + 7 * place for place in range(len(signal))]
    plan = allocate.allocate("x", sparsity, {"s": 1.0}, {"s": signal}, strength, sizes)
    assert np.dot(plan.layers, sizes) / sum(sizes) == pytest.approx(sparsity, abs=1e-6)
    assert min(plan.layers) >= 0 and max(plan.layers) <= allocate.MOST
    order = np.argsort(signal)
    assert all(
        a >= b - 1e-9 for a, b in zip(*(np.array(plan.layers)[order][s] for s in (slice(-1), slice(1, None))), strict=True)
    )


def test_plans_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("[0.4, 0.6]")
    assert allocate.read_plan(path, 0.5, [10, 10]).layers == (0.4, 0.6)
    with pytest.raises(ConfigError, match=r"must be 0\.6"):
        allocate.read_plan(path, 0.6, [10, 10])
    with pytest.raises(ConfigError, match="3 layers"):
        allocate.read_plan(path, 0.5, [10, 10, 10])
    with pytest.raises(MissingArtifactError):
        allocate.read_plan(tmp_path / "none.json", 0.5, [10])
    for sparsity in (0, 0.99, -1):
        with pytest.raises(ConfigError, match="sparsity"):
            allocate.uniform(sparsity, 2)


def test_search_keeps_uniform_and_pure_signals_and_finds_the_best():
    known = {"a": [1.0, 2.0, 3.0], "b": [3.0, 1.0, 2.0]}
    plans = search.candidates(0.5, known, [10, 10, 10], 12, seed=0)
    assert [plan.name for plan in plans[:5]] == ["uniform", "a 0.05", "b 0.05", "a 0.1", "b 0.1"]
    assert len(plans) == 12 == len({plan.name for plan in plans})
    wanted = plans[7].layers
    calls = []

    def measure(plan, number):
        calls.append((plan.name, number))
        return sum(abs(x - y) for x, y in zip(plan.layers, wanted, strict=True))

    assert search.halve(plans, measure, 3).name == plans[7].name
    assert ("uniform", 2) in calls and len(calls) < 3 * 12


def test_owl_and_tails_equal_loops(new_tiny_model):
    whole = opened(new_tiny_model())
    expected = []
    for layer in range(2):
        mine = [x for x in named_linears(whole.model) if x.layer == layer]
        score = torch.cat([(x.weight_OI.abs() * inputs_of(whole.model, x.name).norm(dim=0)).flatten() for x in mine])
        expected.append(sum(bool(value > 5 * score.mean()) for value in score) / len(score))
    assert signals.outlier_signal(whole, TEXTS) == pytest.approx(expected)
    matrix = torch.diag(torch.tensor([4.0, 2.0, 1.0, 0.5]))
    assert signals.hill_exponent(matrix) == pytest.approx(1 + 2 / np.log(16 / 1 * 4 / 1))


def test_masks_survive_lora_and_saving(new_tiny_model, tmp_path):
    model = new_tiny_model()
    masks = prune(opened(model), TEXTS, Pruner("wanda"), allocate.uniform(0.5, 2))
    masks.save(tmp_path, base="abc")
    again = load_masks(tmp_path / "masks.safetensors", base="abc")
    assert all(torch.equal(again.kept[name], mask) for name, mask in masks.kept.items())
    with pytest.raises(UserError, match="same base"):
        load_masks(tmp_path / "masks.safetensors", base="other")
    adapted = add_lora(model, LoraSettings(rank=2), seed=0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_()
    ids = torch.tensor([TEXTS[0]])
    merged = merge_lora(adapted, again)
    for linear in named_linears(merged):
        assert not bool(linear.weight_OI[~masks.kept[linear.name]].any())
        assert bool(linear.weight_OI[masks.kept[linear.name]].any())
    assert not torch.equal(merged(input_ids=ids).logits, new_tiny_model()(input_ids=ids).logits)
    with pytest.raises(UserError, match="another model"):
        Masks({"x": torch.ones(1, 1, dtype=torch.bool)}).apply(merged)


def test_bad_patterns_are_refused(new_tiny_model):
    for text in ("4:2", "2:", "dense", "0:4"):
        with pytest.raises(ConfigError, match="pattern"):
            Pattern.parse(text)
    with pytest.raises(ConfigError, match="no multiple of 5"):
        prune(opened(new_tiny_model()), TEXTS, Pruner("wanda", Pattern(2, 5)), allocate.uniform(0.5, 2))
    assert len(decoder_layers(new_tiny_model())) == 2
