"""The words and looks that a Spec-Bench page uses for methods, tasks and numbers, in prose and figures alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Look:
    """How one method is called and drawn in every figure; the colour is one of the report's own."""

    name: str
    colour: str
    symbol: str
    hatch: str = ""

    @property
    def in_float32(self) -> "Look":
        return Look(f"{self.name}, float32", self.colour, f"{self.symbol}-open", "/")


OURS = {"tenfold": Look("Tenfold", "series-1", "circle")}
TRANSFORMERS = {
    "transformers": Look("Transformers", "series-2", "square"),
    "transformers-pld": Look("Transformers with prompt lookup", "series-3", "diamond"),
    "transformers-pld3": Look("Transformers with prompt lookup by threes", "series-4", "cross"),
}
PLAIN = {"greedy": Look("Tenfold without guessing", "series-6", "triangle-up")}
FLOAT32 = {f"{name}-fp32": look.in_float32 for name, look in TRANSFORMERS.items()}
METHODS = OURS | TRANSFORMERS | PLAIN | FLOAT32
"""Every method that a run may time, the most telling baseline first."""

TASKS = {
    "mt_bench": "Conversation",
    "translation": "Translation",
    "summarization": "Summarization",
    "qa": "Question answering",
    "math_reasoning": "Mathematics",
    "rag": "Retrieval",
    "random": "Random tokens",
}
PROMPTS_OF = {"random": " of random tokens", "demo": " of our own, made after Spec-Bench's,", "specbench": " of Spec-Bench"}


def timed_baselines(metrics: Metrics) -> list[str]:
    return [method for method in METHODS if metrics.get(speedup_key(method)) is not None]


def speedup_key(method: str) -> str:
    return f"speedup_vs_{method.replace('-', '_')}"


def speedup_text(metrics: Metrics, method: str) -> str:
    speedup, interval = metrics.get(speedup_key(method)), interval_of(metrics, method)
    if speedup is None:
        return "–"
    return f"{speedup:.1f}×" + (f" ({interval[0]:.1f}–{interval[1]:.1f})" if interval else "")


def interval_of(metrics: Metrics, method: str) -> tuple[float, float] | None:
    """The interval of a speed-up; None if there is none, or none of any width, as resampling a single prompt gives it."""
    low, high = metrics.get(f"{speedup_key(method)}_ci") or (0.0, 0.0)
    return (low, high) if low < high else None


def has_interval(metrics: Metrics) -> bool:
    return any(interval_of(metrics, method) for method in timed_baselines(metrics))


def num_identical(rows: Sequence[Row]) -> int:
    return sum(row["identical"] for row in rows)


def task_name(task: str) -> str:
    return TASKS.get(task, task.replace("_", " ").capitalize())


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(items: Sequence[str]) -> str:
    return f"{', '.join(items[:-1])} and {items[-1]}"
