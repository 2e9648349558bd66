"""Base models by name (smollm2, stories260k, tiny, a folder, a hub id): the sentinel is chosen, its embedding started."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.nn import models, stories
from tenfold.nn.recurrent_state import is_recurrent, is_windowed
from tenfold.store.artifacts import find_data
from tenfold.systems.sentinel.pieces import Codec, codec_of
from tenfold.systems.sentinel.rules import backend_of
from tenfold.systems.sentinel.settings import SentinelConfig

STORIES, TINY = "stories260k", "tiny"
STARTS = (".", "!", "?")
"""The sentinel's embedding starts as the mean of these."""


@dataclass(frozen=True)
class Base:
    """A model with its codec. `tokenizer` is Transformers' own, where the model has one."""

    name: str
    model: PreTrainedModel
    codec: Codec
    tokenizer: PreTrainedTokenizerBase | None
    max_positions: int


class ByteCodec:
    """A token for each byte, behind four that stand for nothing: the tokenizer of the model `tiny`."""

    beginning: Sequence[int] = ()
    FIRST = 4

    def __init__(self) -> None:
        self._pieces = [*[b""] * self.FIRST, *[bytes([byte]) for byte in range(256)]]

    @property
    def pieces(self) -> Sequence[bytes]:
        return self._pieces

    def encode(self, text: str) -> list[int]:
        return [self.FIRST + byte for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self._pieces[token] for token in ids).decode(errors="replace")

    def reserved(self) -> list[int]:
        return [2, 3]


def open_base(name: str, *, dtype: models.Dtype = "fp32", attention: str = "sdpa") -> Base:
    """A base model by name.

    Raises:
        MissingArtifactError: it is not on this machine.
        ConfigError: its attention takes no mask of ours.
    """
    if name == TINY:
        return _base(name, _tiny(), ByteCodec(), None)
    if name == STORIES:
        found = stories.load(find_data(name))
        model = LlamaForCausalLM(found.config).eval()
        model.load_state_dict(found.state, strict=False)
        model.tie_weights()
        return _base(name, model, codec_of(found.tokenizer), None)
    path = models.resolve(name)
    model, tokenizer = models.load_transformers(path, dtype), models.load_tokenizer(path)
    model.set_attn_implementation(attention)
    return _base(name, model, codec_of(tokenizer), tokenizer)


def check_attention(model: Any) -> None:
    """Raises ConfigError if the model takes no four-dimensional mask, or does not attend to everything by itself."""
    config = model.config
    backend_of(model)
    if config.model_type == "opt":
        raise ConfigError("opt computes its positions from a two-dimensional mask and takes no other; take another family")
    if is_recurrent(config) or is_windowed(config):
        raise ConfigError(
            f"{config.model_type} has layers that keep a state or a window of their own; take a model whose layers all "
            "attend to everything, such as Llama, Qwen2 or GPT-2"
        )


def sentinel_ids(base: Any, config: SentinelConfig) -> tuple[int, ...]:
    """The sentinel's id, and that of paragraphs where there is a hierarchy; `base` has `model`, `codec` and `tokenizer`.

    Raises:
        ConfigError: the token is unknown, or there is none in reserve and no tokenizer to add one to.
    """
    wanted = 1 + config.hierarchy
    if config.token not in ("auto", "add"):
        return _named(base, config)
    reserved = base.codec.reserved() if config.token == "auto" else []
    if len(reserved) >= wanted:
        return tuple(reserved[:wanted])
    if base.tokenizer is None:
        raise ConfigError(f"no token is in reserve for {wanted} sentinels; name one with token=ID")
    names = ["<SR>", "<SR2>"][:wanted]
    base.tokenizer.add_special_tokens({"additional_special_tokens": names}, replace_additional_special_tokens=False)
    with models.quiet():
        base.model.resize_token_embeddings(len(base.tokenizer), mean_resizing=False)
    ids: Any = base.tokenizer.convert_tokens_to_ids(names)
    return tuple(ids)


def start_embedding(model: PreTrainedModel, codec: Codec, ids: Sequence[int]) -> None:
    """Sets the sentinels' rows to the mean of the rows of . ! ? in place."""
    rows = [codec.encode(mark)[-1] for mark in STARTS]
    weight: Any = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[list(ids)] = weight[rows].float().mean(0).to(weight.dtype)


def with_adapter(model: PreTrainedModel, folder: str | Path) -> PeftModel:
    """The model with a saved adapter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT 0.21 asks Transformers 5.23 by an old name
        found = PeftModel.from_pretrained(model, str(folder)).eval()
    assert isinstance(found, PeftModel), type(found)
    return found


def checksum(model: PreTrainedModel, ids: Sequence[int]) -> str:
    """sha256 of a base's weights in bf16, the sentinels' rows left out: what an adapter belongs to."""
    total = hashlib.sha256()
    size = model.config.get_text_config().vocab_size
    for _, tensor in sorted(model.state_dict().items()):
        tensor = tensor.detach().cpu()
        if tensor.dim() == 2 and len(tensor) == size:
            tensor = tensor.index_fill(0, torch.tensor(list(ids)), 0.0)
        total.update(tensor.to(torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _base(name: str, model: PreTrainedModel, codec: Codec, tokenizer: PreTrainedTokenizerBase | None) -> Base:
    check_attention(model)
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31
    return Base(name, model, codec, tokenizer, positions)


def _tiny() -> PreTrainedModel:
    """Two random layers, for machinery and not for numbers."""
    config = LlamaConfig(
        vocab_size=ByteCodec.FIRST + 256,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval()


def _named(base: Any, config: SentinelConfig) -> tuple[int, ...]:
    """Ids or texts of tokens, joined by commas."""
    found = []
    for name in config.token.split(","):
        known: Any = base.tokenizer.get_vocab() if base.tokenizer is not None else {}
        token = int(name) if name.isdigit() else known.get(name)
        if token is None or not 0 <= token < len(base.codec.pieces):
            raise ConfigError(f"token {name!r} is none of the model's; give auto, add, an id, or the text of a token")
        found.append(token)
    if len(found) < 1 + config.hierarchy:
        raise ConfigError(f"token names {len(found)} sentinels, but {1 + config.hierarchy} are needed; join them by a comma")
    return tuple(found)
