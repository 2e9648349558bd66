"""What pruned models lost: perplexities, and by how much an allocation cuts uniform's gap to the dense model.

Intervals are over texts, drawn anew and the same for both sides; losses of several calibration seeds are averaged text by
text.
"""

# B texts
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.evals.statistics import cluster_bootstrap

DRAWS = 2000
Floats = NDArray[np.float64]


def measures(rows: Mapping[str, Any], seeds: Sequence[int]) -> dict[str, Any]:
    """Perplexity by sparsity and allocation from a run's rows, with `ours` for the search under each percentage."""
    dense_B = np.array(rows["dense"]["losses"])
    results = [row for key, row in rows.items() if key.startswith("result/")]
    found: dict[str, Any] = {}
    for sparsity in dict.fromkeys(row["sparsity"] for row in results):
        mine = [row for row in results if row["sparsity"] == sparsity]
        found[str(sparsity)] = _by_allocation(mine, dense_B)
    flat = {
        f"{round(float(sparsity) * 100)}": {
            ("ours" if name == "search" else name): one["perplexity"] for name, one in by.items()
        }
        for sparsity, by in found.items()
    }
    signals = {row["signal"]: row["values"] for key, row in rows.items() if key.startswith("signal/")}
    return {
        "dense": float(np.exp(dense_B.mean())),
        "seeds": list(seeds),
        "texts": len(dense_B),
        "sparsities": found,
        "signals": signals,
        **flat,
    }


def _by_allocation(rows: Sequence[Mapping[str, Any]], dense_B: Floats) -> dict[str, Any]:
    names = dict.fromkeys(row["allocation"] for row in rows)
    losses = {name: np.mean([row["losses"] for row in rows if row["allocation"] == name], axis=0) for name in names}
    plans = {row["allocation"]: row["plan"] for row in rows}
    by_seed = {name: [float(np.exp(np.mean(row["losses"]))) for row in rows if row["allocation"] == name] for name in names}
    return {
        name: {
            "perplexity": float(np.exp(losses[name].mean())),
            "by_seed": by_seed[name],
            "gap_cut": _gap_cut(losses.get("uniform"), losses[name], dense_B) if name != "uniform" else None,
            "plan": plans[name],
        }
        for name in names
    }


def _gap_cut(uniform_B: Floats | None, other_B: Floats, dense_B: Floats) -> dict[str, Any] | None:
    """1 - (other's log-perplexity gap) / (uniform's), with its interval; None where uniform was not measured."""
    if uniform_B is None:
        return None

    def cut(index: Any) -> float:
        gap = float((uniform_B[index] - dense_B[index]).mean())
        return 1 - float((other_B[index] - dense_B[index]).mean()) / gap if gap > 0 else float("nan")

    if np.isnan(cut(np.arange(len(dense_B)))):
        return None
    estimate = cluster_bootstrap(cut, [str(place) for place in range(len(dense_B))], draws=DRAWS)
    return {"value": estimate.value, "interval": estimate.interval}
