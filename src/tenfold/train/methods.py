"""How a low-rank update is trained, by name: `lora` is here, other methods are made known by whoever starts the program.

So a verb of one home can train with the method of another without importing it: both know this seam alone. A target is
called as `target(settings, folder)` and returns a `Method`. Names are lazy; this module imports no torch.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tenfold.core.errors import ConfigError
from tenfold.core.registry import Registry

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, TrainerCallback


class Method(Protocol):
    """What a method does while a model with a LoRA adapter is trained, and what it leaves."""

    callbacks: "Sequence[TrainerCallback]"
    """Given to the trainer; their state travels in its checkpoints."""

    def save_adapter(self, model: "PeftModel", folder: Path, base: str) -> None:
        """Writes the whole update into `folder`, as a PEFT adapter on the original model, whose name is `base`."""
        ...

    def merge(self, model: "PeftModel") -> "PreTrainedModel":
        """The model without adapters, the whole update in its weights; ends the use of `model`."""
        ...


class PlainLora:
    """LoRA as PEFT trains it: one pair from the first step to the last."""

    def __init__(self, settings: Mapping[str, Any], folder: Path) -> None:
        if settings:
            raise ConfigError(f"method lora takes no settings of its own, but got {', '.join(settings)}; leave them out")
        self.callbacks: Sequence[TrainerCallback] = ()

    def save_adapter(self, model: "PeftModel", folder: Path, base: str) -> None:
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(str(folder), save_embedding_layers=False)  # "auto" would ask the hub about the base

    def merge(self, model: "PeftModel") -> "PreTrainedModel":
        return model.merge_and_unload()  # pyright: ignore


METHODS = Registry("training method", {"lora": "tenfold.train.methods:PlainLora"})


def provide(name: str, target: str) -> None:
    """Makes a method known under a name; `target` is `module:attribute` and is imported when the name is first used."""
    METHODS.targets[name] = target


def method(name: str, settings: Mapping[str, Any], folder: Path) -> Method:
    """The method of that name, whose own files go into `folder`.

    Raises:
        UnknownNameError: no such method; the message gives the nearest names.
        ConfigError: a setting that the method does not have or accept.
    """
    return METHODS.load(name)(settings, folder)
