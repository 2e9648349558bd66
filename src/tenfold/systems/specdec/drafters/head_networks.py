"""Small networks that read the target's final hidden states and guess several tokens ahead.

`medusa` (Cai et al. 2024): head j maps the last hidden state x to x + SiLU(W x), which the target's own frozen head
turns into a law for the token j places further on. `eagle` (Li et al. 2024): one decoder layer carries on the
sequence of hidden states itself, each joined with the embedding of the token that followed it.
A trained network is stored with the digest of the target it was trained for, and loads for no other.
"""

# B texts, T tokens, D model width, J heads, n tokens the trimmed head knows
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRotaryEmbedding

from tenfold.core import config as settings
from tenfold.core.config import Config
from tenfold.core.errors import MissingArtifactError, UserError
from tenfold.nn.lean_llama import LeanLlama
from tenfold.store import atomic

WEIGHTS, DESCRIPTION = "head.safetensors", "head.json"
VOCABULARY = "vocabulary_n"


class HeadShape(Config):
    """What kind of head, and how large."""

    kind: Literal["medusa", "eagle"] = "eagle"
    """medusa: one map per place; eagle: one decoder layer that feeds itself."""
    num_heads: int = Field(default=4, ge=1)
    """Medusa: places guessed, so the longest draft."""
    feed_forward: int = Field(default=1536, ge=1)
    """Eagle: width of the decoder layer's feed-forward part."""


class HeadDescription(HeadShape):
    """What is stored beside a head's weights."""

    target_sha256: str
    """Digest of the target's weights."""


class MedusaHeads(nn.Module):
    """J residual maps; they start as the identity, so that every head first guesses the next token's law."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(num_heads))
        for parameter in self.maps.parameters():
            nn.init.zeros_(parameter)

    def forward(self, hidden_TD: Tensor) -> Tensor:
        """[J, T, D]: row j of a token stands for the token j + 1 places after the next one."""
        return torch.stack([hidden_TD + functional.silu(each(hidden_TD)) for each in self.maps])


class EagleLayer(nn.Module):
    """fc(embedding ; feature), then one decoder layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.join = nn.Linear(2 * width, width, bias=False)
        self.layer = LlamaDecoderLayer(config, layer_idx=0)
        self.rotary = LlamaRotaryEmbedding(config)
        with torch.no_grad():
            self.join.weight[:, width:] += torch.eye(width)

    def forward(
        self, embedding_BTD: Tensor, feature_BTD: Tensor, positions_T: Tensor, *, cache: Any, mask_TS: Tensor | None = None
    ) -> Tensor:
        """The feature of each token that `embedding_BTD` stands for; its keys and values are appended to `cache`."""
        x_BTD = self.join(torch.cat([embedding_BTD, feature_BTD], dim=-1))
        return self.layer(
            x_BTD,
            attention_mask=None if mask_TS is None else mask_TS[None, None],
            position_ids=positions_T[None],
            position_embeddings=self.rotary(x_BTD, positions_T[None]),
            past_key_values=cache,
        )


@dataclass(frozen=True)
class TrainedHead:
    """A network, the tokens it may guess, and what it was made for."""

    description: HeadDescription
    network: MedusaHeads | EagleLayer
    vocabulary_n: Tensor

    def save(self, folder: Path) -> None:
        """Writes weights and description; the description comes last, so that a folder with one is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.contiguous() for name, tensor in self.network.state_dict().items()}
        (folder / WEIGHTS).write_bytes(save({**tensors, VOCABULARY: self.vocabulary_n}))
        atomic.write_json(folder / DESCRIPTION, self.description.model_dump(mode="json"))

    @staticmethod
    def load(folder: Path, target: LeanLlama) -> "TrainedHead":
        """Reads a head for `target`.

        Raises:
            MissingArtifactError: the folder holds no head.
            UserError: the head was trained for another target.
        """
        if not (folder / DESCRIPTION).is_file():
            raise MissingArtifactError(f"no trained head in {str(folder)!r}; give a folder that train-head has written")
        table = json.loads((folder / DESCRIPTION).read_text())
        description = settings.parse(HeadDescription, table, where=str(folder / DESCRIPTION))
        if description.target_sha256 != (digest := target_digest(target)):
            raise UserError(
                f"the head in {str(folder)!r} was trained for target {description.target_sha256[:12]}, "
                f"this one is {digest[:12]}; "
                "load the model it was trained for, or train a head for this one"
            )
        tensors = load_file(folder / WEIGHTS)
        vocabulary_n, network = tensors.pop(VOCABULARY), new_network(description, target)
        network.load_state_dict(tensors)
        return TrainedHead(description, network.eval(), vocabulary_n)


def new_network(shape: HeadShape, target: LeanLlama) -> MedusaHeads | EagleLayer:
    """An untrained head for `target`; its random weights come from torch's current generator."""
    width = target.weights.embedding_VD.shape[1]
    return MedusaHeads(width, shape.num_heads) if shape.kind == "medusa" else EagleLayer(layer_config(shape, target))


def target_digest(target: LeanLlama) -> str:
    """SHA-256 of all weights of a target, whatever kernel holds them; reads every weight once."""
    weights, digest = target.weights, hashlib.sha256()
    matrices = [weights.head] + [m for layer in weights.layers for m in (layer.qkv, layer.output, layer.gate_up, layer.down)]
    norms = [weights.final_norm_D] + [n for layer in weights.layers for n in (layer.attention_norm_D, layer.mlp_norm_D)]
    for tensor in (weights.embedding_VD, *norms, *(matrix.unpack()[0] for matrix in matrices)):
        digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def frozen_head(target: LeanLlama, tokens: Sequence[int] | Tensor) -> Tensor:
    """The rows [n, D] of the target's head for some tokens, float32."""
    return target.weights.head.unpack()[0][torch.as_tensor(tokens)]


def layer_config(shape: HeadShape, target: LeanLlama) -> LlamaConfig:
    """The sizes of an EAGLE head's decoder layer."""
    sizes = target.weights.shape
    config = LlamaConfig(
        hidden_size=target.weights.embedding_VD.shape[1],
        intermediate_size=shape.feed_forward,
        num_attention_heads=sizes.num_heads,
        num_key_value_heads=sizes.num_kv_heads,
        head_dim=sizes.head_width,
        rms_norm_eps=sizes.eps,
        max_position_embeddings=target.max_positions,
    )
    config._attn_implementation = "sdpa"
    return config
