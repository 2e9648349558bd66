"""The verb `export`: the same drafting in vLLM, as its `--speculative-config` and, for trained heads, a model folder.

Layouts as in vLLM's own loaders (`model_executor/models/medusa.py` and `llama_eagle.py`, read in 2026):

    medusa  blocks.J.layers.0.weight, lm_heads.0.weight, and token_map where the head knows part of the vocabulary
    eagle   fc.weight, layers.L.*; embedding and LM head are the target's

vLLM leaves out the input norm of an EAGLE head's first layer, and our head has one. So the exported head begins with a layer
that adds nothing (its output maps are zero), and ours comes second, with its norm. That costs one idle layer a draft.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor

from tenfold.core.config import Config, Names, parse
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.store import atomic
from tenfold.store.runs import Run
from tenfold.systems.specdec.drafters import making
from tenfold.systems.specdec.drafters.head_networks import EagleLayer, MedusaHeads, TrainedHead, frozen_head, layer_config
from tenfold.systems.specdec.drafters.heads import HeadDrafterConfig
from tenfold.systems.specdec.drafters.model import ModelDrafterConfig, lean_engine

State = dict[str, Tensor]

EXPORTED = ("ngram", "suffix", "model", "medusa", "eagle")
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SPECULATIVE, COMMAND = "speculative.json", "serve.sh"
MOST_MATCHED = 4
"""Longest n-gram that `ngram` looks up here; vLLM is told the same."""


class ExportConfig(Config):
    """Write what vLLM needs to draft as a drafter does here, and the command that serves it."""

    out: Path
    """Folder to write."""
    model: str = "smollm2"
    """The target: smollm2, a folder, a .gguf file or a hub id."""
    drafter: str = "ngram"
    """Who guesses: ngram, suffix, model, medusa or eagle."""
    drafter_options: Names = ()
    """Options of the drafter, as key=value: head=FOLDER, model=NAME."""
    num_draft: int = Field(default=5, ge=1)
    """Drafted tokens per pass."""
    to: Literal["vllm"] = "vllm"
    """The engine to write for."""


def export(config: ExportConfig, run: Run) -> Metrics:
    """Writes the speculative config, the head if there is one, and the command."""
    if config.drafter not in EXPORTED:
        making.check(config.drafter)
        raise UserError(f"vLLM has no drafter like {config.drafter!r}; it can be given {', '.join(EXPORTED)}")
    config.out.mkdir(parents=True, exist_ok=True)
    path = models.resolve(config.model)
    settings = speculative_config(config, path)
    command = f"vllm serve {shlex.quote(path)} --speculative-config {shlex.quote(json.dumps(settings))}"
    atomic.write_json(config.out / SPECULATIVE, settings)
    (config.out / COMMAND).write_text(command + "\n", encoding="utf-8")
    metrics: Metrics = {"folder": str(config.out), "speculative_config": settings, "command": command}
    run.add("export", metrics)
    return metrics


def summary(metrics: Metrics) -> str:
    """What a person reads."""
    return f"written to {metrics['folder']}; serve it with\n\n{metrics['command']}"


def speculative_config(config: ExportConfig, target: str) -> dict[str, Any]:
    """vLLM's settings for the drafter; writes the model folder that they name, for trained heads.

    Raises:
        UserError: an option that the drafter does not have, or a head of another kind or target.
    """
    options, settings = making.options_table(config.drafter_options), {"num_speculative_tokens": config.num_draft}
    if config.drafter in ("medusa", "eagle"):
        head_config = parse(HeadDrafterConfig, options, where=f"drafter {config.drafter}")
        return {"method": config.drafter, "model": str(_write_head(config, head_config.head).resolve()), **settings}
    if config.drafter == "model":
        draft = models.resolve(parse(ModelDrafterConfig, options, where="drafter model").model)
        shared = models.load_tokenizer(draft).get_vocab() == models.load_tokenizer(target).get_vocab()
        return {"method": "draft_model", "model": draft, **settings, **({} if shared else {"use_heterogeneous_vocab": True})}
    if config.drafter == "suffix":
        return {"method": "suffix", **settings, **_taken(options, {"factor": "suffix_decoding_max_spec_factor"})}
    names = {"max_ngram": "prompt_lookup_max", "min_ngram": "prompt_lookup_min"}
    return {
        "method": "ngram",
        **settings,
        "prompt_lookup_max": MOST_MATCHED,
        "prompt_lookup_min": 1,
        **_taken(options, names),
    }


def head_folder(head: TrainedHead, target: LeanLlama) -> tuple[dict[str, Any], State]:
    """The config and the weights of a head in vLLM's layout."""
    if isinstance(head.network, MedusaHeads):
        return _medusa(head, head.network, target)
    return _eagle(head, head.network, target)


def _taken(options: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The drafter's options under vLLM's names."""
    if unknown := [key for key in options if key not in names]:
        raise UserError(f"option {unknown[0]!r} has no counterpart in vLLM; it can be given {', '.join(names)}")
    return {names[key]: value for key, value in options.items()}


def _write_head(config: ExportConfig, folder: Path) -> Path:
    loaded: LoadedModel = models.load(config.model)
    engine = lean_engine(loaded, config.drafter)
    head = TrainedHead.load(folder, engine)
    if head.description.kind != config.drafter:
        raise UserError(f"the head in {str(folder)!r} is of kind {head.description.kind}; take that as drafter")
    table, state = head_folder(head, engine)
    (config.out / WEIGHTS).write_bytes(save({name: tensor.contiguous() for name, tensor in state.items()}))
    atomic.write_json(config.out / CONFIG, table)
    return config.out


def _medusa(head: TrainedHead, network: MedusaHeads, target: LeanLlama) -> tuple[dict[str, Any], State]:
    tokens_n = head.vocabulary_n
    state = {f"blocks.{index}.layers.0.weight": weight for index, weight in enumerate(_weights(network.maps))}
    state["lm_heads.0.weight"] = frozen_head(target, tokens_n).float()
    if len(tokens_n) < target.vocab_size:
        state["token_map"] = tokens_n.long()
    table = {
        "model_type": "medusa",
        "architectures": ["MedusaModel"],
        "hidden_size": target.weights.embedding_VD.shape[1],
        "vocab_size": target.vocab_size,
        "truncated_vocab_size": len(tokens_n),
        "num_heads": len(network.maps),
        "num_hidden_layers": 1,
        "original_lm_head": True,
        "medusa_fc_bias": False,
    }
    return table, state


def _eagle(head: TrainedHead, network: EagleLayer, target: LeanLlama) -> tuple[dict[str, Any], State]:
    own = network.layer.state_dict()
    idle = {name: torch.zeros_like(weight) for name, weight in own.items() if name != "input_layernorm.weight"}
    state = {f"layers.0.{name}": weight for name, weight in idle.items()}
    state |= {f"layers.1.{name}": weight for name, weight in own.items()}
    state["fc.weight"] = network.join.weight.data
    config = layer_config(head.description, target).to_dict()
    table = {
        **config,
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": 2,
        "vocab_size": target.vocab_size,
        "rope_theta": config.get("rope_theta") or config["rope_parameters"]["rope_theta"],
        "torch_dtype": "float32",
    }
    return table, state


def _weights(maps: Any) -> Sequence[Tensor]:
    return [each.weight.data for each in maps]
