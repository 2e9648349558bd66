"""The verb `upcycle`: a dense model becomes a mixture with the same function, and both go on training on the same blocks.

Whether the copies were worth their memory is told by the held-out loss of the mixture less that of the dense model, after
the same tokens in the same order, at the same activated parameters.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from tenfold.core.config import Config, parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store.runs import Run
from tenfold.systems.moe.comparison import LossTable
from tenfold.systems.moe.flops import count_parameters
from tenfold.systems.moe.ladder import Seeds
from tenfold.systems.moe.modeling import DeepseekForCausalLM
from tenfold.systems.moe.unit import BalanceConfig, fit, measure, save
from tenfold.systems.moe.upcycle import UNDECAYED, Cut, hold_ties, mean_inputs, neuron_order, upcycle
from tenfold.train.packed_corpus import Corpus, CorpusConfig, load_corpus
from tenfold.train.pretrain import PretrainConfig

CALIBRATION_BLOCKS = 8
PARTITIONS = ("contiguous", "activation")


class UpcycleCorpus(CorpusConfig):
    """The text, in the tokens of the model."""

    length: int = Field(128, ge=8)
    """Tokens in a block."""
    limit_characters: int | None = Field(1_500_000, ge=1000)
    """Use only as many documents, in shuffled order, as this holds."""
    blocks_per_document: int = Field(2, ge=1)
    """Most blocks that are measured of one held-out document."""


class UpcycleTraining(PretrainConfig):
    """The training that both models go on with; no step at all only converts."""

    steps: int = Field(40, ge=0)  # pyright: ignore
    """Optimizer steps; 0 converts and measures alone."""
    batch_size: int = Field(4, ge=1)
    """Blocks in one forward pass."""
    learning_rate: float = Field(5e-5, gt=0)
    """The highest rate."""
    warmup_steps: int = Field(5, ge=0)
    """Steps in which the rate rises from 0."""


class UpcycleConfig(Config):
    """Turn a dense model into a mixture of experts that computes the same, and train both on."""

    model: str = "smollm2"
    """A Llama without biases: an alias, a folder, a .gguf file or a hub id."""
    segments: int = Field(8, ge=2)
    """m, slices of each feed-forward network."""
    shared: int = Field(2, ge=0)
    """K_s, slices that every token goes through."""
    copies: int = Field(4, ge=1)
    """R, copies of each other slice."""
    epsilon: float = 1e-3
    """How far the scores of the copies differ at the start."""
    first_dense: int = Field(1, ge=0)
    """Layers at the bottom that stay dense."""
    partition: str = "contiguous"
    """Which neurons are shared: the first ones (contiguous), or those that matter most on the text (activation)."""
    drop: float = 0.0
    """Share of each copy's neurons that starts anew; above 0 the function is not the same."""
    hold_ties: bool = True
    """Let tokens take whole copies while training; without it, the first steps lose what the model knew."""
    trained: Literal["all", "experts"] = "all"
    """Train everything, or the feed-forward networks and routers alone (in the dense model, its networks)."""
    compare: bool = True
    """Also train the dense model on the same blocks."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Type of the weights; in bf16 the function is the same to 3 in a thousand of a layer's output."""
    seeds: Seeds = (0,)
    """One pair of training runs for each."""
    corpus: UpcycleCorpus = parse(UpcycleCorpus, {})
    """The text; its tokenizer is the model's."""
    training: UpcycleTraining = parse(UpcycleTraining, {})
    """Length and rate, the same for both."""
    balance: BalanceConfig = parse(BalanceConfig, {"expert": 0.001})
    """How loads are kept even."""

    def cut(self) -> Cut:
        """How a network becomes experts; ConfigError where it cannot."""
        return Cut(self.segments, self.shared, self.copies, self.epsilon, self.first_dense, self.drop)


def run_upcycle(config: UpcycleConfig, run: Run) -> Metrics:
    """Converts, measures both, trains both for each seed, measures again."""
    _check(config)
    corpus = load_corpus(config.corpus.model_copy(update={"tokenizer": config.model}))
    if "start" not in run.rows:
        run.add("start", _start(config, corpus, run.folder / "start"))
    for seed in config.seeds if config.training.steps else ():
        for kind in ("mixture", "dense") if config.compare else ("mixture",):
            if f"{kind}/{seed}" not in run.rows:
                run.add(f"{kind}/{seed}", _train(kind, config, corpus, seed, run.folder))
    return _metrics(config, run.rows)


def _check(config: UpcycleConfig) -> None:
    config.cut()
    if config.partition not in PARTITIONS:
        raise ConfigError(f"partition is {config.partition!r}; accepted are {', '.join(PARTITIONS)}")
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise ConfigError(f"seeds are {list(config.seeds)}; give at least one, no seed twice")


def _dense(config: UpcycleConfig) -> PreTrainedModel:
    return models.load_transformers(models.resolve(config.model), config.dtype)


