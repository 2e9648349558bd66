"""The verb `train`: fine-tune a local model for one task of this home, by LoRA or another method, and leave an adapter.

The run directory holds `checkpoints/` and `steps.jsonl` while it runs, then `adapter/` and `merged/`, the folder
that `generate`, `fill`, `run` and `eval` take as a model. A killed run goes on with --resume.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from tenfold.core.config import Config, parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store.runs import Run
from tenfold.systems.slotsum.data import UNSEEN, Example, load_examples
from tenfold.systems.slotsum.grounded import build_grounded
from tenfold.systems.slotsum.learning import Task, learning_rows
from tenfold.train.adapters import LoraSettings
from tenfold.train.encoding import EncodedRow, encode_all
from tenfold.train.finetune import FinetuneConfig
from tenfold.train.losses import mean_loss, row_losses
from tenfold.train.rows import Row
from tenfold.train.tuning import TuneConfig, tune


class SlotLora(LoraSettings):
    """The adapter's size, wide enough for a new form of text."""

    rank: int = Field(16, ge=1)
    """Rank of the update of each matrix."""
    alpha: float = Field(32.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(0.05, ge=0, lt=1)
    """Share of the inputs of the update that is dropped while training."""


class SlotTraining(FinetuneConfig):
    """Sixteen rows in a step."""

    batch_size: int = Field(4, ge=1)
    """Rows in one forward pass."""
    accumulate: int = Field(4, ge=1)
    """Forward passes in one optimizer step."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """The course of the rate after the warm-up."""
    save_every: int = Field(10, ge=1)
    """Optimizer steps between checkpoints."""


class SlotTune(TuneConfig):
    """How to train, with this home's defaults; a setting that is changed leaves the others as they are."""

    lora: SlotLora = parse(SlotLora, {})  # pyright: ignore[reportIncompatibleVariableOverride] (frozen)
    """The adapter that is trained."""
    training: SlotTraining = parse(SlotTraining, {})  # pyright: ignore[reportIncompatibleVariableOverride] (frozen)
    """Length, rate and order of the training."""


class TrainConfig(Config):
    """Fine-tune a model to write templates, to fill slots, or as a baseline to write texts."""

    model: str = "smollm2"
    """Model to fine-tune: an alias, a folder, a .gguf file or a hub id."""
    task: Task = "template"
    """template, template-docs, fill, or a baseline: plain, K, KV, rewriter."""
    data: str = "webnlg-train"
    """Texts with facts: Enriched WebNLG, or lines of {"text", "facts"} of which several may share an "entry"."""
    limit_rows: int | None = Field(3000, ge=1)
    """Train on this many rows, drawn at random; leave out with none."""
    held_out_rows: int = Field(32, ge=1)
    """Rows held out to measure the loss on."""
    unseen: bool = False
    """Leave the categories Astronaut and ComicsCharacter out, to be scored on them."""
    corrupt: float = Field(0.2, ge=0, le=1)
    """Share of the facts that the documents have wrong."""
    max_length: int = Field(640, ge=32)
    """Longest row in tokens; rows with longer prompts are left out."""
    merge: bool = True
    """Also write the merged model."""
    tune: SlotTune = parse(SlotTune, {})
    """How to train."""


def train(config: TrainConfig, run: Run) -> Metrics:
    """Makes the rows, measures, trains, measures again, and saves.

    Raises:
        ConfigError: too few rows, or none short enough.
    """
    path = models.resolve(config.model)
    tokenizer = models.load_tokenizer(path)
    rows, held_out = draw_rows(config)
    encoded = fitting(rows, tokenizer, config.max_length)
    measured = fitting(held_out, tokenizer, config.max_length)
    run.log(f"{len(encoded)} of {len(rows)} rows are short enough")
    model = models.load_transformers(path, "fp32")
    if "before" not in run.rows:
        run.add("before", {"loss": mean_loss(row_losses(model, measured))})
    tuned = tune(model, tokenizer, encoded, config.tune, run.folder)
    if "after" not in run.rows:
        run.add("after", {"loss": mean_loss(row_losses(tuned.model, measured))})
        run.add("steps", {"losses": [step["loss"] for step in tuned.steps]})
    tuned.save_adapter(run.folder / "adapter", config.model)
    if config.merge:
        with models.quiet():
            tuned.merged().save_pretrained(run.folder / "merged")
        tokenizer.save_pretrained(run.folder / "merged")
    return {
        "model": config.model,
        "task": config.task,
        "rows": len(encoded),
        "left_out": len(rows) - len(encoded),
        "steps": len(tuned.steps),
        "tokens": sum(len(row.ids) for row in encoded),
        "loss_before": run.rows["before"]["loss"],
        "loss_after": run.rows["after"]["loss"],
    }


def draw_rows(config: TrainConfig) -> tuple[list[Row], list[Row]]:
    """Rows to train on and rows to measure on, of different entities."""
    examples = [one for one in load_examples(config.data) if not (config.unseen and one.category in UNSEEN)]
    limit = config.limit_rows + config.held_out_rows if config.limit_rows else None
    entities = build_grounded(_unlike_dev(examples), corrupt=config.corrupt, seed=config.tune.seed, limit=limit)
    if len(entities) <= config.held_out_rows:
        raise ConfigError(
            f"{config.data} has {len(entities)} entries with several texts; give more than {config.held_out_rows}, "
            "the number of held-out rows"
        )
    held_out, chosen = entities[: config.held_out_rows], entities[config.held_out_rows :]
    return learning_rows(config.task, chosen, seed=config.tune.seed), learning_rows(config.task, held_out)


def _unlike_dev(examples: Sequence[Example]) -> list[Example]:
    """Each text once; nine dev texts are verbatim in train, and are dropped where the data come as Enriched WebNLG."""
    seen: dict[tuple[str, str], Example] = {}
    for example in examples:
        seen.setdefault((example.entry, example.text), example)
    return list(seen.values())


def fitting(rows: Sequence[Row], tokenizer: models.PreTrainedTokenizerBase, max_length: int) -> list[EncodedRow]:
    """The rows that fit whole; a template that is cut teaches to stop in the middle.

    Raises:
        ConfigError: none does.
    """
    encoded = [row for row in encode_all(rows, tokenizer, 10**6) if len(row.ids) <= max_length]
    if not encoded:
        raise ConfigError(f"none of {len(rows)} rows fits into {max_length} tokens; raise max_length")
    return encoded


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return (
        f"{metrics['task']}: {metrics['steps']} steps over {metrics['rows']} rows "
        f"({metrics['left_out']} were too long)\n"
        f"held-out loss {metrics['loss_before']:.4f} -> {metrics['loss_after']:.4f} nats per token\n"
        "the run's folder merged/ is a model for `slotsum generate`, `fill`, `run` and `eval`"
    )
