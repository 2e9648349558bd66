"""Bytes of a cache: by formula, and as the engine holds them; and what reading less of it can gain at best."""

from dataclasses import dataclass
from typing import Any

from tenfold.nn.lean_llama import LeanLlama


@dataclass(frozen=True)
class Footprint:
    """Bytes for one row."""

    per_entry: int
    """2 (keys and values) x layers x key-value heads x head width x bytes of a number."""
    used: int
    """Of the entries that are held."""
    allocated: int
    """Of the memory behind them, room for growth included."""


def per_entry(config: Any, bytes_per_number: int) -> int:
    """The formula for one entry."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * bytes_per_number


def footprint(engine: Any) -> Footprint:
    """Of an engine's first row, counted from its tensors."""
    if isinstance(engine, LeanLlama):
        buffer = engine.cache.buffer
        slots = buffer.shape[3]
        allocated = buffer.numel() * buffer.element_size() // engine.batch_size
        each = allocated // slots if slots else 0
        return Footprint(each, each * engine.lengths[0], allocated)
    columns = engine.num_columns
    tensors = [tensor for layer in engine.cache.layers for tensor in (layer.keys, layer.values) if tensor is not None]
    allocated = sum(tensor.untyped_storage().nbytes() for tensor in tensors) // engine.batch_size
    each = sum(tensor.numel() * tensor.element_size() for tensor in tensors) // engine.batch_size // max(1, columns)
    return Footprint(each, each * engine.lengths[0], allocated)


def best_gain(weight_bytes: int, entry_bytes: int, full: int, kept: int, batch_size: int) -> float:
    """How many times faster a step can get if reading memory is all that takes time."""
    return (weight_bytes + batch_size * full * entry_bytes) / (weight_bytes + batch_size * kept * entry_bytes)
