"""`wrap`: a model and its tokenizer become a sentinel model. `load`: the same from what training left.

lm = load("runs/sentinel-train/.../adapter")        # or wrap(model, tokenizer, SentinelConfig(...))
print(lm.generate("Once upon a time", max_new_tokens=60))
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import PreTrainedModel

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError
from tenfold.nn import lean_weights
from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.generation import OnTokens, generate, ignore_tokens
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.masked_lm import MaskedLM, TransformersRows
from tenfold.nn.models import Dtype, LoadedModel, chat_ids
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.sentinel import checkpoint
from tenfold.systems.sentinel.bases import (
    Base,
    check_attention,
    checksum,
    open_base,
    sentinel_ids,
    start_embedding,
    with_adapter,
)
from tenfold.systems.sentinel.items import Keeping
from tenfold.systems.sentinel.lm import SentinelLM
from tenfold.systems.sentinel.pieces import Codec, codec_of
from tenfold.systems.sentinel.settings import SentinelConfig

EngineName = Literal["auto", "lean", "transformers"]


@dataclass(frozen=True)
class _Named:
    """What `sentinel_ids` needs of a model that was given, not opened by name."""

    model: PreTrainedModel
    codec: Codec
    tokenizer: Any


class Wrapped(SentinelLM):
    """A `SentinelLM` with its tokenizer: text in, text out."""

    def __init__(self, engine: MaskedLM, config: SentinelConfig, codec: Codec, ids: Sequence[int], **options: Any) -> None:
        super().__init__(engine, config, codec.pieces, ids, **options)
        self.codec = codec
        self.tokenizer: Any = getattr(codec, "tokenizer", None)
        self.eos_ids: frozenset[int] = frozenset()

    def generate(self, prompt: str | Sequence[int], *, on_tokens: OnTokens = ignore_tokens, **settings: Any) -> str:
        """The continuation of a text; settings are those of `nn.sampling.GenerationSettings`.

        Raises:
            ConfigError: an unknown setting.
        """
        ids = [*self.codec.beginning, *self.codec.encode(prompt)] if isinstance(prompt, str) else list(prompt)
        chosen = parse(GenerationSettings, settings)
        stopper = Stopper(
            max_new_tokens=chosen.max_new_tokens,
            eos_ids=self.eos_ids,
            stop_strings=chosen.stop_strings,
            tokenizer=self.tokenizer,
        )
        model: CausalLM = self
        return self.codec.decode(generate(model, ids, chosen, stopper, on_tokens=on_tokens).tokens)

    def chat(self, messages: Sequence[Mapping[str, str]], **settings: Any) -> str:
        """The answer to a conversation of {role, content} messages, in the model's own chat template.

        Raises:
            ConfigError: the model has no tokenizer of Transformers.
        """
        if not hasattr(self.tokenizer, "apply_chat_template"):
            raise ConfigError("this model's tokenizer knows no conversations; use generate")
        return self.generate(chat_ids(self.tokenizer, messages), **settings)

    def loaded(self, name: str) -> LoadedModel:
        """In the form that Tenfold's decoders and chat take."""
        return LoadedModel(name, "", "auto", self, self.tokenizer, self.eos_ids)


def wrap(
    model: Any,
    tokenizer: Any,
    config: SentinelConfig | None = None,
    *,
    engine: EngineName = "transformers",
    batch_size: int = 1,
    **options: Any,
) -> Wrapped:
    """A causal LM of Transformers, adapted or not, as a sentinel model.

    Where the model has no sentinel yet, its row of the embedding is started anew, in place; untrained ones carry little.

    Args:
        tokenizer: of the model; gets a new token where none is in reserve.
        engine: transformers computes with the given model; lean copies the weights of a Llama-like one (an adapter is
            merged into the copy) and is faster.
        options: of `SentinelLM`: slack, keeping, prefill.

    Raises:
        ConfigError: the model takes no mask of ours, or no token is in reserve.
    """
    config = config or parse(SentinelConfig, {})
    codec = codec_of(tokenizer)
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    check_attention(plain)
    ids = sentinel_ids(_Named(plain, codec, tokenizer), config)
    if not isinstance(model, PeftModel):
        start_embedding(model, codec, ids)
    lm = Wrapped(engine_of(model, engine, batch_size), config, codec_of(tokenizer), ids, **options)
    eos = getattr(tokenizer, "eos_token_id", None)
    lm.eos_ids = frozenset() if eos is None else frozenset({eos})
    return lm


