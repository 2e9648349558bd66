"""From the rows of a comparison to its metrics: one line of the table for each method, and all methods beside LoRA."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from tenfold.core.records import Metrics
from tenfold.evals.statistics import Estimate
from tenfold.systems.plora.ability import learning_ability, mean_loss
from tenfold.systems.plora.methods import TITLES

Row = Mapping[str, Any]
MEASURES = {"train_probe": "probe", "dev": "dev"}
ORDER_TOLERANCE = 1e-3
"""First losses of two methods may differ by rounding, and by no more, if the first batch was the same."""


def outcome(base: Row, chosen: Mapping[str, Sequence[Row]]) -> Metrics:
    """The metrics of a comparison.

    Args:
        base: the row of the untrained model.
        chosen: for each method its rows at the rate taken, one for each seed in the same order.
    """
    lora = chosen["lora"]
    table = [_line(method, rows, base) for method, rows in chosen.items()]
    abilities = {method: _abilities(base, rows, lora) for method, rows in chosen.items()}
    for line in table:
        line["learning_ability"] = abilities[line["method"]]
    others = {method: rows for method, rows in chosen.items() if method != "lora"}
    return {
        "rows": lora[0]["rows"],
        "steps": len(lora[0]["losses"]),
        "seeds": [row["seed"] for row in lora],
        "tokens": lora[0]["tokens"],
        "base": {name: _loss(base, [base], of) for name, of in MEASURES.items()}
        | {"text": base["text_loss"]}
        | _exact([base]),
        "methods": table,
        "learning_ability_vs_lora": {method: abilities[method] for method in others},
        "peak_memory_vs_lora": {method: _memory_ratio(rows, lora) for method, rows in others.items()},
        "time_vs_lora": {method: _ratio(rows, lora, "seconds_per_step") for method, rows in others.items()},
        "same_first_batch": all(_same_start(rows, lora) for rows in others.values()),
        "contention": max((row["contention"] or 0.0 for rows in chosen.values() for row in rows), default=0.0),
    }


def _line(method: str, rows: Sequence[Row], base: Row) -> dict[str, Any]:
    """All columns of the table, means over the seeds."""
    return {
        "method": method,
        "title": TITLES[method],
        "rate": rows[0]["rate"],
        "trainable": rows[0]["trainable"],
        "stages": len(rows[0]["unloads"]) + 1,
        "rank": fmean(row["rank"] for row in rows),
        "train_probe_loss": _loss(base, rows, "probe"),
        "dev_loss": _loss(base, rows, "dev"),
        "forgetting": fmean(row["text_loss"] for row in rows) - base["text_loss"],
        "peak_anonymous_bytes": _highest(rows, "peak_anonymous"),
        "peak_device_bytes": _highest(rows, "peak_device"),
        "seconds": fmean(row["seconds"] for row in rows),
        "seconds_per_step": fmean(row["seconds_per_step"] for row in rows),
        "tokens_per_second": fmean(row["tokens_per_second"] for row in rows),
        "unload_seconds": fmean(row["unload_seconds"] for row in rows),
    } | _exact(rows)


def _exact(rows: Sequence[Row]) -> dict[str, Any]:
    """Share of right answers and number of unparsable ones, where answers were asked for."""
    if "exact" not in rows[0]:
        return {}
    return {
        "exact_match": fmean(fmean(row["exact"]) for row in rows),
        "unparsable": fmean(row["unparsable"] for row in rows),
    }


def _loss(base: Row, rows: Sequence[Row], of: str) -> float:
    return mean_loss([row[of]["nats"] for row in rows], base[of]["tokens"])


def _abilities(base: Row, rows: Sequence[Row], lora: Sequence[Row]) -> dict[str, Any]:
    return {name: _as_json(_ability(base, rows, lora, of)) for name, of in MEASURES.items()}


def _ability(base: Row, rows: Sequence[Row], lora: Sequence[Row], of: str) -> Estimate | None:
    nats, lora_nats = ([row[of]["nats"] for row in each] for each in (rows, lora))
    return learning_ability(base[of]["nats"], nats, lora_nats)


def _as_json(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else {"value": estimate.value, "interval": estimate.interval}


def _memory_ratio(rows: Sequence[Row], lora: Sequence[Row]) -> float | None:
    """Of device memory where there is a device, else of the process's own."""
    of_device = _highest(rows, "peak_device"), _highest(lora, "peak_device")
    ours, theirs = (
        of_device if None not in of_device else (_highest(rows, "peak_anonymous"), _highest(lora, "peak_anonymous"))
    )
    return ours / theirs if ours and theirs else None


def _highest(rows: Sequence[Row], name: str) -> int | None:
    return max((row[name] for row in rows if row[name] is not None), default=None)


def _ratio(rows: Sequence[Row], lora: Sequence[Row], name: str) -> float:
    return fmean(row[name] for row in rows) / fmean(row[name] for row in lora)


def _same_start(rows: Sequence[Row], lora: Sequence[Row]) -> bool:
    """An untrained adapter changes nothing, so the first loss tells whether the first batch was the same."""
    pairs = zip(rows, lora, strict=True)
    return all(
        abs(ours["losses"][0] - theirs["losses"][0]) <= ORDER_TOLERANCE * theirs["losses"][0] for ours, theirs in pairs
    )
