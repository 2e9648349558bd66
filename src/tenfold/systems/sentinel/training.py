"""The verb `train`: teach a model its sentinels, measure before and after, and leave an ordinary PEFT adapter."""

import shutil
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field

from tenfold.core.config import Config, Names, parse
from tenfold.core.records import Metrics
from tenfold.nn.models import Dtype
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.sentinel import measuring
from tenfold.systems.sentinel.arms import ARMS, mean_chunk
from tenfold.systems.sentinel.bases import Base, open_base, sentinel_ids
from tenfold.systems.sentinel.compare import dev_windows
from tenfold.systems.sentinel.data import Window, training_windows
from tenfold.systems.sentinel.layout import insert, plain
from tenfold.systems.sentinel.learning import LearnConfig, Task, train_arm
from tenfold.systems.sentinel.perplexity import token_losses
from tenfold.systems.sentinel.rules import Rule
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.systems.sentinel.wrapping import open_trained

VIEWS = ("plain", "quality", "compact")
"""Without sentinels; with all text visible; with first tokens, a window and sentinels."""


class TrainConfig(Config):
    """Teach a model its sentinels, and leave an ordinary adapter."""

    model: str = "smollm2"
    """Base: an alias, stories260k, tiny (random), a folder or a hub id."""
    train: Names = ("wikitext", "gutenberg")
    """Texts to train on, in turn: wikitext, gutenberg, stories, sample, a .txt file or a folder of them."""
    dev: Names = ("wikitext",)
    """Texts to measure on, before and after."""
    tokens: int = Field(128_000, ge=64)
    """Original tokens to train on."""
    dev_windows: int = Field(8, ge=1)
    """Most windows measured of each text."""
    dtype: Dtype = "bf16"
    """Type of the frozen weights."""
    sentinel: SentinelConfig = parse(SentinelConfig, {})
    """How sentinels are placed and read."""
    learn: LearnConfig = parse(LearnConfig, {})
    """Windows, method and rate."""


def train(config: TrainConfig, run: Run) -> Metrics:
    """Measures, trains, measures again."""
    base = open_base(config.model, dtype=config.dtype)
    ids = sentinel_ids(base, config.sentinel)
    windows = training_windows(config.train, base.codec, length=config.learn.length, tokens=config.tokens, seed=0)
    dev = [(name, w) for name in config.dev for w in dev_windows(name, base, config.learn.length, config.dev_windows)]
    segmenter = Segmenter(config.sentinel, base.codec.pieces, ids)
    chunk = mean_chunk([insert(window.ids, segmenter) for window in windows])
    measure_views(run, "before", base, base.model, config.sentinel, ids, dev, config.learn.windows[0])
    if "steps" not in run.rows:
        torch.manual_seed(config.learn.tune.seed)
        task = Task(ARMS["sr"], config.sentinel, ids, config.learn.tune.seed, run.folder)
        tuned = train_arm(base, windows, task, config.learn, config.model)
        run.add("steps", {"losses": [step["loss"] for step in tuned.steps]})
        model: Any = tuned.model.eval()
    else:
        base, model, _ = open_trained(run.folder / "adapter", dtype=config.dtype)
    measure_views(run, "after", base, model, config.sentinel, ids, dev, config.learn.windows[0])
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    return _metrics(config, run, windows, chunk)


def measure_views(
    run: Run,
    when: str,
    base: Base,
    model: Any,
    config: SentinelConfig,
    ids: Sequence[int],
    dev: Sequence[tuple[str, Window]],
    window: int,
) -> None:
    """A row for each window and view that the run does not hold yet."""
    places = [(view, text, w) for view in VIEWS for text, w in dev]
    todo = [place for place in places if _key(when, *place) not in run.rows]
    for view, text, w in track(todo, f"Measuring {when}", done=len(places) - len(todo)) if todo else ():
        losses = view_losses(model, base, config, ids, w.ids, view, window)
        names = {"arm": when, "seed": None, "text": text, "view": view}
        run.add(_key(when, view, text, w), measuring.row_of(losses, w, base.codec.pieces, **names))


def view_losses(
    model: Any, base: Base, config: SentinelConfig, ids: Sequence[int], tokens: Sequence[int], view: str, window: int
) -> torch.Tensor:
    """[T - 1] nats of a text's tokens under one view."""
    if view == "plain":
        return token_losses(model, plain(tokens), Rule(), ids)
    chosen = config.changed(raw="all" if view == "quality" else "window", window=max(window, config.max_chunk), budget=0)
    return token_losses(model, insert(tokens, Segmenter(chosen, base.codec.pieces, ids)), Rule.of(chosen), ids)


def _metrics(config: TrainConfig, run: Run, windows: Sequence[Window], chunk: float) -> Metrics:
    rows = [row for row in run.rows.values() if "nll_sum" in row]

    def chosen(when: str, view: str) -> list[Any]:
        return [row for row in rows if row["arm"] == when and row["view"] == view]

    losses = run.rows["steps"]["losses"]
    return {
        "model": config.model,
        "method": config.learn.tune.method,
        "tokens": sum(len(window.ids) for window in windows),
        "steps": len(losses),
        "tokens_per_sentinel": chunk,
        "window": config.learn.windows[0],
        "train_loss_first": losses[0],
        "train_loss_last": losses[-1],
        "before": {view: measuring.perplexity(chosen("before", view)) for view in VIEWS},
        "after": {view: measuring.perplexity(chosen("after", view)) for view in VIEWS},
        "change": {view: measuring.change(chosen("after", view), chosen("before", view)) for view in VIEWS},
        "quality_vs_plain": measuring.change(chosen("after", "quality"), chosen("after", "plain")),
        "compact_vs_quality": measuring.change(chosen("after", "compact"), chosen("after", "quality")),
        "adapter": "adapter",
    }


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['steps']} steps over {metrics['tokens']:,} tokens, one sentinel per "
        f"{metrics['tokens_per_sentinel']:.0f}; loss {metrics['train_loss_first']:.3f} -> {metrics['train_loss_last']:.3f}"
    ]
    names = {
        "plain": "without sentinels",
        "quality": "with sentinels",
        "compact": f"in a window of {metrics['window']}",
    }
    for view, name in names.items():
        before, after = metrics["before"][view]["ppl"], metrics["after"][view]["ppl"]
        lines.append(f"{name:>24}: perplexity {before:.3f} -> {after:.3f}")
    return "\n".join(
        [*lines, f"the adapter is in the run's folder {metrics['adapter']}/; any program that reads PEFT LoRA loads it"]
    )


def _key(when: str, view: str, text: str, window: Window) -> str:
    return f"{when}/{view}/{text}/{window.document}/{window.number}"
