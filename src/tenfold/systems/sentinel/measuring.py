"""Rows of measured windows: summed nats, tokens, bytes, by position in the window; and what follows from many rows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import exp, log
from typing import Any

from torch import Tensor

from tenfold.evals.statistics import Estimate, cluster_ratio
from tenfold.systems.sentinel.data import Window

BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
"""Upper ends of the ranges of positions."""
Row = Mapping[str, Any]
Key = Callable[[Row], Any]


def row_of(losses: Tensor, window: Window, pieces: Sequence[bytes], **names: Any) -> dict[str, Any]:
    """A result row. `losses` are those of all tokens but the first."""
    edges = [0, *BUCKETS]
    parts = {str(end): losses[start - (start > 0) : end - 1] for start, end in zip(edges, BUCKETS, strict=False)}
    return {
        **names,
        "document": window.document,
        "window": window.number,
        "nll_sum": float(losses.double().sum()),
        "n_tokens": len(losses),
        "n_bytes": sum(len(pieces[token]) for token in window.ids[1:]),
        "buckets": {name: [float(part.double().sum()), len(part)] for name, part in parts.items() if len(part)},
    }


def perplexity(rows: Sequence[Row]) -> dict[str, Any]:
    """{ppl, ci, bits_per_byte, tokens} of rows; the interval is over documents and seeds."""
    found = cluster_ratio([row["nll_sum"] for row in rows], [row["n_tokens"] for row in rows], _clusters(rows))
    bits = sum(row["nll_sum"] for row in rows) / log(2) / sum(row["n_bytes"] for row in rows)
    return {
        "ppl": exp(found.value),
        "ci": [exp(found.low), exp(found.high)],
        "bits_per_byte": bits,
        "tokens": sum(row["n_tokens"] for row in rows),
    }


def change(rows: Sequence[Row], others: Sequence[Row]) -> dict[str, Any] | None:
    """{value, ci}: by which share the perplexity of `rows` is above that of `others` (negative: below), same windows."""
    pairs = paired(rows, others)
    if not pairs:
        return None
    gaps = [row["nll_sum"] - other["nll_sum"] for row, other in pairs]
    found = cluster_ratio(gaps, [row["n_tokens"] for row, _ in pairs], _clusters([row for row, _ in pairs]))
    return {"value": exp(found.value) - 1, "ci": [exp(found.low) - 1, exp(found.high) - 1]}


def paired(rows: Iterable[Row], others: Iterable[Row]) -> list[tuple[Row, Row]]:
    """Rows of the same window and seed; rows without a seed of their own (the untrained base) pair with every seed."""
    by_place = {_place(row): row for row in others}
    found = []
    for row in rows:
        document, text, window, seed = _place(row)
        other = by_place.get((document, text, window, seed)) or by_place.get((document, text, window, None))
        if other is not None:
            found.append((row, other))
    return found


def gap_ratio(a: Sequence[Row], b: Sequence[Row], full: Sequence[Row]) -> Estimate | None:
    """(nats a - full) / (nats b - full): which share of b's gap to the full cache is left with a."""
    triples = [(x, y, z) for (x, z), (y, _) in zip(paired(a, full), paired(b, full), strict=True)]
    top = [x["nll_sum"] - z["nll_sum"] for x, _, z in triples]
    bottom = [y["nll_sum"] - z["nll_sum"] for _, y, z in triples]
    return cluster_ratio(top, bottom, _clusters([x for x, _, _ in triples])) if triples and sum(bottom) else None


def by_position(rows: Sequence[Row]) -> dict[str, float]:
    """Perplexity in each range of positions, by its upper end."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        for name, (nats, tokens) in row["buckets"].items():
            total = sums.setdefault(name, [0.0, 0.0])
            total[0] += nats
            total[1] += tokens
    return {name: exp(nats / tokens) for name, (nats, tokens) in sums.items()}


def _place(row: Row) -> tuple[Any, ...]:
    return row["document"], row["text"], row["window"], row.get("seed")


def _clusters(rows: Sequence[Row]) -> list[str]:
    return [f"{row['document']}/{row.get('seed')}" for row in rows]
