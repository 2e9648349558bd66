"""The verb `ladder`: the baselines and DeepSeekMoE with the same data, order, total and activated parameters.

Gap closure, from table 2 of arXiv 2401.06066: how much of the way from the dense model to one with all parameters active a
mixture goes at the activated parameters of few: (L_dense - L) / (L_dense - L_dense16).
"""

import shutil
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tenfold.core.config import Config, Names, parse, split_commas
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.moe.comparison import LossTable
from tenfold.systems.moe.rungs import RUNGS, rung
from tenfold.systems.moe.unit import BalanceConfig, ShapeConfig, UnitConfig, train_unit
from tenfold.train.packed_corpus import SMALLEST_VOCABULARY, CorpusConfig, load_corpus
from tenfold.train.pretrain import PretrainConfig

PAPER_CLOSURE = {"hash": 0.50, "switch": 0.70, "gshard": 0.76, "deepseekmoe": 0.99}
"""Derived from the printed losses on the Pile."""
ORDER = ("dense", "hash", "switch", "gshard", "deepseekmoe")
"""The paper's, from the highest loss to the lowest."""

Seeds = Annotated[tuple[int, ...], BeforeValidator(split_commas)]


class LadderCorpus(CorpusConfig):
    """The text of the small ladder."""

    vocabulary: int = Field(2048, ge=SMALLEST_VOCABULARY)
    """Size of the tokenizer that is trained."""
    length: int = Field(128, ge=8)
    """Tokens in a block."""


class LadderShape(ShapeConfig):
    """A size that fits into forty minutes of one core, for all rungs and three seeds."""

    width: int = Field(64, ge=8)
    """Model width d."""
    layers: int = Field(3, ge=1)
    """Decoder layers, all of them with experts."""
    inner: int = Field(160, ge=8)
    """Inner width I of one standard feed-forward layer; experts are parts of it."""


class LadderTraining(PretrainConfig):
    """The training of the small ladder."""

    steps: int = Field(700, ge=1)
    """Optimizer steps."""
    learning_rate: float = Field(6e-3, gt=0)
    """The highest rate."""


class LadderConfig(Config):
    """Train the baselines and DeepSeekMoE at equal budgets, and compare their held-out losses."""

    rungs: Names = ("dense", "hash", "switch", "gshard", "deepseekmoe", "gshard-x1.5", "dense-x16")
    """Which models; all of them start from the same seeds and see the same blocks in the same order."""
    seeds: Seeds = (0, 1, 2)
    """One training run of each rung for each."""
    corpus: LadderCorpus = parse(LadderCorpus, {})
    """The text."""
    shape: LadderShape = parse(LadderShape, {})
    """The size of the models."""
    balance: BalanceConfig = parse(BalanceConfig, {})
    """How loads are kept even."""
    training: LadderTraining = parse(LadderTraining, {})
    """Length and rate, the same for all."""

    def unit(self) -> UnitConfig:
        """The settings of each model."""
        return UnitConfig(shape=self.shape, balance=self.balance, training=self.training)


def ladder(config: LadderConfig, run: Run) -> Metrics:
    """Trains what the run does not hold yet, seed by seed, then compares."""
    for name in config.rungs:
        rung(name)
    if not config.rungs or not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ConfigError(f"rungs are {list(config.rungs)} and seeds {list(config.seeds)}; give at least one, no seed twice")
    corpus = load_corpus(config.corpus)
    todo = [(seed, name) for seed in config.seeds for name in config.rungs if f"{name}/{seed}" not in run.rows]
    for seed, name in track(todo, "Models", done=len(config.seeds) * len(config.rungs) - len(todo)):
        folder = run.folder / "units" / f"{name}-{seed}"
        run.add(f"{name}/{seed}", train_unit(name, config.unit(), corpus, seed, folder))
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return compare([run.rows[f"{name}/{seed}"] for name in config.rungs for seed in config.seeds], config)


