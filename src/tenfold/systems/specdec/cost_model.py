"""What a pass costs on this machine: milliseconds by number of tokens and cached length, measured once and kept.

R(k) = T(k)/T(1) of the survey is `pass_ms(k) / pass_ms(1)`. Passes are padded to exact widths, so only those widths
are timed; between measured lengths we interpolate. A cost model belongs to one model, dtype, kernel, thread count,
processor and torch build, and is kept under a name that holds them all.
"""

# k tokens of a pass
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

from tenfold.core.seeds import derive
from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.models import LoadedModel
from tenfold.store import atomic, environment
from tenfold.store.artifacts import cache_folder

LENGTHS = (128, 512, 1536)
MOST_TOKENS = 16
REPEATS = 7


class CostModel(BaseModel):
    """Pass times by cached length and by tokens per pass (index 0: one token)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    identity: str
    """What was measured, in words."""
    lengths: tuple[int, ...]
    """Cached lengths at which passes were timed, ascending."""
    pass_times: tuple[tuple[float, ...], ...]
    """Milliseconds of a pass of 1, 2, ... tokens, one row per length."""
    contention: float = 0.0
    """Share of the machine that other programs used meanwhile."""

    @property
    def most_tokens(self) -> int:
        return len(self.pass_times[0])

    def pass_ms(self, num_tokens: int, length: int) -> float:
        """Milliseconds of a pass of `num_tokens` over `length` cached tokens; constant outside what was measured."""
        column = [row[min(num_tokens, self.most_tokens) - 1] for row in self.pass_times]
        return interpolate(self.lengths, column, length)

    def relative_cost(self, num_tokens: int, length: int) -> float:
        """R(k): a pass of k tokens in units of a pass of one."""
        return self.pass_ms(num_tokens, length) / self.pass_ms(1, length)


def interpolate(places: Sequence[int], values: Sequence[float], place: int) -> float:
    """Piecewise linear between ascending places, constant outside them."""
    right = bisect_left(places, place)
    if right == 0 or right == len(places):
        return values[min(right, len(places) - 1)]
    share = (place - places[right - 1]) / (places[right] - places[right - 1])
    return values[right - 1] + share * (values[right] - values[right - 1])


def identity(loaded: LoadedModel) -> str:
    """The words under which a cost model is valid."""
    kernel = getattr(loaded.engine, "kernel", "transformers")
    machine = f"{torch.get_num_threads()} threads, {environment.processor()}, torch {torch.__version__}"
    return f"{loaded.path}, weights {loaded.dtype}, kernel {kernel}, {machine}"


def load_or_calibrate(loaded: LoadedModel) -> CostModel:
    """The kept cost model of this engine on this machine, measuring it first if there is none (some seconds).

    What was measured while other programs used the machine is used, but not kept.
    """
    words = identity(loaded)
    path = kept_at(words)
    if path.exists():
        return CostModel.model_validate_json(path.read_text(encoding="utf-8"))
    measured = calibrate(loaded.engine, words)
    return measured if environment.is_contended(measured.contention) else keep(measured)


def kept_at(words: str) -> Path:
    """Where the cost model of that identity is kept."""
    return cache_folder() / "cost" / f"{derive(0, words):016x}.json"


def keep(model: CostModel) -> CostModel:
    """Writes a cost model to its place in the cache folder."""
    atomic.write_json(kept_at(model.identity), model.model_dump(mode="json"))
    return model


def calibrate(
    engine: CausalLM,
    words: str,
    *,
    lengths: Sequence[int] = LENGTHS,
    clock: Callable[[], float] = time.perf_counter,
) -> CostModel:
    """Times passes of 1 to 16 tokens at each length, interleaved, and takes the fastest of seven; empties the cache."""
    meter = environment.ContentionMeter()
    fitting = [length for length in lengths if length + MOST_TOKENS <= engine.max_positions] or [engine.max_positions // 2]
    rows = tuple(_row(engine, length, clock) for length in fitting)
    engine.reset()
    return CostModel(identity=words, lengths=tuple(fitting), pass_times=rows, contention=meter.read() or 0.0)


def _row(engine: CausalLM, length: int, clock: Callable[[], float]) -> tuple[float, ...]:
    """One length: widths that a pass is padded to are timed, and what is padded alike costs alike."""
    generator = torch.Generator().manual_seed(length)
    engine.reset()
    engine.prefill([torch.randint(engine.vocab_size, (length,), generator=generator).tolist()] * engine.batch_size)
    padded: Callable[[int], int] = getattr(engine, "padded_width", lambda num_tokens: num_tokens)
    times: dict[int, float] = {}
    for _ in range(REPEATS):
        for width in {padded(num_tokens) for num_tokens in range(1, MOST_TOKENS + 1)}:
            times[width] = min(times.get(width, float("inf")), _pass_ms(engine, width, generator, clock))
    return tuple(times[padded(num_tokens)] for num_tokens in range(1, MOST_TOKENS + 1))


def _pass_ms(engine: CausalLM, width: int, generator: torch.Generator, clock: Callable[[], float]) -> float:
    ids_BK = torch.randint(engine.vocab_size, (engine.batch_size, width), generator=generator)
    start = clock()
    engine.forward(ids_BK)
    seconds = clock() - start
    engine.rollback([width] * engine.batch_size)
    return seconds * 1000
