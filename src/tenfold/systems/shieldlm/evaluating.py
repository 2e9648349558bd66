"""The verb `eval`: how good a detector is, and whether its promises hold, on data that it has not learnt from.

    labels        agreement, calibration, false-alarm rates; for a language model the linear floor and the cascade beside it
    flips         rule gain and flip accuracy on RuleFlip
    irrelevant    verdicts that change with rules that do not concern the item
    alarms        flags on harmless texts with alarming words
    injection     flags lost to lines that claim a verdict
    explanations  parsed, agreeing, verified
    streams       cost, delay and false alarms of the guard for text that is being written
    speed         one prefill against generating and parsing

Rows hold keys, labels and scores, never texts. A killed run goes on with --resume where it stopped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.shieldlm import judging, measures, rule_measures, speed, stream_measures
from tenfold.systems.shieldlm.calibrator import Calibrator
from tenfold.systems.shieldlm.data import SETS, read_items, splits
from tenfold.systems.shieldlm.guard import Guard
from tenfold.systems.shieldlm.items import Item, Split
from tenfold.systems.shieldlm.linear import LinearGuard
from tenfold.systems.shieldlm.opening import open_guard
from tenfold.systems.shieldlm.training import chosen_items

LINEAR = "linear"
PARTS = ("labels", "flips", "irrelevant", "alarms", "injection", "explanations", "streams", "speed")


class EvalConfig(Config):
    """Judge a detector: agreement, calibration, promised false-alarm rates, and how it takes rules and attacks."""

    guard: str = LINEAR
    """linear (learnt here, on the set's training part), the folder of a train or calibrate run, or a model's name."""
    data: str = "diasafety"
    """diasafety, gptfuzz (linear: five folds by question; else one), coldataset (Chinese), invented, or a JSONL file."""
    parts: Names = ("labels",)
    """What to measure of a language model: labels, flips, irrelevant, alarms, injection, explanations, streams, speed."""
    packs: Names = ("base-en", "base-zh")
    """Rule packs; invented needs invented-en."""
    limit: int | None = Field(default=None, ge=1)
    """Test items (linear: also training items), drawn at random; all if left out."""
    part_limit: int = Field(default=100, ge=1)
    """Items of each part but labels, alarms and speed."""
    speed_items: int = Field(default=6, ge=1)
    """Items that are also generated and parsed."""
    seed: int = 0
    """Of the draws."""


def evaluate(config: EvalConfig, run: Run) -> Metrics:
    """One row per piece of work; the metrics are made from the rows alone."""
    for part in config.parts:
        if part not in PARTS:
            raise UnknownNameError("part", part, PARTS)
    found: Metrics = {"data": config.data, "detector": config.guard}
    if config.guard == LINEAR:
        parts = [_narrowed(split, config) for split in splits(config.data)]
        return {**found, **sum_up(_linear(parts, run))}
    split = _narrowed(_split(config), config)
    guard = open_guard(config.guard, packs=config.packs)
    _judge(config, run, guard, split)
    return {**found, "ids": guard.ids, **summed(config, run, guard, split)}


def _judge(config: EvalConfig, run: Run, guard: Guard, split: Split) -> None:
    few = [item for item in chosen_items(split.test, config.part_limit, config.seed + 1) if item.response.strip()]
    pack = guard.packs.get(split.test[0].lang)
    work = {
        "labels": lambda: judging.item_work(guard, split.test, split.unseen),
        "flips": lambda: judging.flip_work(guard, few, _needed(pack), config.seed),
        "irrelevant": lambda: judging.irrelevant_work(guard, few, _needed(pack), config.seed),
        "alarms": lambda: judging.alarm_work(guard),
        "injection": lambda: judging.injection_work(guard, few),
        "explanations": lambda: judging.explanation_work(guard, few, _needed(pack)),
        "streams": lambda: stream_measures.stream_work(guard, few, config.seed),
        "speed": lambda: speed.speed_work(guard, few[: config.speed_items]),
    }
    for part in config.parts:
        judging.judge(run, part.capitalize(), list(work[part]()))
    if "labels" in config.parts and split.train:
        _linear([split], run)


def summed(config: EvalConfig, run: Run, guard: Guard, split: Split) -> Metrics:
    """All measures from the rows."""
    found: Metrics = {}
    rows = run.rows.values()
    calibrator = guard.calibrator
    if "labels" in config.parts:
        found |= _labels([row for row in rows if row["key"].startswith("item/")], run, calibrator, bool(split.train))
    for part, measure in {**rule_measures.MEASURES, "streams": stream_measures.streams}.items():
        if part in config.parts:
            found |= measure([row for row in rows if row["key"].startswith(f"{part.rstrip('s')}/")], calibrator)
    if "speed" in config.parts:
        found |= speed.sum_up([row for row in rows if row["key"].startswith("speed/")])
    return found


def _labels(rows: Sequence[Mapping[str, Any]], run: Run, calibrator: Calibrator, has_floor: bool) -> Metrics:
    scores = calibrator.scores([judging.logps(row) for row in rows])
    items = [{**row, "score": float(score)} for row, score in zip(rows, scores, strict=True)]
    found = sum_up([{"items": items}])
    found["coverage"] = float(np.mean([row["coverage"] for row in rows]))
    if has_floor:
        floor = run.rows["0"]["items"]
        linear = np.array([item["score"] for item in floor])
        unsafe = np.array([item["unsafe"] for item in floor])
        found["linear_accuracy"] = float(((linear > 0.5) == unsafe).mean())
        found["linear_accuracy_unseen"] = _share([(i["score"] > 0.5) == i["unsafe"] for i in floor if not i["seen"]])
        found |= measures.beside_linear(linear, scores, unsafe, [item["group"] for item in floor])
    return found


def sum_up(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """The metrics of all judged items together."""
    items = [item for row in rows for item in row["items"]]
    score_N, unsafe_N = np.array([i["score"] for i in items]), np.array([i["unsafe"] for i in items])
    clusters, seen_N = [i["group"] for i in items], np.array([i["seen"] for i in items])
    flag_N = score_N > 0.5
    return {
        "items": len(items),
        "majority": float(max(unsafe_N.mean(), 1 - unsafe_N.mean())),
        **_flat(measures.agreement(flag_N, unsafe_N, clusters)),
        **{
            f"accuracy_{name}": float((flag_N == unsafe_N)[mask].mean()) if mask.any() else None
            for name, mask in (("seen", seen_N), ("unseen", ~seen_N))
        },
        "items_unseen": int((~seen_N).sum()),
        "macro_f1": measures.macro_f1(flag_N, unsafe_N),
        "split_accuracy": [_share([(i["score"] > 0.5) == i["unsafe"] for i in row["items"]]) for row in rows],
        "category_accuracy": _by_category(items),
        **measures.calibration(score_N, unsafe_N, clusters),
        **measures.held_out_calibration(score_N, unsafe_N, clusters),
    }


def _linear(parts: Sequence[Split], run: Run) -> list[Mapping[str, Any]]:
    todo = [place for place in range(len(parts)) if str(place) not in run.rows]
    for place in track(todo, "Linear floor", done=len(parts) - len(todo)):
        run.add(str(place), _judged(parts[place]))
    return [run.rows[str(place)] for place in range(len(parts))]


def _judged(split: Split) -> dict[str, Any]:
    lang = split.train[0].lang
    guard = LinearGuard.fit([item.text for item in split.train], [item.label == "unsafe" for item in split.train], lang)
    scores = guard.scores([item.text for item in split.test])
    groups = {item.group: f"g{place}" for place, item in enumerate(split.test)}
    return {
        "items": [
            {
                "key": item.key,
                "unsafe": item.label == "unsafe",
                "score": float(score),
                "category": item.category,
                "group": groups[item.group],
                "seen": item.group not in split.unseen,
            }
            for item, score in zip(split.test, scores, strict=True)
        ]
    }


def _split(config: EvalConfig) -> Split:
    return splits(config.data)[0] if config.data in SETS else Split((), read_items(Path(config.data), labelled=True))


def _narrowed(split: Split, config: EvalConfig) -> Split:
    train: Sequence[Item] = split.train
    if config.guard == LINEAR:
        train = chosen_items(split.train, config.limit, config.seed)
    part = Split(train, chosen_items(split.test, config.limit, config.seed))
    if not part.test:
        raise ConfigError("a split holds no test items; raise limit")
    return part


def _needed(pack: Any) -> Any:
    if pack is None:
        raise ConfigError("there is no rule pack for the language of these items; leave out flips, irrelevant, explanations")
    return pack


def _by_category(items: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    names = sorted({item["category"] for item in items})
    return {n: _share([(i["score"] > 0.5) == i["unsafe"] for i in items if i["category"] == n]) for n in names}


def _share(right: Sequence[bool]) -> float | None:
    return float(np.mean(right)) if len(right) else None


def _flat(estimates: Mapping[str, Any]) -> Metrics:
    flat: dict[str, Any] = {}
    for name, estimate in estimates.items():
        flat |= {name: estimate.value, f"{name}_interval": estimate.interval}
    return flat
