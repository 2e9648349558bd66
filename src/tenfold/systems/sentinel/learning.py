"""One training: a base and windows come in, an adapter folder goes out. Used by the verbs `train` and `compare`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tenfold.core.config import Config, parse, split_commas
from tenfold.core.errors import ConfigError
from tenfold.systems.sentinel import checkpoint
from tenfold.systems.sentinel.arms import Arm, Mixture, examples
from tenfold.systems.sentinel.bases import Base, checksum, start_embedding
from tenfold.systems.sentinel.collate import LiveSentinel, batching
from tenfold.systems.sentinel.data import Window
from tenfold.systems.sentinel.rules import backend_of
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.train.adapters import LoraSettings
from tenfold.train.finetune import FinetuneConfig
from tenfold.train.tuning import TuneConfig, Tuned, tune

LORA = parse(LoraSettings, {"rank": 16, "alpha": 32.0})
TRAINING = parse(
    FinetuneConfig, {"batch_size": 1, "learning_rate": 5e-4, "warmup_steps": 10, "beta2": 0.99, "save_every": 8}
)


class LearnConfig(Config):
    """What all trainings of a run share."""

    length: int = Field(1024, ge=16)
    """Original tokens in a training window."""
    windows: Annotated[tuple[int, ...], BeforeValidator(split_commas), Field(min_length=1)] = (128, 256, 512)
    """Windows under which a third of the texts is shown."""
    tune: TuneConfig = parse(TuneConfig, {"lora": LORA.model_dump(), "training": TRAINING.model_dump()})
    """Method (lora or plora), adapter, rate and length; each window is seen once."""


@dataclass(frozen=True)
class Task:
    """What to train, and where to leave it."""

    arm: Arm
    config: SentinelConfig | None
    """Of its sentinels; None: it has none."""
    ids: tuple[int, ...]
    """The sentinels, also where none stand in the text: their logits are left out of every softmax."""
    seed: int
    folder: Path


def train_arm(base: Base, windows: Sequence[Window], task: Task, learn: LearnConfig, base_name: str) -> Tuned:
    """Trains and saves; a second call with the same folder goes on where a killed one was."""
    settings = task.config or parse(SentinelConfig, {})
    segmenter = Segmenter(task.config, base.codec.pieces, task.ids) if task.config else None
    digest = checksum(base.model, task.ids)
    if task.config:
        start_embedding(base.model, base.codec, task.ids)
    mixture = Mixture(task.seed, learn.windows, settings.n_sink, settings.block, settings.scope, settings.hierarchy)
    rows = examples(task.arm, windows, segmenter, mixture, base.codec.pieces)
    tuned = tune(
        base.model,
        None,
        rows,
        _tune_config(learn.tune, task),
        task.folder,
        callbacks=[LiveSentinel()] if task.config else [],
        batching=batching(task.ids, _backend(base.model)),
    )
    record = checkpoint.Record(
        config=settings,
        ids=task.ids,
        base=base_name,
        base_sha256=digest,
        trained=("all", "window") if task.config or task.arm.peer != "none" else ("all",),
        windows=learn.windows,
    )
    checkpoint.save(tuned, task.folder / "adapter", record, base_name)
    return tuned


def _tune_config(given: TuneConfig, task: Task) -> TuneConfig:
    """The settings with this seed, and the sentinels' rows where there are sentinels."""
    table: dict[str, Any] = given.model_dump()
    table["seed"] = task.seed
    table["training"] |= {"seed": task.seed, "epochs": 1.0, "max_steps": None}
    table["lora"]["tokens"] = task.ids if task.config else ()
    return parse(TuneConfig, table)


def _backend(model: Any) -> Any:
    """Rows of a batch have rules of their own, which one block mask cannot hold."""
    name = backend_of(model)
    if name == "flex_attention":
        raise ConfigError("training takes eager or sdpa attention; call model.set_attn_implementation('sdpa')")
    return name
