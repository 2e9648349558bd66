"""The verb `prune`: one plan exported as a checkpoint, or plans and sparsities compared by perplexity on held-out text.

One row a signal, a trial of the search, and a pruned model; each holds what was measured, so a run that was cut off goes on
behind the last of them. Signals and the search see the calibration text of the first seed and a dev split, never the text
that is reported on.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BeforeValidator, Field, model_validator
from transformers import PreTrainedModel

from tenfold.core.config import Config, Names, split_commas
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.core.records import Metrics
from tenfold.nn.named_linears import named_linears
from tenfold.store import atomic
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.activation import allocate, data, search, signals
from tenfold.systems.activation.allocate import OWL_STRENGTH, PAPER_STRENGTH, Plan
from tenfold.systems.activation.data import OWN
from tenfold.systems.activation.opened import OpenedModel, open_model
from tenfold.systems.activation.outcome import measures
from tenfold.systems.activation.pruners import NAMES, Pattern, Pruner
from tenfold.systems.activation.pruning import PruneSettings, losses, losses_after, make_pruner, prune, restored

SINGLE: Mapping[str, tuple[str, float]] = {
    "density": ("mean_max", PAPER_STRENGTH),
    "density-last": ("last_max", PAPER_STRENGTH),
    "density-nll": ("nll", PAPER_STRENGTH),
    "owl": ("owl", OWL_STRENGTH),
    "alpha": ("alpha", PAPER_STRENGTH),
    "linear": ("depth", PAPER_STRENGTH),
}
"""Allocations by one signal, with its usual strength."""
ALLOCATIONS = ("uniform", *SINGLE, "search", "table")


class PruneConfig(Config):
    """Prune a model: compare allocations of the sparsity over layers, or export one as a checkpoint."""

    model: str = "smollm2"
    """Model: smollm2, stories260k, a folder, a .gguf file or a hub id."""
    sparsities: Annotated[tuple[float, ...], BeforeValidator(split_commas)] = (0.5,)
    """Shares of the weights to remove, each in (0, .98]."""
    allocations: Names = ("uniform", "density", "owl", "search")
    """How a sparsity is spread: uniform, density, density-last, density-nll, owl, alpha, linear, search, table."""
    pruner: str = "wanda"
    """Which weights of a matrix go: wanda, magnitude, sparsegpt, grad, gblm."""
    pattern: str = "unstructured"
    """unstructured, or n:m such as 2:4, which goes with the allocation uniform alone."""
    alpha: float = Field(default=100.0, ge=0)
    """Weight of the gradient term of gblm."""
    table: Path | None = None
    """For the allocation `table`: a JSON list with one sparsity a layer, or a plan.json."""
    texts: str = OWN
    """Where texts come from: own, shared, or a folder of DOMAIN.txt files."""
    domain: str = "wiki"
    """Domain of the texts."""
    calibration_texts: int = Field(default=16, ge=1)
    """Calibration texts."""
    calibration_tokens: int = Field(default=64, ge=8)
    """Tokens of each."""
    signal_texts: int = Field(default=8, ge=1)
    """Calibration texts whose patterns give the density."""
    report_texts: int = Field(default=16, ge=2)
    """Held-out texts that perplexity is reported on, as long as the calibration texts."""
    candidates: int = Field(default=24, ge=1)
    """Plans that the search tries."""
    signals: Names = ("last_max", "mean_max", "nll", "owl", "depth")
    """Signals that the search blends; also alpha."""
    seeds: Annotated[tuple[int, ...], BeforeValidator(split_commas)] = (0,)
    """Seeds of the calibration texts; each is a pruned model more."""
    export: bool = False
    """Write the pruned model as a checkpoint with its masks; for one sparsity, allocation and seed."""

    @model_validator(mode="after")
    def _fits_together(self) -> "PruneConfig":
        for name in self.allocations:
            if name not in ALLOCATIONS:
                raise UnknownNameError("allocation", name, ALLOCATIONS)
        if self.pruner not in NAMES:
            raise UnknownNameError("pruner", self.pruner, NAMES)
        for sparsity in self.sparsities:
            allocate.check_sparsity(sparsity)
        pattern = Pattern.parse(self.pattern)
        if pattern.group and (self.allocations != ("uniform",) or self.sparsities != (pattern.sparsity,)):
            raise ConfigError(
                f"pattern {self.pattern} fixes every layer; give allocations=uniform and sparsities={pattern.sparsity}"
            )
        if ("table" in self.allocations) != (self.table is not None):
            raise ConfigError("the allocation table and the setting table go together; give both or neither")
        if self.export and len(self.sparsities) * len(self.allocations) * len(self.seeds) > 1:
            raise ConfigError("export writes one model; give one sparsity, one allocation and one seed")
        return self


def run_prune(config: PruneConfig, run: Run) -> Metrics:
    """Measures what the run does not hold yet, and sums up."""
    sweep = Sweep(config, run, open_model(config.model))
    if "dense" not in run.rows:
        run.add("dense", {"losses": losses(sweep.opened, sweep.report).tolist()})
    wanted = [(s, name, seed) for s in config.sparsities for name in config.allocations for seed in config.seeds]
    todo = [each for each in wanted if result_key(*each) not in run.rows]
    for sparsity, name, seed in track(todo, "Pruned models", done=len(wanted) - len(todo)):
        sweep.measure(sparsity, name, seed)
    if config.export:
        sweep.export(*wanted[0])
    return {"model": config.model, "pruner": config.pruner, "pattern": config.pattern, **measures(run.rows, config.seeds)}


def result_key(sparsity: float, allocation: str, seed: int) -> str:
    """The key of a pruned model's row."""
    return f"result/{sparsity}/{allocation}/{seed}"


