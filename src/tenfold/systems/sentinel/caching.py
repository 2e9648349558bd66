"""The verb `cache`: what a compacted cache costs in perplexity beside peers of the same size, and what it gains.

One row per (contender, fraction, document, window). Losses of single tokens lie in `losses/` of the run, so that far tokens
can be picked out: the tenth that loses most when the untrained base sees only first tokens and a window.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BeforeValidator, Field, model_validator

from tenfold.core.config import Config, Names, parse, split_commas
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import Dtype
from tenfold.store.environment import ContentionMeter
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.sentinel import measuring, speed
from tenfold.systems.sentinel.bases import open_base, sentinel_ids, start_embedding
from tenfold.systems.sentinel.compare import dev_windows
from tenfold.systems.sentinel.contenders import Contender, Kind, Plan, kept_rate, plan, reader
from tenfold.systems.sentinel.data import Window
from tenfold.systems.sentinel.footprint import best_gain, footprint, per_entry
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.systems.sentinel.wrapping import EngineName, engine_of, open_trained

FULL = 1.0
FAR_SHARE = 0.1


class CacheConfig(Config):
    """Measure a compacted cache: perplexity, entries and bytes, speed, beside other ways to keep as much."""

    model: str = "smollm2"
    """Base of the contenders without a training of their own."""
    adapter: str = ""
    """Adapter folder of a sentinel training; empty: untrained sentinels."""
    streaming: str = ""
    """Adapter folder trained with first tokens and a window (arm streaming); empty: untrained."""
    separators: str = ""
    """Adapter folder trained with the separator rule; empty: untrained."""
    data: str = "gutenberg"
    """Text to measure on."""
    length: int = Field(7680, ge=64)
    """Original tokens in a window."""
    windows: int = Field(4, ge=1)
    """Windows to measure; 0 with measure=speed is the same as leaving perplexity out."""
    fractions: Annotated[tuple[float, ...], BeforeValidator(split_commas), Field(min_length=1)] = (0.15,)
    """Sizes of the compacted cache, as shares of the full one; the first is the one that is quoted."""
    measure: Names = ("perplexity", "speed")
    """What to measure: perplexity, speed."""
    batch: Annotated[tuple[int, ...], BeforeValidator(split_commas), Field(min_length=1)] = (1, 8)
    """Rows in the timed steps."""
    steps: int = Field(64, ge=2)
    """Timed steps; the median counts."""
    block: int = Field(64, ge=1)
    """The window moves on by so many tokens."""
    max_chunk: int = Field(128, ge=1)
    """A longer chunk is closed wherever it is; where there is an adapter, as it was trained."""
    engine: EngineName = "auto"
    """What computes: lean, transformers, or auto."""
    dtype: Dtype = "bf16"
    """Type of the weights."""

    @model_validator(mode="after")
    def _knows_what(self) -> "CacheConfig":
        unknown = [name for name in self.measure if name not in ("perplexity", "speed")]
        if unknown:
            raise ValueError(f"measure names {unknown[0]!r}; perplexity and speed are accepted")
        return self


def cache(config: CacheConfig, run: Run) -> Metrics:
    """Reads the windows that the run does not hold yet, times the steps, and sums up."""
    base = open_base(config.model, dtype=config.dtype)
    ids = sentinel_ids(base, _settings(config))
    found = dev_windows(config.data, base, config.length, config.windows)
    if len(found[0].ids) < config.length:
        raise ConfigError(
            f"text {config.data!r} has no window of {config.length} tokens; lower length or take a longer text"
        )
    found = [window for window in found if len(window.ids) == config.length]
    del base
    if "perplexity" in config.measure:
        for contender in contenders(config):
            _read(config, run, contender, found, ids)
    if "speed" in config.measure and "speed" not in run.rows:
        run.add("speed", measure_speed(config, found[0], ids))
    return metrics(config, run, found)


def contenders(config: CacheConfig) -> list[Contender]:
    """The method first; untrained streaming always, as it says which tokens are far."""
    given: dict[Kind, str] = {"sentinels": config.adapter, "streaming": config.streaming, "separators": config.separators}
    found = [Contender(kind, adapter or None) for kind, adapter in given.items()]
    return found if not config.streaming else [*found, Contender("streaming", None)]


def _settings(config: CacheConfig) -> SentinelConfig:
    return parse(SentinelConfig, {"block": config.block, "max_chunk": config.max_chunk})


def _read(config: CacheConfig, run: Run, contender: Contender, found: Sequence[Window], ids: Sequence[int]) -> None:
    places = [(fraction, window) for fraction in (FULL, *config.fractions) for window in found]
    todo = [place for place in places if _key(contender, *place) not in run.rows]
    if not todo:
        return
    if contender.adapter:
        base, model, record = open_trained(contender.adapter, base=config.model, dtype=config.dtype)
        settings = record.config.changed(block=config.block)
    else:
        base, settings = open_base(config.model, dtype=config.dtype), _settings(config)
        model = base.model
        if contender.kind == "sentinels":
            start_embedding(base.model, base.codec, ids)
    rate = kept_rate(contender.kind, [window.ids for window in found], base, settings, ids)
    plans = {fraction: _plan(config, contender.kind, fraction, rate, settings) for fraction in config.fractions}
    engine = engine_of(model, config.engine, 1)
    label = f"Reading with {contender.name}"
    for fraction, window in track(todo, label, done=len(places) - len(todo)):
        chosen = plans.get(fraction)
        lm = reader(contender.kind, engine, base, settings, ids, chosen)
        losses = lm.losses(window.ids)
        names = {"arm": contender.name, "seed": None, "text": config.data, "fraction": fraction}
        row = measuring.row_of(losses, window, base.codec.pieces, **names)
        used = footprint(lm.engine)
        counts = {"held": lm.most_held, "peak": lm.peak, "entry_bytes": used.per_entry, "allocated": used.allocated}
        key = _key(contender, fraction, window)
        _save(run.folder, key, losses)
        run.add(key, row | counts | {"planned": chosen.entries if chosen else None})


def _plan(config: CacheConfig, kind: Kind, fraction: float, rate: float, settings: SentinelConfig) -> Plan:
    return plan(kind, int(fraction * config.length), config.length, rate, settings)


def measure_speed(config: CacheConfig, window: Window, ids: Sequence[int]) -> dict[str, Any]:
    """Seconds of a step: compact, our full cache, Transformers' full cache; for each number of rows."""
    meter = ContentionMeter()
    if config.adapter:
        base, model, record = open_trained(config.adapter, base=config.model, dtype=config.dtype)
        settings = record.config.changed(block=config.block)
    else:
        base, settings = open_base(config.model, dtype=config.dtype), _settings(config)
        model = base.model
    rate = kept_rate("sentinels", [window.ids], base, settings, ids)
    entries = _plan(config, "sentinels", config.fractions[0], rate, settings).entries
    lm = reader("sentinels", engine_of(model, config.engine, 1), base, settings, ids, _filling(entries, rate, settings))
    if not isinstance(lm.engine, LeanLlama):
        raise ConfigError(f"speed is measured with the engine lean, which does not compute {config.model}; leave speed out")
    full = engine_of(model, "lean", 1)
    assert isinstance(full, LeanLlama), type(full)
    room = 2 * (speed.WARM_UP + config.steps)
    read = min(len(window.ids), base.max_positions - room)
    lm.prefill([window.ids[:entries]])
    rows = {}
    for batch in config.batch:
        times = speed.step_times(speed.compact_step(speed.copied(lm, batch), window.ids), config.steps)
        rows[str(batch)] = {
            "compact": median(times),
            "compact_mean": fmean(times),
            "lean": speed.step_seconds(speed.lean_step(full.with_rows(batch), read), config.steps),
            "transformers": speed.step_seconds(speed.transformers_step(base.model, read, batch), config.steps),
        }
    entry = per_entry(base.model.config, 4)
    weights = sum(weight.numel() * weight.element_size() for weight in base.model.parameters())
    return {
        "seconds": rows,
        "length": read,
        "entries": lm.entries[0],
        "bound": {str(batch): best_gain(weights, entry, read, lm.entries[0], batch) for batch in config.batch},
        "kernel": lm.engine.kernel,
        "threads": torch.get_num_threads(),
        "contention": meter.read(),
    }


def _filling(entries: int, rate: float, settings: SentinelConfig) -> Plan:
    """A plan under which a text of `entries` tokens fills the cache: a step's time goes by how many entries there are."""
    sentinels = max(1, round(entries * rate))
    return Plan(entries, max(settings.max_chunk, entries - settings.n_sink - settings.block - sentinels), sentinels)


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
        (name, part, window): _load(folder, _key_of(name, part, window))
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


def _key(contender: Contender, fraction: float, window: Window) -> str:
    return _key_of(contender.name, fraction, window)


def _key_of(name: str, fraction: float, window: Window) -> str:
    return f"{name}/{fraction:g}/{window.document}/{window.number}"


def _file(folder: Path, key: str) -> Path:
    return folder / "losses" / f"{key.replace('/', '-').replace(', ', '-')}.npy"


def _save(folder: Path, key: str, losses: torch.Tensor) -> None:
    path = _file(folder, key)
    path.parent.mkdir(exist_ok=True)
    np.save(path, losses.numpy().astype(np.float32))


def _load(folder: Path, key: str) -> Any:
    return np.load(_file(folder, key)).astype(np.float64)
