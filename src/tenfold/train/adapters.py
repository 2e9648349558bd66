"""LoRA (2106.09685) by settings, on PEFT's layers, with the refusals that PEFT leaves out.

`targets` are the last parts of the names of linear layers (`q_proj`, ...), or `all-linear`: every linear layer but the
head, in the order in which the model holds them.
"""

import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError

ALL_LINEAR = "all-linear"


class LoraSettings(Config):
    """Which layers get a low-rank update, and how large it is."""

    rank: int = Field(8, ge=1)
    """Rank of the update of each matrix."""
    alpha: float = Field(16.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs of the update that is dropped while training."""
    targets: Names = (ALL_LINEAR,)
    """Linear layers to adapt, by the last part of their names; `all-linear` takes all but the head."""


def linear_names(model: nn.Module) -> list[str]:
    """The full names of all linear maps but the output head, in the model's own order."""
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]


def target_names(model: nn.Module, settings: LoraSettings) -> list[str]:
    """The full names of the layers that the settings mean.

    Raises:
        ConfigError: a target matches no layer, or one whose weights are tied to the embedding.
    """
    names = linear_names(model)
    if settings.targets == (ALL_LINEAR,):
        return names
    for target in settings.targets:
        _refuse_tied(model, target)
        if not any(_matches(name, target) for name in names):
            known = ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in names))
            raise ConfigError(f"targets: no linear layer is called {target!r}; this model has {known}, or say {ALL_LINEAR}")
    return [name for name in names if any(_matches(name, target) for target in settings.targets)]


def add_lora(model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> PeftModel:
    """The model with a fresh LoRA adapter, whose numbers depend on the seed alone; everything else is frozen.

    Raises:
        ConfigError: a target that matches nothing or is tied, or a model that has an adapter already.
    """
    if isinstance(model, PeftModel) or getattr(model, "peft_config", None):
        raise ConfigError("the model has an adapter already; merge it first, or start from the model without it")
    names = target_names(model, settings)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=settings.dropout,
        target_modules=names,
        fan_in_fan_out=all(isinstance(model.get_submodule(name), Conv1D) for name in names),
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT 0.21 asks Transformers 5.23 by an old name
        torch.manual_seed(seed)
        adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel), type(adapted)
    return adapted


def parameter_count(model: nn.Module, *, trainable: bool) -> int:
    """How many numbers are trained, or how many are not."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad is trainable)


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _refuse_tied(model: nn.Module, target: str) -> None:
    if not isinstance(model, PreTrainedModel):
        return
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and getattr(head, "weight", None) is getattr(embedding, "weight", object())
    for name, module in model.named_modules():
        if tied and module in (embedding, head) and _matches(name, target):
            raise ConfigError(
                f"targets: {target!r} shares its weights with the embedding, so a change would move both; leave it out"
            )
