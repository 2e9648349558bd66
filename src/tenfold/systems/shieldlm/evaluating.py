"""The verb `eval`: learn the linear guard on a set's training part and judge it on the part kept aside.

Rows hold keys, labels and scores, never texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics, Page, Table
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.shieldlm import measures
from tenfold.systems.shieldlm.data import Split, splits
from tenfold.systems.shieldlm.linear import LinearGuard


class EvalConfig(Config):
    """Judge the linear guard on a safety set: agreement, calibration and promised false-alarm rates."""

    data: str = "diasafety"
    """diasafety, gptfuzz (five folds by question) or coldataset (Chinese)."""
    limit: int | None = Field(default=None, ge=200)
    """Training items and test items of each split; all if left out."""


def evaluate(config: EvalConfig, run: Run) -> Metrics:
    """One row per split with the scores of its test items; the metrics pool the splits."""
    parts = [_narrowed(split, config.limit) for split in splits(config.data)]
    todo = [place for place in range(len(parts)) if str(place) not in run.rows]
    for place in track(todo, "Splits", done=len(parts) - len(todo)):
        run.add(str(place), _judged(parts[place]))
    return {"data": config.data, "detector": "linear", **sum_up([run.rows[str(place)] for place in range(len(parts))])}


def sum_up(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    """The metrics of all judged items together."""
    items = [item for row in rows for item in row["items"]]
    score_N, unsafe_N = np.array([i["score"] for i in items]), np.array([i["unsafe"] for i in items])
    clusters, seen_N = [i["group"] for i in items], np.array([i["seen"] for i in items])
    flag_N = score_N > 0.5
    return {
        "items": len(items),
        "majority": float(max(unsafe_N.mean(), 1 - unsafe_N.mean())),
        **_flat(measures.agreement(flag_N, unsafe_N, clusters)),
        **{
            f"accuracy_{name}": float((flag_N == unsafe_N)[mask].mean()) if mask.any() else None
            for name, mask in (("seen", seen_N), ("unseen", ~seen_N))
        },
        "items_unseen": int((~seen_N).sum()),
        "split_accuracy": [float(np.mean([(i["score"] > 0.5) == i["unsafe"] for i in row["items"]])) for row in rows],
        "category_accuracy": _by_category(items),
        **measures.calibration(score_N, unsafe_N),
        **measures.held_out_calibration(score_N, unsafe_N, clusters),
    }


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    low, high = metrics["accuracy_interval"]
    return (
        f"{metrics['data']}: accuracy {metrics['accuracy']:.3f} ({low:.3f}-{high:.3f}) on {metrics['items']} items, "
        f"majority {metrics['majority']:.3f}\n"
        f"F1 safe {metrics['f1_safe']:.3f}, unsafe {metrics['f1_unsafe']:.3f}; "
        f"ECE {metrics['ece']:.3f}, after calibration {metrics['ece_calibrated']:.3f}\n"
        f"false alarms asked 1 % and 5 %: {metrics['fpr_at_0.01']:.2%} and {metrics['fpr_at_0.05']:.2%}"
    )


def build_page(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of a run."""
    low, high = metrics["accuracy_interval"]
    return Page(
        title="Guard: the linear floor",
        verdict=f"On {metrics['data']} the linear guard agrees with {metrics['accuracy']:.1%} of {metrics['items']} labels "
        f"({low:.1%} to {high:.1%}).",
        story=[
            "A detector of words alone is the floor that a language model has to beat. Texts of the set are not shown.",
            "Calibration and thresholds are fitted on one half and judged on the other, twenty times.",
        ],
        facts={
            "Majority": f"{metrics['majority']:.1%}",
            "ECE after calibration": f"{metrics['ece_calibrated']:.3f}",
            "False alarms asked 1 %": f"{metrics['fpr_at_0.01']:.2%}",
            "False alarms asked 5 %": f"{metrics['fpr_at_0.05']:.2%}",
        },
        exhibits=[
            Table(
                title="Category by category",
                caption="Share of labels the linear guard agrees with.",
                columns=["category", "accuracy"],
                rows=[[name, f"{share:.1%}"] for name, share in metrics["category_accuracy"].items()],
            )
        ],
    )


def _judged(split: Split) -> dict[str, Any]:
    lang = split.train[0].lang
    guard = LinearGuard.fit([item.text for item in split.train], [item.label == "unsafe" for item in split.train], lang)
    scores = guard.scores([item.text for item in split.test])
    groups = {item.group: f"g{place}" for place, item in enumerate(split.test)}
    return {
        "items": [
            {
                "key": item.key,
                "unsafe": item.label == "unsafe",
                "score": float(score),
                "category": item.category,
                "group": groups[item.group],
                "seen": item.group not in split.unseen,
            }
            for item, score in zip(split.test, scores, strict=True)
        ]
    }


def _narrowed(split: Split, limit: int | None) -> Split:
    part = Split(split.train[:limit], split.test[:limit])
    if not part.test:
        raise ConfigError("a split holds no test items; raise limit")
    return part


def _by_category(items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = sorted({item["category"] for item in items})
    return {n: float(np.mean([(i["score"] > 0.5) == i["unsafe"] for i in items if i["category"] == n])) for n in names}


def _flat(estimates: Mapping[str, Any]) -> Metrics:
    flat: dict[str, Any] = {}
    for name, estimate in estimates.items():
        flat |= {name: estimate.value, f"{name}_interval": estimate.interval}
    return flat
