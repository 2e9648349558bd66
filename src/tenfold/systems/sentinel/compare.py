"""The verb `compare`: all arms on the same text in the same order, and what each gained over plain LoRA.

One row per (arm, seed, text, document, window, view); a killed run goes on where it was, inside a training too.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.sentinel import measuring
from tenfold.systems.sentinel.arms import ARMS, Arm, arm, arm_config, mean_chunk
from tenfold.systems.sentinel.bases import Base, open_base, sentinel_ids, start_embedding, with_adapter
from tenfold.systems.sentinel.data import Window, training_windows, windows
from tenfold.systems.sentinel.layout import insert, plain
from tenfold.systems.sentinel.learning import Task, train_arm
from tenfold.systems.sentinel.perplexity import token_losses
from tenfold.systems.sentinel.profiles import CompareConfig
from tenfold.systems.sentinel.rules import Rule
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

FRONT_MATTER = 20_000
"""Characters of a dev book that are left out: titles, prefaces, contents."""


@dataclass(frozen=True)
class Unit:
    """One training with its measurements."""

    arm: Arm
    seed: int | None
    rate: float

    @property
    def key(self) -> str:
        return self.arm.name if self.seed is None else f"{self.arm.name}/{self.seed}/{self.rate:g}"


@dataclass(frozen=True)
class Texts:
    """What a run trains and measures on."""

    train: Sequence[Window]
    dev: dict[str, list[Window]]
    mean_chunk: float


def compare(config: CompareConfig, run: Run) -> Metrics:
    """Trains and measures what the run does not hold yet, then sums up."""
    base = open_base(config.model, dtype=config.dtype)
    ids = sentinel_ids(base, config.sentinel)
    texts = read_texts(config, base, ids)
    del base
    rate = config.rates[0] if len(config.rates) == 1 else _best_rate(config, run, texts, ids)
    for unit in units(config, rate):
        _do(config, run, unit, texts, ids)
    return metrics(config, run, texts, rate)


def units(config: CompareConfig, rate: float) -> list[Unit]:
    """All trainings; the base is measured once."""
    found = []
    for name in config.arms:
        chosen = arm(name)
        found += [Unit(chosen, seed, rate) for seed in config.seeds] if chosen.is_trained else [Unit(chosen, None, 0.0)]
    return found


def read_texts(config: CompareConfig, base: Base, ids: Sequence[int]) -> Texts:
    """The windows of all arms."""
    train = training_windows(config.train, base.codec, length=config.length, tokens=config.tokens, seed=0)
    dev = {name: dev_windows(name, base, config.dev_length, config.dev_windows) for name in config.dev}
    segmenter = Segmenter(config.sentinel, base.codec.pieces, ids)
    return Texts(train, dev, mean_chunk([insert(window.ids, segmenter) for window in train]))


def dev_windows(name: str, base: Base, length: int, most: int) -> list[Window]:
    """At most `most` windows of a text, taken from its documents in turn."""
    books = name == "gutenberg"
    found = windows(
        name, "dev", base.codec, length=length, skip=FRONT_MATTER if books else 0, per_document=most if books else None
    )
    found.sort(key=lambda window: (window.number, window.document))
    return found[:most]


def measure(base: Base, model: Any, config: SentinelConfig | None, ids: Sequence[int], window: Window, view: str) -> Any:
    """The losses of a window's tokens under an arm's quality mask, or of its plain text."""
    if config is None or view == "plain":
        layout, rule = plain(window.ids), Rule()
    else:
        layout, rule = insert(window.ids, Segmenter(config, base.codec.pieces, ids)), Rule.of(config)
    return token_losses(model, layout, rule, ids)


def _do(config: CompareConfig, run: Run, unit: Unit, texts: Texts, ids: Sequence[int]) -> None:
    places = [(name, window, view) for name in texts.dev for window in texts.dev[name] for view in unit.arm.views]
    keys = [f"{unit.key}/{name}/{window.document}/{window.number}/{view}" for name, window, view in places]
    todo = [(key, place) for key, place in zip(keys, places, strict=True) if key not in run.rows]
    if not todo:
        return
    base = open_base(config.model, dtype=config.dtype)
    settings = arm_config(unit.arm, config.sentinel, texts.mean_chunk)
    model = _trained(config, run, unit, texts, base, tuple(ids), settings) if unit.arm.is_trained else base.model
    model.eval()
    label = f"Measuring {unit.arm.name}"
    for key, (name, window, view) in track(todo, label, done=len(places) - len(todo)):
        losses = measure(base, model, settings, ids, window, view)
        names = {"arm": unit.arm.name, "seed": unit.seed, "rate": unit.rate, "text": name, "view": view}
        run.add(key, measuring.row_of(losses, window, base.codec.pieces, **names))


def _trained(
    config: CompareConfig,
    run: Run,
    unit: Unit,
    texts: Texts,
    base: Base,
    ids: tuple[int, ...],
    settings: SentinelConfig | None,
) -> Any:
    """The arm's model: from its adapter where the training is done, else trained now."""
    folder = run.folder / "arms" / unit.key.replace("/", "-")
    done = f"trained/{unit.key}"
    if done in run.rows:
        if settings is not None:
            start_embedding(base.model, base.codec, ids)
        return with_adapter(base.model, folder / "adapter")
    assert unit.seed is not None, unit
    chosen = [_stretched(window, unit.arm.stretch, texts.train) for window in texts.train]
    torch.manual_seed(unit.seed)
    tuned = train_arm(base, chosen, Task(unit.arm, settings, ids, unit.seed, folder), config.learn(unit.rate), config.model)
    run.add(
        done, {"arm": unit.arm.name, "seed": unit.seed, "rate": unit.rate, "losses": [step["loss"] for step in tuned.steps]}
    )
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return tuned.model


