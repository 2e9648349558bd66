"""Which product kernel decodes fastest on this machine: measured once, kept in the cache, the same for every later run.

Kernels round differently, so a choice made anew each time could change the text of the same prompt from run to run.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from tenfold.core.seeds import derive
from tenfold.nn import linear, rows_library
from tenfold.nn.compiled import CompiledLinear
from tenfold.nn.linear import Kernel, Linear
from tenfold.store import atomic, environment
from tenfold.store.artifacts import cache_folder

ROWS = (1, 4, 8, 16)
"""Rows of a pass at which kernels are compared: plain decoding, and checking drafts."""
FIXED_ROWS = 8
"""What torch's own 16-bit product is always padded to (`lean_llama.FIXED_WIDTH`)."""
SHAPE = (3072, 576)
NUM_MATRICES = 20
"""More than the processor's caches hold, as in a model."""
TRIES = 5

Choosable = Literal["compiled", "packed", "native"]
Speeds = Mapping[Choosable, Mapping[int, float]]


class Choice(BaseModel):
    """The kernel chosen, with the milliseconds that decided it."""

    model_config = ConfigDict(frozen=True)

    kernel: Choosable
    identity: str
    milliseconds: dict[Choosable, dict[int, float]]


def default_kernel(device: torch.device) -> Kernel:
    """The fastest kernel of this processor; torch's own on any other device."""
    return choice().kernel if device.type == "cpu" else "native"


@cache
def choice() -> Choice:
    """The kept choice for this processor, torch build and number of threads, measured if there is none (a second)."""
    unavailable = rows_library.why_not() or "available"
    words = f"{environment.processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}, rows.c {unavailable}"
    path = cache_folder() / "kernels" / f"choice-{derive(0, words):016x}.json"
    if path.exists():
        return Choice.model_validate_json(path.read_text(encoding="utf-8"))
    speeds = measure()
    best: Choosable = min(speeds, key=lambda kernel: sum(speeds[kernel].values()))
    made = Choice(kernel=best, identity=words, milliseconds={name: dict(times) for name, times in speeds.items()})
    atomic.write_json(path, made.model_dump(mode="json"))
    return made


@torch.inference_mode()
def measure() -> Speeds:
    """Milliseconds of the products of a decoding step, per kernel that this machine has, by rows."""
    weights = [torch.randn(SHAPE).bfloat16() for _ in range(NUM_MATRICES)]
    native = _times([linear.NativeLinear(weight) for weight in weights])
    speeds: dict[Choosable, dict[int, float]] = {
        "native": {rows: native[max(rows, FIXED_ROWS)] for rows in ROWS},
    }
    if linear.packing_available():
        speeds["packed"] = _times([linear.PackedLinear(weight, None, 1.0) for weight in weights])
    if rows_library.why_not() is None:
        speeds["compiled"] = _times([CompiledLinear(weight) for weight in weights])
    return speeds


def _times(products: Sequence[Linear]) -> dict[int, float]:
    return {rows: _fastest_ms(products, torch.randn(rows, SHAPE[1])) for rows in ROWS}


def _fastest_ms(products: Sequence[Linear], rows: torch.Tensor) -> float:
    return min(_milliseconds(lambda: [product(rows) for product in products]) for _ in range(TRIES))


def _milliseconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000
