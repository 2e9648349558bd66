"""LoRA (2106.09685) by settings, on PEFT's layers, with the refusals that PEFT leaves out.

`targets` are the last parts of the names of linear layers (`q_proj`, ...), or `all-linear`: every linear layer but the
head, in the order in which the model holds them. Of a mixture that keeps its experts' matrices in tensors of three
dimensions, these are targets too, by their names (`gate_up_proj`, ...) or as `all-experts`.
"""

import warnings
from collections.abc import Sequence

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError

ALL_LINEAR = "all-linear"
ALL_EXPERTS = "all-experts"


class LoraSettings(Config):
    """Which layers get a low-rank update, and how large it is."""

    rank: int = Field(8, ge=1)
    """Rank of the update of each matrix."""
    alpha: float = Field(16.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the inputs of the update that is dropped while training."""
    targets: Names = (ALL_LINEAR,)
    """Layers to adapt, by the last part of their names; all-linear: all but the head; all-experts: tensors of experts."""
    first_layer: int = Field(0, ge=0)
    """Adapt the decoder's layers from this one on; the backward pass ends there, so that steps cost less."""
    tokens: tuple[int, ...] = ()
    """Tokens whose embedding is trained as well, by their ids; only their rows are stored."""


def linear_names(model: nn.Module) -> list[str]:
    """The full names of all linear maps but the output head, in the model's own order."""
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]


def expert_names(model: nn.Module) -> list[str]:
    """The full names of the parameters that hold the matrices of all experts of a layer, in the model's own order."""
    return [name for name, parameter in model.named_parameters() if parameter.dim() == 3 and ".experts." in f".{name}"]


def target_names(model: nn.Module, settings: LoraSettings) -> list[str]:
    """The full names of the layers and tensors of experts that the settings mean.

    Raises:
        ConfigError: a target matches no layer, or one whose weights are tied to the embedding, or first_layer is too high.
    """
    linear, experts = _from_layer(linear_names(model), settings), _from_layer(expert_names(model), settings)
    if settings.first_layer and not linear:
        raise ConfigError(f"first_layer is {settings.first_layer}, but the model has no such layer; lower it")
    for target in settings.targets:
        if target not in (ALL_LINEAR, ALL_EXPERTS):
            _refuse_tied(model, target)
        if not any(_is_meant(name, target, experts) for name in (*linear, *experts)):
            known = ", ".join(dict.fromkeys(name.rsplit(".", 1)[-1] for name in (*linear, *experts)))
            every = f"{ALL_LINEAR} or {ALL_EXPERTS}" if experts else ALL_LINEAR
            raise ConfigError(f"targets: no linear layer is called {target!r}; this model has {known}, or say {every}")
    return [name for name in (*linear, *experts) if any(_is_meant(name, target, experts) for target in settings.targets)]


def add_lora(model: PreTrainedModel, settings: LoraSettings, *, seed: int) -> PeftModel:
    """The model with a fresh LoRA adapter, whose numbers depend on the seed alone; everything else is frozen.

    Raises:
        ConfigError: a target that matches nothing or is tied, or a model that has an adapter already.
    """
    if isinstance(model, PeftModel) or getattr(model, "peft_config", None):
        raise ConfigError("the model has an adapter already; merge it first, or start from the model without it")
    names, experts = target_names(model, settings), set(expert_names(model))
    if settings.dropout and experts & set(names):
        raise ConfigError(f"dropout is {settings.dropout}, but PEFT has none for tensors of experts; set it to 0")
    linear = [name for name in names if name not in experts]
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # pyright: ignore[reportArgumentType]
        lora_dropout=settings.dropout,
        target_modules=linear,
        target_parameters=[name for name in names if name in experts] or None,
        fan_in_fan_out=bool(linear) and all(isinstance(model.get_submodule(name), Conv1D) for name in linear),
        task_type="CAUSAL_LM",
        trainable_token_indices=list(settings.tokens) or None,
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


def _from_layer(names: Sequence[str], settings: LoraSettings) -> list[str]:
    return [name for name in names if _layer_number(name) >= settings.first_layer]


def _layer_number(name: str) -> int:
    """The number in a name such as model.layers.7.mlp.up_proj; 0 where there is none."""
    return next((int(part) for part in name.split(".") if part.isdecimal()), 0)


def _is_meant(name: str, target: str, experts: Sequence[str]) -> bool:
    if target in (ALL_LINEAR, ALL_EXPERTS):
        return (name in experts) is (target == ALL_EXPERTS)
    return _matches(name, target)


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
