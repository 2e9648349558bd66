"""What follows from the rows of `cache`: rises in perplexity, gaps beside peers, far tokens, speed-ups."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.sentinel import loss_files, measuring
from tenfold.systems.sentinel.cache_settings import FULL, CacheConfig, contenders
from tenfold.systems.sentinel.contenders import Contender
from tenfold.systems.sentinel.data import Window

FAR_SHARE = 0.1


def metrics(config: CacheConfig, run: Run, found: Sequence[Window]) -> Metrics:
    """Everything that follows from the rows."""
    rows = [row for row in run.rows.values() if "nll_sum" in row]
    names = list(dict.fromkeys(row["arm"] for row in rows))
    lines = {name: _line(name, rows, config) for name in names}
    timed = run.rows.get("speed")
    result: Metrics = {
        "model": config.model,
        "data": config.data,
        "length": config.length,
        "windows": len(found),
        "fractions": list(config.fractions),
        "contenders": lines,
        **({"speed": {key: value for key, value in timed.items() if key != "key"}} if timed else {}),
    }
    if lines:
        result |= _headline(config, rows, lines, run.folder, found)
    return result | (_speedups(timed) if timed else {})


def _headline(
    config: CacheConfig, rows: Sequence[Any], lines: dict[str, Any], folder: Path, found: Sequence[Window]
) -> dict[str, Any]:
    """The quoted numbers, at the first fraction."""
    fraction, names = config.fractions[0], [contender.name for contender in contenders(config)]
    ours, streaming, separator = names[:3]
    chosen = [row for row in rows if row["arm"] == ours and row["fraction"] == fraction]
    return {
        "kv_fraction": max(row["held"] for row in chosen) / config.length,
        "kv_peak_fraction": max(row["peak"] for row in chosen) / config.length,
        "kv_bytes": max(row["held"] for row in chosen) * chosen[0]["entry_bytes"],
        "kv_bytes_allocated": max(row["allocated"] for row in chosen),
        "kv_bytes_full": config.length * chosen[0]["entry_bytes"],
        "ppl_rise": lines[ours]["rise"][str(fraction)]["value"],
        "ppl_rise_ci": lines[ours]["rise"][str(fraction)]["ci"],
        "gap_vs_streaming": _gap(rows, ours, streaming, fraction),
        "gap_vs_separators": _gap(rows, ours, separator, fraction),
        "far": far(config, folder, found, names),
    }


def _line(name: str, rows: Sequence[Any], config: CacheConfig) -> dict[str, Any]:
    own = [row for row in rows if row["arm"] == name]
    full = [row for row in own if row["fraction"] == FULL]
    parts = {str(f): [row for row in own if row["fraction"] == f] for f in config.fractions}
    return {
        "full": measuring.perplexity(full),
        "compact": {f: measuring.perplexity(part) for f, part in parts.items()},
        "rise": {f: measuring.change(part, full) for f, part in parts.items()},
        "held": {f: max(row["held"] for row in part) for f, part in parts.items()},
    }


def _gap(rows: Sequence[Any], ours: str, peer: str, fraction: float) -> dict[str, Any]:
    """Our gap to our full cache as a share of the peer's gap to its own."""

    def gap(name: str) -> float:
        own = [row for row in rows if row["arm"] == name]
        pairs = measuring.paired(
            [row for row in own if row["fraction"] == fraction], [row for row in own if row["fraction"] == FULL]
        )
        return sum(row["nll_sum"] - full["nll_sum"] for row, full in pairs)

    mine, theirs = gap(ours), gap(peer)
    return {"value": mine / theirs if theirs > 0 else None, "ours": mine, "theirs": theirs}


def far(config: CacheConfig, folder: Path, found: Sequence[Window], names: Sequence[str]) -> dict[str, Any]:
    """Perplexities on the tokens that need what is far away, as the untrained base has it."""
    fraction, judge = config.fractions[0], Contender("streaming", None)
    losses = {
        (name, part, window): loss_files.load(folder, loss_files.key_of(name, part, window))
        for name in {*names, judge.name}
        for part in (FULL, fraction)
        for window in found
    }
    needs = np.concatenate([losses[judge.name, fraction, w] - losses[judge.name, FULL, w] for w in found])
    chosen = np.sort(np.argsort(-needs)[: max(1, int(len(needs) * FAR_SHARE))])

    def ppl(name: str, part: float) -> float:
        return float(np.exp(np.concatenate([losses[name, part, w] for w in found])[chosen].mean()))

    return {
        "tokens": len(chosen),
        "list_sha256": hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest(),
        "perplexity": {name: {"full": ppl(name, FULL), "compact": ppl(name, fraction)} for name in names},
    }


def _speedups(timed: dict[str, Any]) -> dict[str, Any]:
    seconds = timed["seconds"]
    result: dict[str, Any] = {}
    for batch, times in seconds.items():
        result[f"decode_vs_transformers_batch{batch}"] = times["transformers"] / times["compact"]
        result[f"decode_vs_lean_batch{batch}"] = times["lean"] / times["compact"]
        result[f"compaction_share_batch{batch}"] = max(0.0, 1 - times["compact"] / times["compact_mean"])
    first = next(iter(seconds))
    result["decode_speedup"] = result[f"decode_vs_transformers_batch{first}"]
    result["decode_speedup_batch8"] = result.get("decode_vs_lean_batch8")
    return result


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['model']}, windows of {metrics['length']} tokens of {metrics['data']} ({metrics['windows']})"]
    for name, line in metrics["contenders"].items():
        for fraction, rise in line["rise"].items():
            lines.append(
                f"{name:>22} at {float(fraction):4.0%}: {line['held'][fraction]:5d} entries, perplexity "
                f"{line['compact'][fraction]['ppl']:.3f}, full {line['full']['ppl']:.3f} ({rise['value']:+.2%})"
            )
    if "kv_fraction" in metrics:
        mib = metrics["kv_bytes"] / 2**20
        lines.append(
            f"cache {mib:.1f} MiB = {metrics['kv_fraction']:.1%} of the full one; gap to full as a share of streaming's "
            f"{_share(metrics['gap_vs_streaming'])}, of the separators' {_share(metrics['gap_vs_separators'])}"
        )
    for batch, times in metrics.get("speed", {}).get("seconds", {}).items():
        lines.append(
            f"batch {batch}: {1e3 * times['compact']:.1f} ms a step; {times['transformers'] / times['compact']:.2f}x "
            f"Transformers' full cache, {times['lean'] / times['compact']:.2f}x our own "
            f"(at best {metrics['speed']['bound'][batch]:.2f}x)"
        )
    return "\n".join(lines)


def _share(gap: dict[str, Any]) -> str:
    return "unknown (it has none)" if gap["value"] is None else f"{gap['value']:.2f}"
