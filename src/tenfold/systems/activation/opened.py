"""A model whose weights are looked at: Transformers' own class in full precision, its tokens, and what names its weights.

In: `smollm2`, `stories260k`, a folder, a .gguf file or a hub id. The weights are float32, or float64 for the audit.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from tenfold.core.errors import UserError
from tenfold.nn import models, stories
from tenfold.nn.named_linears import decoder_layers, named_linears
from tenfold.store.artifacts import find_data

STORIES = "stories260k"
CHARACTERS_PER_TOKEN = 12
"""A text is cut to so many characters a token before it is encoded: more than a token takes on average, in any language."""


@dataclass(frozen=True)
class OpenedModel:
    """A decoder in float32 or float64 with its own way of encoding a text."""

    name: str
    model: PreTrainedModel
    encode: Callable[[str], list[int]]
    path: str
    """What Transformers loads it from; empty where it does not."""
    tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def num_layers(self) -> int:
        return len(decoder_layers(self.model))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of the weights that are looked at; the same for the same weights in another file."""
        digest = hashlib.sha256()
        for linear in named_linears(self.model):
            digest.update(linear.name.encode())
            digest.update(linear.weight_OI[:2].float().contiguous().numpy().tobytes())
            digest.update(str(float(linear.weight_OI.double().sum())).encode())
        return digest.hexdigest()[:16]

    def ids(self, text: str, max_tokens: int) -> list[int]:
        """At most so many token ids of a text.

        Raises:
            UserError: the text is empty.
        """
        ids = self.encode(text[: max_tokens * CHARACTERS_PER_TOKEN])[:max_tokens]
        if not text.strip() or not ids:
            raise UserError("a text is empty; leave empty texts out")
        return ids


def open_model(name: str, *, dtype: torch.dtype = torch.float32) -> OpenedModel:
    """A model by name.

    Raises:
        MissingArtifactError: there is no such model here; the message says how to get it.
        UserError: its weights are quantised, or it has no linear maps.
    """
    opened = _open_stories(find_data(STORIES)) if name == STORIES else _open_transformers(name)
    opened.model.to(dtype)  # pyright: ignore[reportArgumentType]
    named_linears(opened.model)
    return opened


def _open_transformers(name: str) -> OpenedModel:
    path = models.resolve(name)
    tokenizer = models.load_tokenizer(path)
    model = models.load_transformers(path, "fp32")
    return OpenedModel(name, model, lambda text: models.text_ids(tokenizer, text), path, tokenizer)


def _open_stories(folder: Path) -> OpenedModel:
    loaded = stories.load(folder)
    model = AutoModelForCausalLM.from_config(loaded.config, dtype=torch.float32).eval()
    model.load_state_dict(dict(loaded.state), strict=False)
    model.tie_weights()
    return OpenedModel(STORIES, model, loaded.tokenizer.prompt, "")


def sorted_by_length(texts: Sequence[Sequence[int]]) -> list[int]:
    """Places of the texts, short ones first, so that a batch has little padding."""
    return sorted(range(len(texts)), key=lambda place: len(texts[place]))
