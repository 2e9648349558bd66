"""What a training run costs: seconds of each optimizer step, and the most memory it held.

On Linux the memory is `RssAnon`: the process's own pages, without the files it maps. It is sampled and not traced, so
a peak between two samples goes unseen: before and after each optimizer step, and wherever `sample` is called.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import torch
from transformers import TrainerCallback

from tenfold.core import jsonl

WARM_UP_STEPS = 1
"""The first step pays for memory and kernels that later ones reuse; it is left out of the mean."""


def anonymous_bytes() -> int | None:
    """The process's own memory in bytes; None where neither /proc nor psutil tells."""
    status = Path("/proc/self/status")
    if status.exists():
        found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith("RssAnon:")]
        return int(found[0]) * 1024 if found else None
    try:
        import psutil  # pyright: ignore[reportMissingModuleSource]
    except ImportError:
        return None
    return int(psutil.Process().memory_info().rss)


@dataclass(frozen=True)
class Cost:
    """Of the steps of one run: seconds in all and per step, and the highest memory in bytes (None: not known)."""

    seconds: float
    seconds_per_step: float
    peak_anonymous: int | None
    peak_device: int | None


class StepMeter(TrainerCallback):
    """Give it to the trainer as the last callback, so that its steps hold what the others do; a kill loses no step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self.highest = 0
        self.started = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.rows = [row for row in jsonl.recover(self.path) if row["step"] <= state.global_step]
        self.path.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.started = perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.sample()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.sample()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        row = {"step": state.global_step, "seconds": perf_counter() - self.started, "anonymous": self.highest or None}
        self.rows.append(row | {"device": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None})
        jsonl.append(self.path, self.rows[-1])
        self.highest = 0

    def sample(self) -> None:
        """Looks at the memory now."""
        self.highest = max(self.highest, anonymous_bytes() or 0)

    def cost(self) -> Cost:
        """Of all steps, those before a kill included."""
        seconds = [row["seconds"] for row in self.rows]
        steady = seconds[WARM_UP_STEPS:] or seconds
        return Cost(sum(seconds), fmean(steady), _highest(self.rows, "anonymous"), _highest(self.rows, "device"))


def _highest(rows: Sequence[dict[str, Any]], name: str) -> int | None:
    return max((row[name] for row in rows if row[name] is not None), default=None)