def compare(rows: Sequence[Mapping[str, Any]], config: LadderConfig) -> Metrics:
    """Losses, intervals, gap closure and the order, from the rows of all models."""
    own = {name: [row for row in rows if row["rung"] == name] for name in config.rungs}
    table = LossTable({name: [row["held_out"] for row in each] for name, each in own.items()}, rows[0]["held_out_tokens"])
    return {
        "rungs": {name: _rung_metrics(name, each, table) for name, each in own.items()},
        "differences": _differences(table),
        "order": sorted(config.rungs, key=table.loss, reverse=True),
        "order_is_the_papers": _is_ordered(table),
        "seeds": list(config.seeds),
        "documents": len(rows[0]["held_out_tokens"]),
        "tokens": rows[0]["tokens"],
        "sources": list(config.corpus.sources),
        "steps": config.training.steps,
    }


def _rung_metrics(name: str, rows: Sequence[Mapping[str, Any]], table: LossTable) -> dict[str, Any]:
    losses = [row["loss"] for row in rows]
    loss = table.estimate(lambda own: own, name)
    return {
        "title": RUNGS[name].title,
        "loss": loss.value,
        "ci": loss.interval,
        "by_seed": losses,
        "gap_closure": _closure(name, table),
        "gap_closure_paper": PAPER_CLOSURE.get(name),
        "parameters": rows[0]["parameters"],
        "activated_parameters": rows[0]["activated"],
        "flops_per_token": rows[0]["flops_per_token"],
        "tokens_per_second": sum(row["tokens"] for row in rows) / sum(row["seconds"] for row in rows),
        "balance": rows[0].get("balance"),
    }


def _closure(name: str, table: LossTable) -> dict[str, Any] | None:
    """None where the ends of the scale are missing, or the larger dense model is no better than the small one."""
    ends = ("dense", "dense-x16")
    if name in ends or not set(ends) <= table.totals_UC.keys() or table.loss(ends[0]) <= table.loss(ends[1]):
        return None
    found = table.estimate(lambda own, dense, bound: (dense - own) / (dense - bound), name, *ends)
    return {"value": found.value, "ci": found.interval}


def _differences(table: LossTable) -> dict[str, Any]:
    """Each model of the paper's order less the one before it, and DeepSeekMoE less the larger GShard."""
    known = [name for name in ORDER if name in table.totals_UC]
    pairs = [*zip(known[1:], known, strict=False)]
    if {"deepseekmoe", "gshard-x1.5"} <= table.totals_UC.keys():
        pairs.append(("deepseekmoe", "gshard-x1.5"))
    found = {}
    for name, other in pairs:
        estimate = table.estimate(lambda own, theirs: own - theirs, name, other)
        found[f"{name} - {other}"] = {"value": estimate.value, "ci": estimate.interval, "lower": estimate.high < 0}
    return found


def _is_ordered(table: LossTable) -> bool | None:
    known = [table.loss(name) for name in ORDER if name in table.totals_UC]
    return known == sorted(known, reverse=True) if len(known) == len(ORDER) else None


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{'model':28}{'loss':>8}   95% interval       closes the gap by"]
    for each in metrics["rungs"].values():
        closure = each["gap_closure"]
        told = "" if closure is None else f"{closure['value']:.0%} ({closure['ci'][0]:.0%} to {closure['ci'][1]:.0%})"
        lines.append(f"{each['title']:28}{each['loss']:8.4f}   {each['ci'][0]:.4f} to {each['ci'][1]:.4f}   {told}")
    for name, each in metrics["differences"].items():
        lines.append(f"{name}: {each['value']:+.4f} ({each['ci'][0]:+.4f} to {each['ci'][1]:+.4f})")
    words = {True: "is", False: "is not", None: "cannot be told to be"}[metrics["order_is_the_papers"]]
    return "\n".join([*lines, f"the order {words} the paper's"])
