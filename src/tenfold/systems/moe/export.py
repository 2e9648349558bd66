"""A checkpoint in the form that another program loads, checked before it is left: model in, folder or file out.

deepseek     official names and keys, for vLLM and SGLang     qwen2_moe   for programs without `deepseek`
gguf         for llama.cpp
"""

import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import gguf
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from tenfold.core.errors import ApparatusError, ConfigError
from tenfold.nn import models
from tenfold.store import atomic
from tenfold.systems.moe.carrier import from_qwen2_moe, to_qwen2_moe
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.gguf_file import tensors, write_gguf
from tenfold.systems.moe.modeling import DeepseekForCausalLM

OURS = ("router", "router_dtype", "balance_bias")
"""Keys of the configuration that the official release has not."""
REMOTE = "configuration_deepseek.py"
FORMS = ("deepseek", "qwen2_moe", "gguf")


def export(
    model: DeepseekForCausalLM, tokenizer: PreTrainedTokenizerBase, form: str, out: Path, *, dtype: str = "f32"
) -> dict[str, Any]:
    """Writes `out` (a folder; for gguf a file in it) and reads it back; what was checked, and by how much it differs.

    Raises:
        ConfigError: the form is unknown or cannot hold this model.
        ApparatusError: what was read back is not what was written; nothing is left.
    """
    if form not in FORMS:
        raise ConfigError(f"cannot export to {form!r}; accepted are {', '.join(FORMS)}")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; give a new folder")
    out.mkdir(parents=True, exist_ok=True)
    write = {"deepseek": _to_deepseek, "qwen2_moe": _to_carrier, "gguf": _to_gguf}[form]
    try:
        return {"form": form, **write(model, tokenizer, out, dtype)}
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise


def official_keys(config: DeepseekConfig) -> dict[str, Any]:
    """config.json as engines read it: every key explicit, the rotation in the old form too, no key of ours.

    Raises:
        ConfigError: the model has what the official layer has not.
    """
    if config.router != "topk" or config.balance_bias:
        raise ConfigError(
            f"router is {config.router!r} and balance_bias {config.balance_bias}; engines know the learned router without a "
            "bias alone"
        )
    rope: dict[str, Any] = config.rope_parameters or {}
    keys = {key: value for key, value in config.to_dict().items() if key not in OURS}
    return keys | {
        "architectures": ["DeepseekForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekConfig"},
        "rope_theta": rope.get("rope_theta", 10000.0),
        "tie_word_embeddings": False,
        "n_routed_experts": config.n_routed_experts,
        "n_shared_experts": config.n_shared_experts,
    }


def _to_deepseek(model: DeepseekForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path, dtype: str) -> dict[str, Any]:
    keys = official_keys(model.config)
    head = model.lm_head.weight.detach().clone()
    with models.quiet():
        model.save_pretrained(out, state_dict={**model.state_dict(), "lm_head.weight": head})
        tokenizer.save_pretrained(out)
    atomic.write_json(out / "config.json", keys)
    text = files("tenfold.systems.moe").joinpath("engine_configuration.py.txt").read_text(encoding="utf-8")
    (out / REMOTE).write_text(text, encoding="utf-8")
    with models.quiet():
        loaded: Any = AutoModelForCausalLM.from_pretrained(out, output_loading_info=True, dtype=model.dtype)
    again, report = loaded
    missing = [*report["missing_keys"], *report["unexpected_keys"]]
    if missing:
        raise ApparatusError(f"the written checkpoint does not load whole: {missing[:3]}")
    return {"difference": logits_difference(model, again.eval()), "files": sorted(path.name for path in out.iterdir())}


def _to_carrier(model: DeepseekForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path, dtype: str) -> dict[str, Any]:
    carrier = to_qwen2_moe(model)
    with models.quiet():
        carrier.save_pretrained(out)
        tokenizer.save_pretrained(out)
        again: Any = AutoModelForCausalLM.from_pretrained(out, dtype=model.dtype).eval()
    found = {"difference": logits_difference(model, again), "files": sorted(path.name for path in out.iterdir())}
    back = from_qwen2_moe(again).state_dict()
    lost = [name for name, tensor in model.state_dict().items() if not torch.equal(back[name].to(tensor.dtype), tensor)]
    if lost and model.config.router_dtype == "model":
        raise ApparatusError(f"the way back loses {lost[:3]}")
    return found | {"lost": lost}


def _to_gguf(model: DeepseekForCausalLM, tokenizer: PreTrainedTokenizerBase, out: Path, dtype: str) -> dict[str, Any]:
    path = out / f"model-{dtype}.gguf"
    write_gguf(model, tokenizer, path, dtype=dtype)
    return {"difference": read_back(path, model), "files": [path.name]}


def read_back(path: Path, model: DeepseekForCausalLM) -> float:
    """The largest difference between a weight in the file and ours, as the gguf package reads it.

    Raises:
        ApparatusError: a tensor is missing or has another shape.
    """
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(str(path)).tensors}
    wanted = tensors(model)
    if found.keys() != wanted.keys():
        raise ApparatusError(f"tensors differ: {sorted(found.keys() ^ wanted.keys())[:3]}")
    worst = 0.0
    for name, tensor in wanted.items():
        values = gguf.quants.dequantize(found[name].data, found[name].tensor_type)
        if values.shape != tuple(tensor.shape):
            raise ApparatusError(f"{name} was read back as {values.shape}, and is {tuple(tensor.shape)}")
        worst = max(worst, float((torch.from_numpy(values.copy()) - tensor.float()).abs().max()))
    return worst


@torch.no_grad()
def logits_difference(model: Any, other: Any) -> float:
    """The largest difference of logits over a fixed sequence of tokens."""
    ids = fixed_ids(model.config.vocab_size)
    return float((model(input_ids=ids, use_cache=False).logits - other(input_ids=ids, use_cache=False).logits).abs().max())


def fixed_ids(vocabulary: int) -> Tensor:
    """Two rows of 24 tokens that depend on nothing."""
    return (torch.arange(48).view(2, 24) * 7919 + 13) % vocabulary


def serving_lines(form: str, folder: str) -> list[str]:
    """How each engine serves what was written."""
    return {
        "deepseek": [
            f"vllm serve {folder} --trust-remote-code",
            f"python -m sglang.launch_server --model-path {folder} --trust-remote-code",
        ],
        "qwen2_moe": [f"vllm serve {folder}", f"AutoModelForCausalLM.from_pretrained({folder!r})"],
        "gguf": [f"llama-server -m {folder}"],
    }[form]
