"""stories260K: a llama of 260 thousand parameters that tells children's stories, as published with llama2.c.

In: the folder with `stories260K.bin` and `tok512.bin`. Out: config and weights as Transformers names them, and its
tokenizer. It is small enough to be a draft model, or a target, in a test.
"""

# D model width, F feed-forward width, V vocabulary, H heads, R rows of the key and value maps
import itertools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig

from tenfold.core.errors import MissingArtifactError

WEIGHTS, TOKENS = "stories260K.bin", "tok512.bin"
HEADER = struct.Struct("<7i")
BOS, EOS = 1, 2
FIRST_BYTE = 3
"""The token of byte 0; the other bytes follow."""


@dataclass(frozen=True)
class Stories:
    """Everything a decoder needs."""

    config: LlamaConfig
    state: Mapping[str, Tensor]
    tokenizer: "StoriesTokenizer"


def load(folder: Path) -> Stories:
    """Reads model and tokenizer.

    Raises:
        MissingArtifactError: a file is not there, or its size does not fit its header.
    """
    for name in (WEIGHTS, TOKENS):
        if not (folder / name).is_file():
            raise MissingArtifactError(f"no {name} in {str(folder)!r}; give the folder of stories260K")
    config, state = _read_weights(folder / WEIGHTS)
    return Stories(config, state, StoriesTokenizer.read(folder / TOKENS, config.vocab_size))


class StoriesTokenizer:
    """Byte-pair encoding in which the pair whose joint token scores best is merged first."""

    beginning: Sequence[int] = (BOS,)

    def __init__(self, texts: Sequence[bytes], scores: Sequence[float]) -> None:
        self.texts, self.scores = list(texts), list(scores)
        self.ids = {text: token for token, text in reversed(list(enumerate(texts))) if token >= FIRST_BYTE + 256}

    @staticmethod
    def read(path: Path, vocab_size: int) -> "StoriesTokenizer":
        content, texts, scores, place = path.read_bytes(), [], [], 4
        for _ in range(vocab_size):
            score, length = struct.unpack_from("<fi", content, place)
            texts.append(content[place + 8 : place + 8 + length])
            scores.append(score)
            place += 8 + length
        return StoriesTokenizer(texts, scores)

    def prompt(self, text: str) -> list[int]:
        """A text from its beginning: BOS, and a space before the first word as in training."""
        return [BOS, *self.encode(f" {text}")]

    def encode(self, text: str) -> list[int]:
        """Tokens of a piece of text as it stands."""
        tokens = [token for character in text for token in self._characters(character)]
        while (best := self._best_pair(tokens)) is not None:
            place, merged = best
            tokens[place : place + 2] = [merged]
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; the start and end tokens have none."""
        return b"".join(self._bytes(token) for token in tokens).decode(errors="replace")

    def pieces(self) -> list[str]:
        return [self.decode([token]) for token in range(len(self.texts))]

    def _characters(self, character: str) -> list[int]:
        """The character's own token, or those of its bytes."""
        whole = self.ids.get(character.encode())
        return [byte + FIRST_BYTE for byte in character.encode()] if whole is None else [whole]

    def _best_pair(self, tokens: Sequence[int]) -> tuple[int, int] | None:
        """Where the neighbours with the best joint token stand, and that token."""
        pairs = itertools.pairwise(tokens)
        merged = ((place, self.ids.get(self._bytes(a) + self._bytes(b))) for place, (a, b) in enumerate(pairs))
        known = [(place, token) for place, token in merged if token is not None]
        return max(known, key=lambda found: self.scores[found[1]], default=None)

    def _bytes(self, token: int) -> bytes:
        if FIRST_BYTE <= token < FIRST_BYTE + 256:
            return bytes([token - FIRST_BYTE])
        return b"" if token < FIRST_BYTE else self.texts[token]


def _read_weights(path: Path) -> tuple[LlamaConfig, Mapping[str, Tensor]]:
    content = path.read_bytes()
    config = _config(HEADER.unpack_from(content))
    reader = _Reader(torch.from_numpy(np.frombuffer(content, dtype="<f4", offset=HEADER.size).copy()))
    try:
        return config, _state(config, reader)
    except RuntimeError as error:
        raise MissingArtifactError(f"{path} is shorter than its header says ({error}); fetch it again") from None


def _config(header: Sequence[int]) -> LlamaConfig:
    width, feed_forward, layers, heads, kv_heads, vocab_size, positions = header
    return LlamaConfig(
        hidden_size=width,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab_size,
        max_position_embeddings=positions,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )


class _Reader:
    """Hands out the numbers of a file in order."""

    def __init__(self, numbers: Tensor) -> None:
        self.numbers, self.place = numbers, 0

    def take(self, *shape: int) -> Tensor:
        size = int(np.prod(shape))
        self.place += size
        return self.numbers[self.place - size : self.place].view(*shape)


def _state(config: LlamaConfig, reader: _Reader) -> Mapping[str, Tensor]:
    """The arrays in the file's order, each over all layers."""
    layers, width, feed_forward = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    kv_heads = config.num_key_value_heads or config.num_attention_heads
    kv_rows = kv_heads * width // config.num_attention_heads
    embedding_VD = reader.take(config.vocab_size, width)
    stacked = {
        "input_layernorm": reader.take(layers, width),
        "self_attn.q_proj": _halves(reader.take(layers, width, width), config.num_attention_heads),
        "self_attn.k_proj": _halves(reader.take(layers, kv_rows, width), kv_heads),
        "self_attn.v_proj": reader.take(layers, kv_rows, width),
        "self_attn.o_proj": reader.take(layers, width, width),
        "post_attention_layernorm": reader.take(layers, width),
        "mlp.gate_proj": reader.take(layers, feed_forward, width),
        "mlp.down_proj": reader.take(layers, width, feed_forward),
        "mlp.up_proj": reader.take(layers, feed_forward, width),
    }
    state = {f"model.layers.{i}.{name}.weight": array[i] for name, array in stacked.items() for i in range(layers)}
    return {"model.embed_tokens.weight": embedding_VD, "model.norm.weight": reader.take(width), **state}


def _halves(weight_LRD: Tensor, num_heads: int) -> Tensor:
    """From rotated neighbours (2i, 2i + 1) within a head to Transformers' order (i, i + half)."""
    layers, rows, width = weight_LRD.shape
    paired = weight_LRD.view(layers, num_heads, rows // num_heads // 2, 2, width)
    return paired.transpose(2, 3).reshape(layers, rows, width)