@dataclass(frozen=True)
class Sweep:
    """Everything that the pruned models of a run share."""

    config: PruneConfig
    run: Run
    opened: OpenedModel

    @cached_property
    def _blocks(self) -> tuple[list[tuple[int, ...]], ...]:
        parts = data.split(self.config.texts, self.config.domain)
        return tuple(
            data.blocks(self.opened, part, self.config.calibration_tokens)
            for part in (parts.calibration, parts.dev, parts.report)
        )

    def calibration(self, seed: int) -> list[tuple[int, ...]]:
        return data.drawn(self._blocks[0], self.config.calibration_texts, seed=seed)

    @property
    def report(self) -> list[tuple[int, ...]]:
        return data.evenly(self._blocks[2], self.config.report_texts)

    @cached_property
    def sizes(self) -> list[int]:
        return signals.layer_sizes(named_linears(self.opened.model))

    def pruner(self, seed: int) -> Pruner:
        settings = PruneSettings(self.config.pruner, self.config.pattern, self.config.alpha)
        return make_pruner(self.opened, self.calibration(seed), settings)

    def measure(self, sparsity: float, name: str, seed: int) -> None:
        """Prunes, measures, puts back; one row."""
        plan = self.plan(name, sparsity)
        found = losses_after(self.opened, self.calibration(seed), self.report, self.pruner(seed), plan)
        self.run.add(
            result_key(sparsity, name, seed),
            {"sparsity": sparsity, "allocation": name, "seed": seed, "losses": found.tolist(), "plan": plan.as_json()},
        )

    def plan(self, name: str, sparsity: float) -> Plan:
        """The sparsity of each layer under an allocation."""
        if name == "uniform":
            return allocate.uniform(sparsity, self.opened.num_layers)
        if name == "table":
            assert self.config.table is not None
            return allocate.read_plan(self.config.table, sparsity, self.sizes)
        if name == "search":
            return self._searched(sparsity)
        signal, strength = SINGLE[name]
        return allocate.allocate(name, sparsity, {signal: 1.0}, {signal: self.signal(signal)}, strength, self.sizes)

    def signal(self, name: str) -> list[float]:
        """A signal, computed once a run, on calibration texts of the first seed."""
        key = f"signal/{name}"
        if key not in self.run.rows:
            texts = self.calibration(self.config.seeds[0])
            texts = texts if name == "owl" else texts[: self.config.signal_texts]
            self.run.add(key, {"signal": name, "values": signals.signal(name, self.opened, texts)})
        return self.run.rows[key]["values"]

    def _searched(self, sparsity: float) -> Plan:
        known = {name: self.signal(name) for name in self.config.signals}
        plans = search.candidates(sparsity, known, self.sizes, self.config.candidates, seed=0)
        seed = self.config.seeds[0]
        pruner, calibration = self.pruner(seed), self.calibration(seed)
        shares = (4, 2, 1)

        def measure(plan: Plan, number: int) -> float:
            key = f"search/{sparsity}/{number}/{plan.name}"
            if key not in self.run.rows:
                texts = calibration[: max(1, len(calibration) // shares[number])]
                dev = data.evenly(self._blocks[1], max(1, self.config.report_texts // shares[number]))
                loss = float(losses_after(self.opened, texts, dev, pruner, plan).mean())
                self.run.add(key, {"plan": plan.as_json(), "round": number, "loss": loss})
            return self.run.rows[key]["loss"]

        return search.halve(plans, measure, len(shares))

    def export(self, sparsity: float, name: str, seed: int) -> None:
        """Writes the pruned model as an ordinary checkpoint, its masks and its plan."""
        plan, folder = self.plan(name, sparsity), self.run.folder / "model"
        with restored(self.opened):
            masks = prune(self.opened, self.calibration(seed), self.pruner(seed), plan)
            _as_published(self.opened.model).save_pretrained(folder)
        if self.opened.tokenizer is not None:
            self.opened.tokenizer.save_pretrained(folder)
        masks.save(folder, base=self.opened.digest)
        atomic.write_json(
            folder / "plan.json", plan.as_json() | {"mean": sparsity, "measured": masks.sparsity, "seed": seed}
        )
        self.run.log(f"wrote {folder}")


def _as_published(model: PreTrainedModel) -> PreTrainedModel:
    """A copy in bf16 where the model's embeddings are bf16 numbers, as most are published; else the model as it is."""
    weight = model.get_input_embeddings().weight
    assert isinstance(weight, torch.Tensor)
    if not torch.equal(weight, weight.bfloat16().to(weight.dtype)):
        return model
    return copy.deepcopy(model).to(torch.bfloat16)  # pyright: ignore[reportArgumentType]


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['model']}, {metrics['pruner']}, {metrics['pattern']}; perplexity unpruned {metrics['dense']:.2f}"]
    for sparsity, found in metrics["sparsities"].items():
        for name, one in found.items():
            cut = one["gap_cut"]
            words = "" if cut is None else f"  gap to the dense model cut by {cut['value']:.1%} ({_range(cut['interval'])})"
            lines.append(f"{float(sparsity):>6.0%}  {name:<12} {one['perplexity']:>9.2f}{words}")
    return "\n".join(lines)


def _range(interval: Sequence[float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"
