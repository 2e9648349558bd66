"""Seconds of a decoding step over a long text: the compacted cache, our full cache, and Transformers' full cache.

A step's time depends on how many entries a cache holds, not on what they say: full caches are filled with random numbers,
the compacted one by reading as many tokens as it has room for; for several rows the first one is copied.
"""

import copy
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from transformers import DynamicCache

from tenfold.nn.lean_llama import LeanLlama
from tenfold.systems.sentinel.lm import SentinelLM

WARM_UP = 8


def step_seconds(step: Callable[[int], Any], steps: int) -> float:
    """Median seconds of `steps` steps after the warm-up."""
    return median(step_times(step, steps))


def step_times(step: Callable[[int], Any], steps: int) -> list[float]:
    """Seconds of each of `steps` steps after the warm-up."""
    times = []
    for number in range(WARM_UP + steps):
        started = perf_counter()
        step(number)
        times.append(perf_counter() - started)
    return times[WARM_UP:]


def compact_step(lm: SentinelLM, tokens: Sequence[int]) -> Callable[[int], Any]:
    """One step of a sentinel model, text going on token by token."""
    return lambda number: lm.forward(torch.tensor([[tokens[number % len(tokens)]]] * lm.batch_size))


def lean_step(engine: LeanLlama, length: int) -> Callable[[int], Any]:
    """One step of the lean engine with `length` tokens in each row's cache."""
    engine.reset()
    engine.cache.reserve(length + 256)
    engine.cache.buffer.normal_(generator=torch.Generator().manual_seed(0))
    engine.cache.lengths = [length] * engine.batch_size
    ids_BK = torch.full((engine.batch_size, 1), 20)

    def step(_: int) -> None:
        engine.forward(ids_BK)
        engine.rollback([1] * engine.batch_size)

    return step


def transformers_step(model: Any, length: int, batch_size: int) -> Callable[[int], Any]:
    """One step of Transformers' model with its DynamicCache holding `length` tokens a row."""
    config = model.config
    heads, width = (
        config.num_key_value_heads,
        getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
    )
    cache: Any = DynamicCache(config=config)
    for layer in range(config.num_hidden_layers):
        shape = (batch_size, heads, length, width)
        cache.update(torch.randn(shape, dtype=model.dtype), torch.randn(shape, dtype=model.dtype), layer)
    ids_BK = torch.full((batch_size, 1), 20)

    @torch.inference_mode()
    def step(_: int) -> None:
        model(ids_BK, past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return step


def copied(lm: SentinelLM, batch_size: int) -> SentinelLM:
    """A sentinel model of several rows, each a copy of what the first row of `lm` holds; the engine must be lean."""
    assert isinstance(lm.engine, LeanLlama), type(lm.engine)
    engine = lm.engine.with_rows(batch_size)
    other = copy.copy(lm)
    other.engine, other.batch_size = engine, batch_size
    length = lm.engine.lengths[0]
    engine.cache.reserve(length + 256)
    rows = engine.cache.buffer.unflatten(2, (batch_size, -1))
    rows[:, :, :, :, :length] = lm.engine.cache.buffer.unflatten(2, (1, -1))[:, :, :, :, :length]
    engine.cache.lengths = [length] * batch_size
    other.table = copy.copy(lm.table)
    other.table.data, other.table.lengths = lm.table.data[:, :1].repeat(1, batch_size, 1), [length] * batch_size
    for name in ("states", "budgets", "evicted", "last"):
        setattr(other, name, [copy.deepcopy(getattr(lm, name)[0]) for _ in range(batch_size)])
    return other
