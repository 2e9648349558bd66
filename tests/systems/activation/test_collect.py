"""Streaming collection equals float64 autograd for every target and architecture; batches and padding change nothing."""

import numpy as np
import pytest
import torch
from transformers import GPT2Config, LlamaConfig, MixtralConfig, Qwen2Config

from tenfold.core.errors import NumericalError, UserError
from tenfold.systems.activation import targets
from tenfold.systems.activation.collect import collect
from tenfold.systems.activation.reducers import CountSketch, LogHistogram, MeanMap, RowColumnSums

from .reference import Keep, patterns

TEXTS = [[5, 9, 3, 44, 7], [8, 2, 60], [31, 12, 12, 5, 90, 66, 4]]
TARGETS = {**targets.TARGETS, "logp": targets.logp(7), "contrast": targets.contrast(7, 11)}
MIXTURE = {"num_local_experts": 4, "num_experts_per_tok": 2}
MODELS = {
    "llama": (LlamaConfig, {}),
    "qwen2": (Qwen2Config, {}),
    "gpt2": (GPT2Config, {}),
    "mixtral": (MixtralConfig, MIXTURE),
}


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for key, a_OI in expected.items():
        scale = float(a_OI.max()) or 1.0
        torch.testing.assert_close(found[key].double(), a_OI, rtol=1e-3, atol=1e-5 * scale)


def reference(model, texts, target):
    return {(n, name): a for n, ids in enumerate(texts) for name, a in patterns(model, ids, target).items()}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", MODELS)
def test_collection_equals_autograd_in_float64(new_tiny_model, family, target):
    config_type, changes = MODELS[family]
    model, keep = new_tiny_model(config_type, **changes).double(), Keep()
    if family == "mixtral":
        model.set_experts_implementation("eager")  # the grouped kernel has no float64
    collect(model, TEXTS, TARGETS[target], [keep])
    for key, a_OI in reference(model, TEXTS, TARGETS[target]).items():
        found = keep.found.get(key)
        if found is None:
            assert float(a_OI.max()) == 0, key
        else:
            torch.testing.assert_close(found, a_OI, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("mode", ["hooks", "autograd"])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_float32_modes_and_batches_agree(tiny_llama, mode, batch_size):
    keep = Keep()
    collect(tiny_llama, TEXTS, targets.mean_max, [keep], mode=mode, batch_size=batch_size)
    assert_equal(keep.found, reference(tiny_llama, TEXTS, targets.mean_max))


def test_weights_take_gradients_again_afterwards(tiny_llama):
    before = [parameter.requires_grad for parameter in tiny_llama.parameters()]
    collect(tiny_llama, TEXTS, targets.last_max, [])
    assert [parameter.requires_grad for parameter in tiny_llama.parameters()] == before
    assert all(parameter.grad is None for parameter in tiny_llama.parameters())


def test_dead_unit_has_no_activation(new_tiny_model):
    model, keep = new_tiny_model(), Keep()
    model.model.layers[0].mlp.down_proj.weight.data[:, 3] = 0
    collect(model, TEXTS[:1], targets.last_max, [keep])
    assert float(keep.found[0, "model.layers.0.mlp.down_proj"][:, 3].max()) == 0
    assert float(keep.found[0, "model.layers.0.mlp.up_proj"][3].max()) == 0
    assert float(keep.found[0, "model.layers.0.mlp.up_proj"].max()) > 0


def test_reducers_equal_what_they_sum_up(tiny_llama):
    keep, mean, sums, counts = Keep(), MeanMap(), RowColumnSums(), LogHistogram()
    collect(tiny_llama, TEXTS, targets.last_max, [keep, mean, sums, counts])
    name = "model.layers.1.mlp.up_proj"
    each = [keep.found[n, name] for n in range(3)]
    torch.testing.assert_close(mean.mean(name), torch.stack(each).mean(0))
    assert int(counts.counts[name].sum()) == 3 * each[0].numel()
    kinds = sorted(key.removeprefix("model.layers.1.") for n, key in keep.found if n == 0 and ".1." in key)
    parts = [keep.found[0, f"model.layers.1.{kind}"] for kind in kinds]
    torch.testing.assert_close(sums.vector(0, 1), torch.cat([torch.cat([a.sum(1), a.sum(0)]) for a in parts]))


def test_sketch_is_unbiased_and_the_same_from_one_seed(tiny_llama):
    keep, sketches = Keep(), [CountSketch(64, seed=seed) for seed in range(60)]
    again = CountSketch(64, seed=5)
    collect(tiny_llama, TEXTS[:2], targets.last_max, [keep, *sketches, again])
    exact = sum(float((a * keep.found[1, name]).sum()) for (n, name), a in keep.found.items() if n == 0 and ".0." in name)
    estimates = np.array([float(sketch.vector(0, 0) @ sketch.vector(1, 0)) for sketch in sketches])
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / len(estimates) ** 0.5
    assert torch.equal(again.vector(0, 0), sketches[5].vector(0, 0))
    assert not torch.equal(again.vector(0, 0), sketches[6].vector(0, 0))


def test_bad_input_is_refused(new_tiny_model, tiny_llama):
    with pytest.raises(UserError, match="no tokens"):
        collect(tiny_llama, [[1], []], targets.last_max, [])
    with pytest.raises(UserError, match="nll needs two"):
        collect(tiny_llama, [[1]], targets.nll, [])
    with pytest.raises(UserError, match="experts"):
        collect(new_tiny_model(MixtralConfig, **MIXTURE), TEXTS, targets.last_max, [], mode="hooks")
    broken = new_tiny_model()
    broken.model.layers[1].self_attn.q_proj.weight.data[0, 0] = float("nan")
    with pytest.raises(NumericalError, match=r"layers\.1"):
        collect(broken, TEXTS[:1], targets.last_max, [])
