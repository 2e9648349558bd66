"""The verb `experts`: which experts of a mixture a domain's texts reach, and how strongly the weights act there."""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from transformers import AutoModelForCausalLM, MixtralConfig

from tenfold.core.config import Config, Names
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.activation import data, targets
from tenfold.systems.activation.data import OWN
from tenfold.systems.activation.experts import expert_map
from tenfold.systems.activation.opened import OpenedModel, open_model

TINY = "tiny-mixtral"


class ExpertsConfig(Config):
    """Map a mixture of experts: tokens, texts and activation of each expert, by domain; experts never hit are listed."""

    model: str = TINY
    """A mixture: a folder or hub id; tiny-mixtral is a random one of two layers that shows the machinery."""
    target: str = "mean_max"
    """Scalar of the output: mean_max, last_max, nll."""
    texts: str = OWN
    """Where texts come from: own, shared, or a folder of DOMAIN.txt files."""
    domains: Names = data.DOMAINS
    """Domains to compare."""
    per_domain: int = Field(default=16, ge=1)
    """Texts of each domain."""
    tokens: int = Field(default=24, ge=2)
    """Tokens of every text."""


def run_experts(config: ExpertsConfig, run: Run) -> Metrics:
    """One row a domain."""
    target = targets.find(config.target)
    opened = tiny_mixtral() if config.model == TINY else open_model(config.model)
    todo = [name for name in config.domains if name not in run.rows]
    for name in track(todo, "Domains", done=len(config.domains) - len(todo)):
        pieces = data.load_pieces(opened, config.texts, name, tokens=config.tokens, count=config.per_domain)
        found = expert_map(opened, [piece.ids for piece in pieces], target)
        run.add(name, {"domain": name, "texts": len(pieces), "experts": found})
    maps = {name: run.rows[name]["experts"] for name in config.domains}
    never = {name: [[row["layer"], row["expert"]] for row in found if row["tokens"] == 0] for name, found in maps.items()}
    everywhere = [each for each in next(iter(never.values())) if all(each in missed for missed in never.values())]
    return {"model": config.model, "maps": maps, "never_hit": never, "never_hit_anywhere": everywhere}


def tiny_mixtral() -> OpenedModel:
    """A random mixture of two layers with eight experts, one byte a token."""
    config = MixtralConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
        initializer_range=0.15,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return OpenedModel(TINY, model, lambda text: list(text.encode()), "")


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['model']}: experts by domain"]
    for name, found in metrics["maps"].items():
        routed = [row for row in found if row["expert"] is not None]
        busiest = max(routed, key=lambda row: row["tokens"])
        missed = len(metrics["never_hit"][name])
        lines.append(f"{name:>10}: busiest {_name(busiest)} with {busiest['tokens']} tokens; never hit {missed}")
    lines.append(f"never hit by any domain: {metrics['never_hit_anywhere'] or 'none'}")
    return "\n".join(lines)


def _name(row: Mapping[str, Any]) -> str:
    return f"layer {row['layer']} expert {row['expert']}"