def load(
    folder: str | Path,
    *,
    base: str | None = None,
    engine: EngineName = "auto",
    dtype: Dtype = "bf16",
    batch_size: int = 1,
    slack: int = 0,
    keeping: Keeping | None = None,
    reposition: bool = False,
    **changes: Any,
) -> Wrapped:
    """The sentinel model of a training.

    Args:
        folder: with the adapter and sentinel.json.
        base: another place of the same base model.
        changes: of its settings, for example raw="window", window=850, budget=1229.

    Raises:
        ConfigError: the base is another one, or settings that do not fit.
    """
    opened, model, record = open_trained(folder, base=base, dtype=dtype)
    chosen = record.config.changed(**changes)
    if chosen.raw not in record.trained:
        warnings.warn(f"the adapter in {folder} was never trained with raw={chosen.raw}; expect more loss", stacklevel=2)
    made = engine_of(model, engine, batch_size)
    lm = Wrapped(made, chosen, opened.codec, record.ids, slack=slack, keeping=keeping, reposition=reposition)
    eos = getattr(opened.tokenizer, "eos_token_id", None)
    lm.eos_ids = frozenset() if eos is None else frozenset({eos})
    return lm


def open_trained(
    folder: str | Path, *, base: str | None = None, dtype: Dtype = "bf16"
) -> tuple[Base, Any, checkpoint.Record]:
    """Base, adapted model, and record of a training; the base's checksum is compared.

    Raises:
        MissingArtifactError: no such folder, or no such base.
        ConfigError: the base is another one.
    """
    folder = Path(folder)
    record = checkpoint.read(folder)
    name = base or record.base
    opened = open_base(name, dtype=dtype)
    if record.config.token == "add":
        sentinel_ids(opened, record.config)
    checkpoint.check_base(record, checksum(opened.model, record.ids), name)
    return opened, with_adapter(opened.model, folder), record


def engine_of(model: Any, name: EngineName, batch_size: int) -> MaskedLM:
    """The engine of that name for a model of Transformers, adapted or not; auto takes the lean one where that can."""
    plain: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if name == "transformers" or (name == "auto" and not lean_weights.supports(plain.config)):
        return TransformersRows(model, batch_size=batch_size)
    return LeanLlama(plain.config, merged_state(model), batch_size=batch_size)


def merged_state(model: Any) -> dict[str, Tensor]:
    """The weights of a model with its adapter added, under a plain model's names; the model stays as it is."""
    if not isinstance(model, PeftModel):
        return dict(model.state_dict())
    found = {
        name.replace(".base_layer", "").replace(".token_adapter", ""): tensor.detach().clone()
        for name, tensor in model.get_base_model().state_dict().items()
        if "lora_" not in name and checkpoint.DELTA not in name
    }
    for name, layer in model.get_base_model().named_modules():
        if isinstance(layer, LoraLayer):
            weight = found[f"{name}.weight"]
            delta = sum(layer.get_delta_weight(adapter).float() for adapter in layer.active_adapters)  # pyright: ignore
            found[f"{name}.weight"] = (weight.float() + delta).to(weight.dtype)
    rows_SD, ids = checkpoint.trained_rows(model), model.peft_config["default"].trainable_token_indices  # pyright: ignore
    if rows_SD is not None:
        embedding = next(name for name in found if name.endswith(("embed_tokens.weight", "wte.weight")))
        found[embedding][list(ids)] = rows_SD.to(found[embedding].dtype)
    return found