def _stretched(window: Window, stretch: float, others: Sequence[Window]) -> Window:
    """A window with some of the next one's tokens, so that a plain text is as long as an expanded one."""
    extra = round(len(window.ids) * (stretch - 1))
    if not extra:
        return window
    following = others[(others.index(window) + 1) % len(others)]
    return Window(window.document, window.number, window.ids + following.ids[:extra])


def _best_rate(config: CompareConfig, run: Run, texts: Texts, ids: Sequence[int]) -> float:
    """The rate at which plain LoRA does best on dev under the first seed."""
    losses = {}
    for rate in config.rates:
        unit = Unit(ARMS["lora"], config.seeds[0], rate)
        _do(config, run, unit, texts, ids)
        rows = [row for key, row in run.rows.items() if key.startswith(f"{unit.key}/")]
        losses[rate] = sum(row["nll_sum"] for row in rows)
    return min(losses, key=lambda rate: losses[rate])


def metrics(config: CompareConfig, run: Run, texts: Texts, rate: float) -> Metrics:
    """Everything that follows from the rows."""
    rows = [row for row in run.rows.values() if "nll_sum" in row and row["rate"] in (rate, 0.0)]
    main = {name: [row for row in rows if row["arm"] == name and row["view"] == "main"] for name in config.arms}
    arms = {name: _arm_metrics(main[name], main, rows, name, config) for name in config.arms}
    return {
        "profile": config.profile,
        "model": config.model,
        "arms": arms,
        "seeds": list(config.seeds),
        "rate": rate,
        "train": list(config.train),
        "train_tokens": sum(len(window.ids) for window in texts.train),
        "steps": -(-len(texts.train) // config.batch_size),
        "dev": {name: sum(len(window.ids) - 1 for window in found) for name, found in texts.dev.items()},
        "tokens_per_sentinel": texts.mean_chunk,
        "gain": -arms["sr"]["vs_lora"]["value"],
        "gain_ci": sorted(-bound for bound in arms["sr"]["vs_lora"]["ci"]),
    }


def _arm_metrics(
    rows: Sequence[Any], main: dict[str, list[Any]], every: Sequence[Any], name: str, config: CompareConfig
) -> dict[str, Any]:
    texts = {text: [row for row in rows if row["text"] == text] for text in config.dev}
    plain_rows = [row for row in every if row["arm"] == name and row["view"] == "plain"]
    return {
        "title": ARMS[name].title,
        **measuring.perplexity(rows),
        "texts": {text: measuring.perplexity(found) for text, found in texts.items()},
        "vs_lora": measuring.change(rows, main["lora"]),
        "vs_sr": measuring.change(rows, main["sr"]),
        "by_position": measuring.by_position(rows),
        **({"plain_vs_lora": measuring.change(plain_rows, main["lora"])} if plain_rows else {}),
    }


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['model']}, {metrics['train_tokens']:,} tokens in {metrics['steps']} steps, "
        f"{len(metrics['seeds'])} seed(s), one sentinel per {metrics['tokens_per_sentinel']:.0f} tokens"
    ]
    for name, found in metrics["arms"].items():
        change = found["vs_lora"]
        words = f"{change['value']:+.2%} (95 % {change['ci'][0]:+.2%} to {change['ci'][1]:+.2%})" if change else ""
        lines.append(f"{name:>12}  perplexity {found['ppl']:8.3f}   against lora {words}")
    return "\n".join(lines)


def adapter_folder(run_folder: Path, name: str, seed: int, rate: float) -> Path:
    """Where a comparison left an arm's adapter."""
    return run_folder / "arms" / Unit(arm(name), seed, rate).key.replace("/", "-") / "adapter"
