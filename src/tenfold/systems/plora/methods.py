"""The six methods of a comparison as models ready to train: what is adapted, how wide, and when it is unloaded.

lora        one pair of rank r                       plora        unloads all of it, fresh Adam
lora-wide   one pair of rank T*r                     plora-exact  unloads a share, the function kept
fullft      every weight, in fp32                    relora       unloads all of it, 90 % of Adam's memory cut
                                                                  to zero by size, the rate warmed up again
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tenfold.core.config import parse
from tenfold.nn import models
from tenfold.systems.plora import toy
from tenfold.systems.plora.profiles import CompareConfig
from tenfold.systems.plora.steps import unload_steps
from tenfold.systems.plora.unload import UnloadConfig
from tenfold.train.adapters import LoraSettings, add_lora
from tenfold.train.finetune import FinetuneConfig, num_steps

TITLES = {
    "lora": "LoRA",
    "plora": "PeriodicLoRA",
    "plora-exact": "PeriodicLoRA, a share at a time",
    "relora": "ReLoRA",
    "lora-wide": "LoRA of the summed rank",
    "fullft": "full fine-tuning",
}


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model by name."""
    return toy.toy_tokenizer() if name == toy.NAME else models.load_tokenizer(models.resolve(name))


def load_base(name: str, dtype: models.Dtype) -> PreTrainedModel:
    """The model as it is before any training."""
    return toy.toy_model() if name == toy.NAME else models.load_transformers(models.resolve(name), dtype)


def model_of(config: CompareConfig, method: str, seed: int, num_rows: int) -> nn.Module:
    """The model of a method, with what it trains set to learn."""
    if method == "fullft":
        return load_base(config.model, "fp32").requires_grad_(True)
    width = num_stages(config, num_rows) if method == "lora-wide" else 1
    shape = {"rank": config.rank * width, "alpha": config.alpha * width, "targets": config.targets}
    lora = parse(LoraSettings, shape)
    return add_lora(load_base(config.model, config.dtype), lora, seed=seed)


def unload_of(config: CompareConfig, method: str, seed: int, num_rows: int) -> UnloadConfig | None:
    """When and how a method unloads; None for those that never do."""
    settings: dict[str, dict[str, Any]] = {
        "plora": {},
        "plora-exact": {"mode": "exact", "momentum": config.momentum},
        "relora": {
            "optimizer": "prune_magnitude",
            "pruned": 0.9,
            "rate": "rewarm",
            "rewarm_steps": config.rewarm_steps,
        },
    }
    if method not in settings:
        return None
    return parse(UnloadConfig, {"interval": interval_of(config, num_rows), "seed": seed} | settings[method])


def training_of(config: CompareConfig, rate: float, seed: int) -> FinetuneConfig:
    """The same for every method, but for the rate."""
    same = {
        name: getattr(config, name)
        for name in ("epochs", "batch_size", "schedule", "warmup_steps", "beta2", "autocast", "save_every")
    }
    return parse(FinetuneConfig, same | {"learning_rate": rate, "seed": seed})


def interval_of(config: CompareConfig, num_rows: int) -> int:
    """Optimizer steps of a stage."""
    return max(1, -(-num_rows // config.batch_size) // config.stages_per_epoch)


def num_stages(config: CompareConfig, num_rows: int) -> int:
    """T, the live pair at the end included."""
    steps = num_steps(num_rows, training_of(config, 1.0, 0))
    return len(unload_steps(steps, -(-num_rows // config.batch_size), interval_of(config, num_rows))) + 1


def device() -> torch.device:
    """Where the trainer will put the model."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
