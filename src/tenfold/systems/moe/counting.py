"""The verb `flops`: training FLOPs, parameters and utilisation, without making the model."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.flops import Shape, count_parameters, training_flops

PAPER = {
    "Dense 0.2B": (Shape(9, 1280, 8000, 2048, 1), 2.9),
    "GShard 2.0B, DeepSeekMoE 2.0B": (Shape(9, 1280, 8000, 2048, 2), 4.3),
    "GShard x1.5": (Shape(9, 1280, 8000, 2048, 3), 5.8),
    "Dense x16": (Shape(9, 1280, 8000, 2048, 16), 24.6),
    "DeepSeekMoE 16B": (Shape(28, 2048, 102400, 4096, 2), 74.4),
    "DeepSeek 7B (dense)": (Shape(30, 4096, 102400, 4096, 1), 183.5),
    "GShard 137B": (Shape(62, 4096, 102400, 4096, 2), 572.7),
    "DeepSeekMoE 142B, half activated": (Shape(62, 4096, 102400, 4096, 33 / 32), 374.6),
}
"""Shapes of arXiv 2401.06066 with the FLOPs it prints (in 10^12, of one sequence)."""


class FlopsConfig(Config):
    """Count training FLOPs and parameters: of a configuration, or of the models in the paper."""

    model: str = ""
    """A folder or config.json of a deepseek model; left empty, the paper's models."""
    length: int = Field(4096, ge=1)
    """Tokens of a sequence."""
    tokens_per_second: float | None = Field(None, gt=0)
    """Measured training speed of that model; gives the FLOPs reached."""
    peak_teraflops: float | None = Field(None, gt=0)
    """What one large matrix product reaches on the machine, as `bench` measures it; gives the utilisation."""


def flops(config: FlopsConfig, run: Run) -> Metrics:
    """Computes; nothing is trained."""
    if not config.model:
        return {"table": [_paper_row(name, *entry) for name, entry in PAPER.items()]}
    model = read_config(config.model)
    sequence = training_flops(shape_of(model, config.length))
    counted = count_parameters(model)
    reached = None if config.tokens_per_second is None else sequence / config.length * config.tokens_per_second / 1e12
    return {
        "table": [],
        "teraflops": sequence / 1e12,
        "flops_per_token": sequence / config.length,
        "parameters": counted.total,
        "activated_parameters": counted.activated,
        "expert_parameters": counted.experts,
        "teraflops_per_second": reached,
        "utilisation": reached / config.peak_teraflops if reached and config.peak_teraflops else None,
    }


def shape_of(model: DeepseekConfig, length: int) -> Shape:
    """The formula's shape of a configuration; `a` is the mean activated width over layers, in standard ones of 8 d^2."""
    sparse = sum(model.is_sparse(layer) for layer in range(model.num_hidden_layers))
    wide = sparse * (model.num_experts_per_tok + (model.n_shared_experts or 0)) * model.moe_intermediate_size
    wide += (model.num_hidden_layers - sparse) * model.intermediate_size
    activated = 3 * wide / model.num_hidden_layers / (8 * model.hidden_size)
    return Shape(model.num_hidden_layers, model.hidden_size, model.vocab_size, length, activated)


def read_config(name: str) -> DeepseekConfig:
    """The configuration in a folder or file.

    Raises:
        MissingArtifactError: there is none.
        ConfigError: it is of another model type.
    """
    path = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
    if not path.is_file():
        raise MissingArtifactError(f"no configuration at {str(path)!r}; give a folder or a config.json of a deepseek model")
    keys = json.loads(path.read_text(encoding="utf-8"))
    if keys.get("model_type") != "deepseek":
        raise ConfigError(f"{path} is of model type {keys.get('model_type')!r}; the formula here is for deepseek")
    return DeepseekConfig.from_dict(keys)  # pyright: ignore[reportReturnType]


def _paper_row(name: str, shape: Shape, printed: float) -> dict[str, Any]:
    found = training_flops(shape) / 1e12
    return {"model": name, "teraflops": found, "printed": printed, "agrees": round(found, 1) == printed}


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    if metrics["table"]:
        rows = [f"{each['model']:34}{each['teraflops']:9.2f}{each['printed']:9.1f}" for each in metrics["table"]]
        return "\n".join([f"{'TFLOPs of one sequence':34}{'formula':>9}{'paper':>9}", *rows])
    text = (
        f"{metrics['teraflops']:.3f} TFLOPs for one sequence, {metrics['parameters'] / 1e6:.2f} M parameters, "
        f"{metrics['activated_parameters'] / 1e6:.2f} M of them active"
    )
    if metrics["teraflops_per_second"] is not None:
        text += f"\n{metrics['teraflops_per_second']:.3f} TFLOP/s"
    if metrics["utilisation"] is not None:
        text += f", {metrics['utilisation']:.1%} of the peak"
    return text
