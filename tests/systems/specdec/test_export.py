"""Export to vLLM: its settings, the command, and heads that compute there what they compute here.

vLLM is not installed here. What its loaders and forward passes do with the exported tensors is written out below, and
compared with our own networks.
"""

import json
import shlex

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from transformers import DynamicCache, LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from tenfold.core.errors import UserError
from tenfold.nn import models
from tenfold.store import runs
from tenfold.systems.specdec import export as module
from tenfold.systems.specdec.drafters.head_networks import (
    HeadDescription,
    HeadShape,
    TrainedHead,
    new_network,
    target_digest,
)
from tenfold.systems.specdec.export import CONFIG, SPECULATIVE, WEIGHTS, ExportConfig, export
from tiny_llama import VOCAB, loaded, tiny_llama

TARGET = tiny_llama(0)
VOCABULARY = torch.arange(3, VOCAB, 2)


def new_head(kind, vocabulary_n=VOCABULARY):
    torch.manual_seed(5)
    shape = HeadShape(kind=kind, num_heads=3, feed_forward=24)
    network = new_network(shape, TARGET).eval()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return TrainedHead(HeadDescription(**shape.model_dump(), target_sha256=target_digest(TARGET)), network, vocabulary_n)


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """(kind, vocabulary) -> (head, config.json, weights, metrics) by way of the verb."""
    monkeypatch.setattr(module.models, "load", lambda name: loaded(TARGET))
    monkeypatch.setattr(module.models, "resolve", lambda name: name)

    def run_export(kind, vocabulary_n=VOCABULARY):
        head = new_head(kind, vocabulary_n)
        head.save(tmp_path / "head")
        out = tmp_path / "out"
        config = ExportConfig(out=out, model="target", drafter=kind, drafter_options=(f"head={tmp_path / 'head'}",))
        metrics = export(config, runs.start(tmp_path / "runs", "specdec-export", config))
        return head, json.loads((out / CONFIG).read_text()), load_file(out / WEIGHTS), metrics

    return run_export


@torch.inference_mode()
@pytest.mark.parametrize("vocabulary_n", [VOCABULARY, torch.arange(VOCAB)])
def test_medusa_heads_compute_the_same_there(exported, vocabulary_n):
    head, config, state, metrics = exported("medusa", vocabulary_n)
    assert ("token_map" in state) == (len(vocabulary_n) < VOCAB)
    assert config["truncated_vocab_size"] == len(vocabulary_n) == len(state["lm_heads.0.weight"])
    hidden_TD = torch.randn(4, 32)
    for index, expected_TD in enumerate(head.network(hidden_TD)):
        block_TD = hidden_TD + functional.silu(hidden_TD @ state[f"blocks.{index}.layers.0.weight"].T)
        assert torch.allclose(block_TD, expected_TD, atol=1e-6)
    full_TV = TARGET.weights.head(hidden_TD)
    tokens_n = state.get("token_map", torch.arange(VOCAB))
    assert torch.allclose(hidden_TD @ state["lm_heads.0.weight"].T, full_TV[:, tokens_n], atol=0.05)
    assert config["num_heads"] == 3
    assert metrics["speculative_config"]["method"] == "medusa"


@torch.inference_mode()
def test_an_eagle_head_computes_the_same_there(exported):
    head, table, state, metrics = exported("eagle")
    assert "layers.0.input_layernorm.weight" not in state, "vLLM's first layer has no such parameter"
    config = LlamaConfig(**{key: value for key, value in table.items() if key not in ("model_type", "architectures")})
    config._attn_implementation = "eager"
    layers = [LlamaDecoderLayer(config, layer_idx=index) for index in range(table["num_hidden_layers"])]
    layers[0].input_layernorm = torch.nn.Identity()
    for index, layer in enumerate(layers):
        prefix = f"layers.{index}."
        layer.load_state_dict({name.removeprefix(prefix): w for name, w in state.items() if name.startswith(prefix)})
    embedding, feature = torch.randn(1, 5, 32), torch.randn(1, 5, 32)
    positions_T = torch.arange(5)
    x = torch.cat([embedding, feature], dim=-1) @ state["fc.weight"].T
    rotation = LlamaRotaryEmbedding(config)(x, positions_T[None])
    mask = torch.full((5, 5), float("-inf")).triu(1)[None, None]
    for layer in layers:
        x = layer(x, attention_mask=mask, position_embeddings=rotation)
    causal_TT = torch.ones(5, 5, dtype=torch.bool).tril()
    expected = head.network(embedding, feature, positions_T, cache=DynamicCache(), mask_TS=causal_TT)
    assert torch.allclose(x, expected, atol=1e-5)
    assert table["architectures"] == ["LlamaForCausalLM"]
    assert metrics["speculative_config"]["method"] == "eagle"


@pytest.mark.parametrize(
    ("drafter", "options", "expected"),
    [
        ("ngram", (), {"method": "ngram", "prompt_lookup_max": 4, "prompt_lookup_min": 1}),
        ("ngram", ("max_ngram=3", "min_ngram=2"), {"method": "ngram", "prompt_lookup_max": 3, "prompt_lookup_min": 2}),
        ("suffix", ("factor=2.0",), {"method": "suffix", "suffix_decoding_max_spec_factor": 2.0}),
    ],
)
def test_drafters_without_weights(tiny_folder, tmp_path, drafter, options, expected):
    config = ExportConfig(
        out=tmp_path / "out", model=str(tiny_folder), drafter=drafter, drafter_options=options, num_draft=7
    )
    metrics = export(config, runs.start(tmp_path / "runs", "specdec-export", config))
    assert metrics["speculative_config"] == {**expected, "num_speculative_tokens": 7}
    assert json.loads((tmp_path / "out" / SPECULATIVE).read_text()) == metrics["speculative_config"]
    words = shlex.split((tmp_path / "out" / "serve.sh").read_text())
    assert words[:3] == ["vllm", "serve", str(tiny_folder)]
    assert json.loads(words[4]) == metrics["speculative_config"]


def test_a_draft_model(tiny_folder, tmp_path):
    config = ExportConfig(
        out=tmp_path, model=str(tiny_folder), drafter="model", drafter_options=(f"model={tiny_folder}",), num_draft=3
    )
    assert module.speculative_config(config, models.resolve(str(tiny_folder))) == {
        "method": "draft_model",
        "model": str(tiny_folder),
        "num_speculative_tokens": 3,
    }


@pytest.mark.parametrize(
    ("drafter", "options", "said"),
    [
        ("recycle", (), "vLLM has no drafter like 'recycle'"),
        ("ngarm", (), "did you mean 'ngram'"),
        ("ngram", ("size=3",), "has no counterpart"),
        ("medusa", ("head=nowhere",), "no trained head"),
    ],
)
def test_what_cannot_be_exported(tmp_path, monkeypatch, drafter, options, said):
    monkeypatch.setattr(module.models, "load", lambda name: loaded(TARGET))
    monkeypatch.setattr(module.models, "resolve", lambda name: name)
    config = ExportConfig(out=tmp_path / "out", model="target", drafter=drafter, drafter_options=options)
    with pytest.raises(UserError, match=said):
        export(config, runs.start(tmp_path / "runs", "specdec-export", config))