def _mixture(config: UpcycleConfig, corpus: Corpus, dense: PreTrainedModel, seed: int) -> DeepseekForCausalLM:
    blocks = corpus.blocks_NS[:CALIBRATION_BLOCKS]
    order = neuron_order(dense, blocks) if config.partition == "activation" else None
    return upcycle(dense, config.cut(), order=order, centres=mean_inputs(dense, blocks), seed=seed)


def _start(config: UpcycleConfig, corpus: Corpus, folder: Path) -> dict[str, Any]:
    """Both models before any training; the mixture is saved."""
    dense = _dense(config)
    ids = corpus.held_out_NS[:1]
    with torch.no_grad():
        expected = dense(input_ids=ids, use_cache=False).logits
    before = measure(dense, corpus)
    mixture = _mixture(config, corpus, dense, config.seeds[0])
    del dense
    with torch.no_grad():
        difference = float((mixture(input_ids=ids, use_cache=False).logits - expected).abs().max())
    counted = count_parameters(mixture.config)
    if not config.training.steps:
        save(mixture, corpus, folder, {"upcycled_from": config.model, "seed": config.seeds[0]})
    return {
        "dense": before,
        "mixture": measure(mixture, corpus),
        "logits_difference": difference,
        "logits_deviation": float(expected.std()),
        "parameters": counted.total,
        "activated": counted.activated,
    }


def _train(kind: str, config: UpcycleConfig, corpus: Corpus, seed: int, folder: Path) -> dict[str, Any]:
    model: PreTrainedModel = _dense(config)
    if kind == "mixture":
        model = _mixture(config, corpus, model, seed)
    if config.trained == "experts":
        for name, weight in model.named_parameters():
            weight.requires_grad_(".mlp." in name)
    if isinstance(model, DeepseekForCausalLM) and config.hold_ties:
        hold_ties(model, config.cut())
    training = config.training.model_copy(update={"seed": seed})
    own = folder / f"{kind}-{seed}"
    steps, meter, loads = fit(model, corpus.blocks_NS, training, config.balance, own, undecayed=UNDECAYED)
    if seed == config.seeds[0]:
        save(
            model,
            corpus,
            folder / ("model" if kind == "mixture" else "dense"),
            {"upcycled_from": config.model, "seed": seed},
        )
    return {
        **measure(model.eval(), corpus),
        "kind": kind,
        "seed": seed,
        "training": [step["loss"] for step in steps],
        "loads": loads.steps if loads else [],
        "seconds": meter.cost().seconds,
    }


def _metrics(config: UpcycleConfig, rows: Mapping[str, Any]) -> Metrics:
    start = rows["start"]
    kinds = {kind: [row for key, row in rows.items() if key.startswith(f"{kind}/")] for kind in ("mixture", "dense")}
    found: Metrics = {
        "model": config.model,
        "parameters": start["parameters"],
        "activated_parameters": start["activated"],
        "ce_dense": start["dense"]["loss"],
        "ce_at_start": start["mixture"]["loss"],
        "ce_gap_at_start": start["mixture"]["loss"] - start["dense"]["loss"],
        "logits_difference": start["logits_difference"],
        "logits_deviation": start["logits_deviation"],
        "steps": config.training.steps,
        "tokens": config.training.steps * config.training.batch_size * config.training.accumulate * config.corpus.length,
        "seeds": list(config.seeds),
        "documents": len(start["dense"]["held_out"]),
        "ce_after": None,
        "ce_dense_after": None,
        "difference": None,
        "balance": kinds["mixture"][0]["balance"] if kinds["mixture"] else start["mixture"]["balance"],
        "export": "model" if kinds["mixture"] else "start",
    }
    return found | _after(kinds, start["dense"]["held_out_tokens"])


def _after(kinds: Mapping[str, Sequence[Mapping[str, Any]]], tokens: Sequence[float]) -> dict[str, Any]:
    trained = {kind: [row["held_out"] for row in rows] for kind, rows in kinds.items() if rows}
    if not trained:
        return {}
    table = LossTable(trained, tokens)
    found: dict[str, Any] = {"ce_after": table.loss("mixture")}
    if "dense" in trained:
        less = table.estimate(lambda mixture, dense: mixture - dense, "mixture", "dense")
        found |= {
            "ce_dense_after": table.loss("dense"),
            "difference": {"value": less.value, "ci": less.interval, "lower": less.high < 0},
        }
    return found


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['model']} as a mixture: {metrics['parameters'] / 1e6:.1f} M parameters, "
        f"{metrics['activated_parameters'] / 1e6:.1f} M of them active",
        f"at the start {metrics['ce_at_start']:.5f} nats per token, dense {metrics['ce_dense']:.5f}: "
        f"{metrics['ce_gap_at_start']:+.2g}",
    ]
    if metrics["ce_after"] is not None:
        lines.append(f"after {metrics['tokens']:,} tokens {metrics['ce_after']:.5f}")
    if (difference := metrics["difference"]) is not None:
        low, high = difference["ci"]
        lines[-1] += f", dense {metrics['ce_dense_after']:.5f}: {difference['value']:+.5f} ({low:+.5f} to {high:+.5f})"
    return "\n".join([*lines, f"the mixture is in the run's folder {metrics['export']}/"])
