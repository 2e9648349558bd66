"""From a name to a mixture of experts and its tokenizer: a run's folder, a checkpoint's folder, or a hub id."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.nn import models
from tenfold.systems.moe import modeling
from tenfold.systems.moe.modeling import SORTED, DeepseekForCausalLM


def open_mixture(name: str, dtype: models.Dtype = "auto") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in evaluation mode, on our experts where it is of our family; a run's folder means its `model/`.

    Raises:
        MissingArtifactError: there is no such model.
        ConfigError: the model has no routed experts.
    """
    modeling.register()
    path = str(Path(name) / "model") if (Path(name) / "model" / "config.json").is_file() else models.resolve(name)
    model = models.load_transformers(path, dtype)
    config: Any = model.config
    if not (getattr(config, "n_routed_experts", None) or getattr(config, "num_experts", None) or _num_local(config)):
        raise ConfigError(f"{name} is a {config.model_type} without routed experts; give a mixture of experts")
    if isinstance(model, DeepseekForCausalLM):
        model.set_experts_implementation(SORTED)
    return model, models.load_tokenizer(path)


def _num_local(config: Any) -> int | None:
    return getattr(config, "num_local_experts", None)
