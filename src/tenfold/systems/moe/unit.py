"""One model of the ladder, trained and measured: a recipe and a corpus come in, a folder with the model and a row go out.

The verbs `train` and `ladder` both train through here, so that a rung trained alone is the rung of the ladder.
"""

# N held-out blocks
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback

from tenfold.core.config import Config, parse
from tenfold.nn import models
from tenfold.store import atomic
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.flops import Shape, count_parameters, training_flops
from tenfold.systems.moe.loads import LoadMeter, LoadReport, summed
from tenfold.systems.moe.losses import BalanceLoss, BalanceSettings
from tenfold.systems.moe.modeling import SORTED, DeepseekForCausalLM
from tenfold.systems.moe.router import HashRouter, balanced_table
from tenfold.systems.moe.rungs import Rung, rung, solve
from tenfold.systems.moe.taps import tapped
from tenfold.train.losses import block_losses
from tenfold.train.meters import StepMeter
from tenfold.train.packed_corpus import Corpus
from tenfold.train.pretrain import PretrainConfig, pretrain

RECORD = "moe.json"
MEASURED_AT_ONCE = 16


class ShapeConfig(Config):
    """The size of the model, apart from its experts."""

    width: int = Field(128, ge=8)
    """Model width d."""
    layers: int = Field(4, ge=1)
    """Decoder layers, all of them with experts."""
    heads: int = Field(4, ge=1)
    """Attention heads."""
    inner: int = Field(352, ge=8)
    """Inner width I of one standard feed-forward layer; experts are parts of it."""
    deviation: float = Field(0.02, gt=0)
    """Standard deviation of the first weights; the paper's is .006, at its width."""


class BalanceConfig(Config):
    """How the experts' loads are kept even."""

    expert: float = Field(0.01, ge=0)
    """Factor of the expert loss (a1); the paper's 2B models have .01."""
    device: float = Field(0.0, ge=0)
    """Factor of the device loss (a2)."""
    devices: int = Field(1, ge=1)
    """Groups of experts in the device loss."""
    z: float = Field(0.0, ge=0)
    """Factor of the z-loss."""
    scope: Literal["sequence", "batch", "global"] = "sequence"
    """Whether loads are even in each sequence, in the batch, or over all processes."""
    bias_rate: float = Field(0.0, ge=0)
    """Balance without a loss: by how much the bias of an expert moves in a step; 0 has no bias."""

    def settings(self) -> BalanceSettings:
        return BalanceSettings(self.expert, self.device, self.devices, self.z, self.scope)


class UnitConfig(Config):
    """One model and its training."""

    shape: ShapeConfig = parse(ShapeConfig, {})
    """Its size."""
    balance: BalanceConfig = parse(BalanceConfig, {})
    """How loads are kept even."""
    training: PretrainConfig = parse(PretrainConfig, {})
    """Length, rate and order of the training."""


def model_config(point: Rung, config: UnitConfig, corpus: Corpus) -> DeepseekConfig:
    """The configuration of a rung at this size.

    Raises:
        ConfigError: the sizes cannot be made equal.
    """
    shape, end = config.shape, corpus.tokenizer.eos_token_id
    assert isinstance(end, int), end
    return DeepseekConfig(
        **solve(point, shape.inner).keys,
        vocab_size=len(corpus.tokenizer),
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        max_position_embeddings=max(corpus.blocks_NS.shape[1], 512),
        initializer_range=shape.deviation,
        aux_loss_alpha=config.balance.expert,
        balance_bias=config.balance.bias_rate > 0 and point.router == "topk" and point.routed > 0,
        bos_token_id=end,
        eos_token_id=end,
    )


