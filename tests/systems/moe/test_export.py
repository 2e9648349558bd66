"""Exports are read back: the carrier is bit-exact both ways, GGUF holds every tensor, engines get every key."""

import json
from pathlib import Path

import gguf
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Qwen2MoeForCausalLM

from systems.moe.tiny import tiny_model
from tenfold.core.errors import ConfigError
from tenfold.systems.moe.carrier import from_qwen2_moe, to_qwen2_moe
from tenfold.systems.moe.export import export
from tenfold.systems.moe.gguf_file import halved, interleaved, tensors
from tenfold.train.packed_corpus import train_tokenizer

IDS = torch.arange(2 * 17).view(2, 17) * 7 % 61


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["one text and another text, and some more"], 300)


def mixture(**changes):
    return tiny_model(vocab_size=300, **changes)


def eager(model):
    model.set_experts_implementation("eager")
    return model


def test_the_carrier_is_bit_exact_in_bf16() -> None:
    model = eager(tiny_model(router_dtype="model").to(torch.bfloat16))
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)  # which `to` has rounded, and loading would not
    carrier = eager(to_qwen2_moe(model))
    assert isinstance(carrier, Qwen2MoeForCausalLM)
    assert torch.equal(carrier(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("changes", [{}, {"n_shared_experts": None}, {"first_k_dense_replace": 0}, {"norm_topk_prob": True}])
def test_the_carrier_computes_the_same_in_fp32(changes: dict) -> None:
    model = tiny_model(**changes)
    assert (to_qwen2_moe(model)(IDS).logits - model(IDS).logits).abs().max() <= 5e-6


@pytest.mark.parametrize("changes", [{}, {"n_shared_experts": None}, {"tie_word_embeddings": True}])
def test_there_and_back_loses_nothing(tmp_path: Path, changes: dict) -> None:
    model = tiny_model(**changes).to(torch.bfloat16)
    to_qwen2_moe(model).save_pretrained(tmp_path)
    back = from_qwen2_moe(AutoModelForCausalLM.from_pretrained(tmp_path))
    assert back.config.n_shared_experts == model.config.n_shared_experts
    assert back.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(back.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_what_a_carrier_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="router is 'hash'"):
        to_qwen2_moe(tiny_model(router="hash", num_experts_per_tok=1))
    carrier = to_qwen2_moe(tiny_model())
    carrier.model.layers[1].mlp.shared_expert_gate.weight.data += 1
    with pytest.raises(ConfigError, match="is gated"):
        from_qwen2_moe(carrier)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_the_permutation_of_heads_has_its_inverse(heads: int, half: int, width: int) -> None:
    weight = torch.arange(heads * 2 * half * width).view(heads * 2 * half, width)
    assert torch.equal(halved(interleaved(weight, heads), heads), weight)


def test_rotating_neighbours_of_permuted_rows_is_rotating_halves() -> None:
    vector, angle = torch.randn(8, 1), torch.rand(4)
    turned = interleaved(vector, 1)[:, 0]
    first, second = turned[0::2], turned[1::2]
    by_pairs = torch.stack([first * angle.cos() - second * angle.sin(), second * angle.cos() + first * angle.sin()], 1)
    low, high = vector[:4, 0], vector[4:, 0]
    by_halves = torch.cat([low * angle.cos() - high * angle.sin(), high * angle.cos() + low * angle.sin()])
    torch.testing.assert_close(by_pairs.flatten(), interleaved(by_halves[:, None], 1)[:, 0])


def test_engines_find_every_key(tmp_path: Path, tokenizer) -> None:
    found = export(mixture(tie_word_embeddings=True), tokenizer, "deepseek", tmp_path / "out")
    assert found["difference"] == 0
    keys = json.loads((tmp_path / "out" / "config.json").read_text())
    assert keys["architectures"] == ["DeepseekForCausalLM"] and keys["model_type"] == "deepseek"
    for key in (
        "rope_theta",
        "n_routed_experts",
        "n_shared_experts",
        "num_experts_per_tok",
        "moe_layer_freq",
        "norm_topk_prob",
    ):
        assert key in keys
    for key in (
        "first_k_dense_replace",
        "moe_layer_freq",
        "moe_intermediate_size",
        "num_key_value_heads",
        "scoring_func",
        "rms_norm_eps",
    ):
        assert key in keys
    assert not {"router", "router_dtype", "balance_bias"} & keys.keys()
    assert keys["tie_word_embeddings"] is False and "configuration_deepseek.py" in found["files"]
    scope: dict = {}
    exec((tmp_path / "out" / "configuration_deepseek.py").read_text(), scope)
    read = scope["DeepseekConfig"](**keys)
    assert read.n_routed_experts == 8 and read.rope_theta == 10000.0


def test_a_gguf_file_holds_all_tensors_and_keys(tmp_path: Path, tokenizer) -> None:
    model = mixture()
    found = export(model, tokenizer, "gguf", tmp_path / "out")
    assert found["difference"] == 0
    reader = gguf.GGUFReader(str(tmp_path / "out" / "model-f32.gguf"))
    value = {name: field.contents() for name, field in reader.fields.items()}
    assert value["general.architecture"] == "deepseek"
    expected = {"expert_count": 8, "expert_used_count": 3, "expert_shared_count": 2, "leading_dense_block_count": 1}
    expected |= {"expert_feed_forward_length": 16, "block_count": 3, "rope.dimension_count": 8, "expert_weights_scale": 1.0}
    assert {key: value[f"deepseek.{key}"] for key in expected} == expected
    assert value["tokenizer.ggml.pre"] == "gpt-2" and len(value["tokenizer.ggml.tokens"]) == 300
    assert {tensor.name for tensor in reader.tensors} == tensors(model).keys()
    assert "blk.0.ffn_gate.weight" in tensors(model) and "blk.1.ffn_down_exps.weight" in tensors(model)


def test_half_precision_in_gguf_is_near(tmp_path: Path, tokenizer) -> None:
    assert 0 < export(mixture(), tokenizer, "gguf", tmp_path / "out", dtype="bf16")["difference"] < 0.01


@pytest.mark.parametrize("changes", [{"norm_topk_prob": True}, {"routed_scaling_factor": 2.0}, {"balance_bias": True}])
def test_what_llama_cpp_does_not_compute_is_refused(tmp_path: Path, tokenizer, changes: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        export(mixture(**changes), tokenizer, "gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_forms_and_full_folders_are_refused(tmp_path: Path, tokenizer) -> None:
    with pytest.raises(ConfigError, match="cannot export to 'onnx'"):
        export(mixture(), tokenizer, "onnx", tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        export(mixture(), tokenizer, "gguf", tmp_path)
    assert (tmp_path / "file").exists()
