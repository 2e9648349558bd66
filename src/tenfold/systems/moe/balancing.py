"""The verb `balance`: the same mixture with no balancing, with the loss, and with moving biases; loads and losses."""

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from tenfold.core.config import Config, Names, parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.moe.comparison import LossTable
from tenfold.systems.moe.ladder import LadderCorpus, LadderShape, LadderTraining, Seeds
from tenfold.systems.moe.rungs import rung
from tenfold.systems.moe.unit import BalanceConfig, UnitConfig, train_unit
from tenfold.train.packed_corpus import load_corpus

METHODS = ("none", "loss", "bias")
EVEN = 0.1
"""A largest violation up to this counts as balanced."""


class BalanceVerbConfig(Config):
    """Train one mixture under several ways of balancing, and compare loads and held-out losses."""

    rung: str = "deepseekmoe"
    """Which mixture."""
    methods: Names = METHODS
    """none, loss (per layer, as in the paper), bias (no loss; the choice is biased against the load)."""
    seeds: Seeds = (0, 1, 2)
    """One training run of each method for each."""
    factor: float = Field(0.01, gt=0)
    """Of the balance loss."""
    bias_rate: float = Field(3e-4, gt=0)
    """By how much the bias of an expert moves in a step."""
    corpus: LadderCorpus = parse(LadderCorpus, {})
    """The text."""
    shape: LadderShape = parse(LadderShape, {})
    """The size of the model."""
    training: LadderTraining = parse(LadderTraining, {})
    """Length and rate, the same for all."""

    def unit(self, method: str) -> UnitConfig:
        """The settings of one training run."""
        factor, rate = self.factor if method == "loss" else 0.0, self.bias_rate if method == "bias" else 0.0
        balance = parse(BalanceConfig, {"expert": factor, "bias_rate": rate})
        return UnitConfig(shape=self.shape, balance=balance, training=self.training)


def balance(config: BalanceVerbConfig, run: Run) -> Metrics:
    """Trains what the run does not hold yet, then compares."""
    _check(config)
    corpus = load_corpus(config.corpus)
    keys = [(seed, method) for seed in config.seeds for method in config.methods]
    todo = [key for key in keys if f"{key[1]}/{key[0]}" not in run.rows]
    for seed, method in track(todo, "Models", done=len(keys) - len(todo)):
        folder = run.folder / "units" / f"{method}-{seed}"
        row = train_unit(config.rung, config.unit(method), corpus, seed, folder)
        run.add(f"{method}/{seed}", {"method": method, **row})
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return compare([run.rows[f"{method}/{seed}"] for seed, method in keys], config)


def compare(rows: Sequence[Mapping[str, Any]], config: BalanceVerbConfig) -> Metrics:
    """Loads and losses of each method, and its loss less that without balancing."""
    own = {method: [row for row in rows if row["method"] == method] for method in config.methods}
    table = LossTable({name: [row["held_out"] for row in each] for name, each in own.items()}, rows[0]["held_out_tokens"])
    return {
        "rung": config.rung,
        "methods": {name: _method_metrics(name, each, table) for name, each in own.items()},
        "seeds": list(config.seeds),
        "tokens": rows[0]["tokens"],
    }


def _method_metrics(name: str, rows: Sequence[Mapping[str, Any]], table: LossTable) -> dict[str, Any]:
    loss = table.estimate(lambda own: own, name)
    worst = [row["balance"]["max_violation"] for row in rows]
    found: dict[str, Any] = {
        "loss": loss.value,
        "ci": loss.interval,
        "max_violation": max(worst),
        "mean_violation": sum(row["balance"]["mean_violation"] for row in rows) / len(rows),
        "variation": sum(row["balance"]["variation"] for row in rows) / len(rows),
        "dead": max(row["balance"]["dead"] for row in rows),
        "balanced": max(worst) <= EVEN,
    }
    if name != "none" and "none" in table.totals_UC:
        cost = table.estimate(lambda own, without: own - without, name, "none")
        found |= {"loss_added": cost.value, "loss_added_ci": cost.interval, "no_worse": cost.low <= 0}
    return found


def _check(config: BalanceVerbConfig) -> None:
    point = rung(config.rung)
    if point.router != "topk" or not point.routed:
        raise ConfigError(f"{config.rung} has no learned router to balance; choose switch, gshard, deepseekmoe or another")
    if unknown := [name for name in config.methods if name not in METHODS]:
        raise ConfigError(f"methods: {unknown[0]!r} is unknown; accepted are {', '.join(METHODS)}")
    if not config.methods or not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ConfigError("methods and seeds must each hold at least one entry, and no seed twice")


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{'balanced by':12}{'loss':>8}   worst MaxVio   CV      dead"]
    for name, each in metrics["methods"].items():
        line = f"{name:12}{each['loss']:8.4f}   {each['max_violation']:12.3f}   {each['variation']:.3f}   {each['dead']}"
        if "loss_added" in each:
            low, high = each["loss_added_ci"]
            line += f"   loss {each['loss_added']:+.4f} ({low:+.4f} to {high:+.4f})"
        lines.append(line)
    return "\n".join(lines)