def new_model(point: Rung, config: UnitConfig, corpus: Corpus, seed: int) -> DeepseekForCausalLM:
    """A fresh model; a hash router deals the tokens so that each expert sees as much text."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = DeepseekForCausalLM(model_config(point, config, corpus))
    model.set_experts_implementation(SORTED)
    table = balanced_table(corpus.token_counts(), point.routed) if point.router == "hash" else None
    for module in model.modules():
        if isinstance(module, HashRouter) and table is not None:
            module.table.copy_(table)
    return model


def train_unit(
    name: str, config: UnitConfig, corpus: Corpus, seed: int, folder: Path, *, callbacks: Sequence[TrainerCallback] = ()
) -> dict[str, Any]:
    """Trains a rung from its first weights, or goes on; saves it in `folder/model` and measures it.

    Raises:
        UnknownNameError: no such rung.
        ConfigError: sizes, corpus and training do not fit each other.
    """
    point = rung(name)
    model = new_model(point, config, corpus, seed)
    training = config.training.model_copy(update={"seed": seed})
    steps, meter, loads = fit(model, corpus.blocks_NS, training, config.balance, folder, callbacks=callbacks)
    save(model, corpus, folder / "model", {"rung": name, "seed": seed, "corpus": corpus.digest})
    cost, shape = meter.cost(), config.shape
    counted, length = count_parameters(model.config), corpus.blocks_NS.shape[1]
    wide = solve(point, shape.inner).activated_ffns * 3 * shape.inner / (8 * shape.width)
    flops = training_flops(Shape(shape.layers, shape.width, len(corpus.tokenizer), length, wide))
    return {
        "rung": name,
        "seed": seed,
        **measure(model, corpus),
        "training": [step["loss"] for step in steps],
        "loads": loads.steps if loads else [],
        "warnings": loads.warnings if loads else [],
        "parameters": counted.total,
        "activated": counted.activated,
        "tokens": training.steps * training.batch_size * training.accumulate * length,
        "flops_per_token": flops / length,
        "seconds": cost.seconds,
    }


def fit(
    model: PreTrainedModel,
    blocks_NS: Tensor,
    training: PretrainConfig,
    balance: BalanceConfig,
    folder: Path,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    undecayed: Sequence[str] = (),
) -> tuple[list[dict[str, Any]], StepMeter, LoadMeter | None]:
    """Pre-trains with the balance losses that the model has a use for; (steps, their cost, loads)."""
    folder.mkdir(parents=True, exist_ok=True)
    meter = StepMeter(folder / "meter.jsonl")
    if not getattr(model.config, "n_routed_experts", None):
        steps = pretrain(model, blocks_NS, training, folder, callbacks=[*callbacks, meter], undecayed=undecayed)
        return steps, meter, None
    learns = model.config.router == "topk"
    losses = BalanceLoss.attach(model, balance.settings()) if learns else None
    loads = LoadMeter(model, bias_rate=balance.bias_rate if learns else 0.0)
    extra = losses.collect if losses else None
    steps = pretrain(
        model, blocks_NS, training, folder, extra=extra, callbacks=[*callbacks, loads, meter], undecayed=undecayed
    )
    for each in (losses, loads):
        if each is not None:
            each.detach()
    return steps, meter, loads


def measure(model: PreTrainedModel, corpus: Corpus, *, loads: bool = True) -> dict[str, Any]:
    """Held-out loss by document, and how evenly held-out text uses the experts."""
    totals_N = block_losses(model, corpus.held_out_NS, batch_size=MEASURED_AT_ONCE)
    documents = list(dict.fromkeys(corpus.documents))
    index_N = torch.tensor([documents.index(name) for name in corpus.documents])
    total_D = torch.zeros(len(documents), dtype=torch.float64).index_add(0, index_N, totals_N)
    tokens_D = torch.bincount(index_N, minlength=len(documents)) * (corpus.held_out_NS.shape[1] - 1)
    row = {
        "loss": float(total_D.sum() / tokens_D.sum()),
        "held_out": total_D.tolist(),
        "held_out_tokens": tokens_D.tolist(),
    }
    if loads and getattr(model.config, "n_routed_experts", None):
        reports = [LoadReport.of(count) for count in held_out_loads(model, corpus.held_out_NS).values()]
        row |= {"balance": summed(reports)}
    return row


@torch.no_grad()
def held_out_loads(model: PreTrainedModel, blocks_NS: Tensor) -> dict[str, Tensor]:
    """How often each expert is chosen over all blocks, [experts] by router."""
    counts: dict[str, Tensor] = {}
    model.eval()
    with tapped(model) as last:
        for ids_BS in blocks_NS.split(MEASURED_AT_ONCE):
            model(input_ids=ids_BS.to(model.device), use_cache=False)
            for name, (logits_TN, expert_TK) in last.items():
                found = torch.bincount(expert_TK.flatten(), minlength=logits_TN.shape[-1])
                counts[name] = counts[name] + found if name in counts else found
    return counts


def save(model: PreTrainedModel, corpus: Corpus, folder: Path, record: dict[str, Any]) -> None:
    """The model with its tokenizer and where it comes from; a folder that Transformers loads."""
    with models.quiet():
        model.save_pretrained(folder)
        corpus.tokenizer.save_pretrained(folder)
    atomic.write_json(folder / RECORD, record)
