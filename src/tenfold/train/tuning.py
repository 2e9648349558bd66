"""Fine-tuning by settings, for the verb of any home: a model and rows come in, a `Tuned` with its update goes out.

    tuned = tune(model, tokenizer, rows, config.tune, run.folder)
    tuned.save_adapter(run.folder / "adapter", config.model)
    tuned.merged().save_pretrained(run.folder / "merged")

The method is a name (`train.methods`). Export through `Tuned`: a method may keep most of its update outside the live
adapter, and PEFT's own `save_pretrained` would silently leave that out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import PeftModel
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from tenfold.core.config import Config, parse
from tenfold.train.adapters import LoraSettings, add_lora
from tenfold.train.batching import Batching
from tenfold.train.finetune import FinetuneConfig, finetune
from tenfold.train.methods import Method, method


class TuneConfig(Config):
    """Which method trains, how wide, how long."""

    method: str = "lora"
    """lora, or plora for PeriodicLoRA."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the method; for plora those of its unloads, such as {"interval": 50}."""
    lora: LoraSettings = parse(LoraSettings, {})
    """The adapter that is trained."""
    training: FinetuneConfig = parse(FinetuneConfig, {})
    """Length, rate and order of the training."""
    seed: int = 0
    """Of the adapter's first numbers."""


@dataclass(frozen=True)
class Tuned:
    """A trained model: one row per step as `finetune` returns it, and the ways to take the update along."""

    steps: list[dict[str, Any]]
    model: PeftModel
    method: Method

    def save_adapter(self, folder: Path, base: str) -> None:
        """Writes the whole update as a PEFT adapter on the original model, whose name or folder is `base`."""
        self.method.save_adapter(self.model, folder, base)

    def merged(self) -> PreTrainedModel:
        """The plain model with the update in its weights; call it last, it takes the adapter off `model`."""
        return self.method.merge(self.model)


def tune(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    rows: Sequence[Any],
    config: TuneConfig,
    folder: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    batching: Batching | None = None,
) -> Tuned:
    """Adds an adapter to `model` and trains it; a second call with the same folder, after a kill, goes on to the same bits.

    `rows` are those of `finetune`: instruction rows, or whatever `batching` takes.

    Raises:
        UnknownNameError: no method of that name.
        ConfigError: settings that the method or the adapter refuses.
    """
    chosen = method(config.method, config.settings, folder)
    adapted = add_lora(model, config.lora, seed=config.seed)
    steps = finetune(
        adapted, tokenizer, rows, config.training, folder, callbacks=[*chosen.callbacks, *callbacks], batching=batching
    )
    return Tuned(steps, adapted, chosen)
