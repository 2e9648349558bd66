"""The verb `export`: a mixture for vLLM, SGLang, Transformers or llama.cpp, read back before it is left."""

from pathlib import Path
from typing import Literal

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store.runs import Run
from tenfold.systems.moe.export import export, serving_lines
from tenfold.systems.moe.modeling import DeepseekForCausalLM
from tenfold.systems.moe.opened import open_mixture


class ExportConfig(Config):
    """Write a mixture of experts in the form that another program loads."""

    model: str
    """A run of moe, or a folder with a deepseek checkpoint."""
    to: str = "deepseek"
    """deepseek (vLLM, SGLang), qwen2_moe (plain Transformers), or gguf (llama.cpp)."""
    out: Path | None = None
    """Where to write; left out, a folder in the run."""
    dtype: models.Dtype = "auto"
    """Type of the weights."""
    gguf_type: Literal["f32", "f16", "bf16"] = "f32"
    """Type of the matrices in a GGUF file."""


def run_export(config: ExportConfig, run: Run) -> Metrics:
    """Loads, writes, reads back."""
    model, tokenizer = open_mixture(config.model, config.dtype)
    if not isinstance(model, DeepseekForCausalLM):
        raise ConfigError(f"{config.model} is a {model.config.model_type}; export takes the family deepseek")
    out = config.out or run.folder / config.to
    found = export(model, tokenizer, config.to, out, dtype=config.gguf_type)
    folder = str(out / found["files"][0]) if config.to == "gguf" else str(out)
    return {"model": config.model, **found, "out": str(out), "serve": serving_lines(config.to, folder)}


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    what = "weights" if metrics["form"] == "gguf" else "logits"
    return "\n".join(
        [
            f"wrote {metrics['out']} as {metrics['form']}: {', '.join(metrics['files'])}",
            f"read back, {what} differ by at most {metrics['difference']:.2g}",
            *metrics["serve"],
        ]
    )
