"""The verb `cache`: what a compacted cache costs in perplexity beside peers of the same size, and what it gains.

One row per (contender, fraction, document, window). Losses of single tokens lie in `losses/` of the run, so that far tokens
can be picked out: the tenth that loses most when the untrained base sees only first tokens and a window.
"""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

import torch

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn.lean_llama import LeanLlama
from tenfold.store.environment import ContentionMeter
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.sentinel import loss_files, measuring, speed
from tenfold.systems.sentinel.bases import open_base, sentinel_ids, start_embedding
from tenfold.systems.sentinel.cache_results import metrics
from tenfold.systems.sentinel.cache_settings import FULL, CacheConfig, contenders
from tenfold.systems.sentinel.compare import dev_windows
from tenfold.systems.sentinel.contenders import Contender, Kind, Plan, kept_rate, plan, reader
from tenfold.systems.sentinel.data import Window
from tenfold.systems.sentinel.footprint import best_gain, footprint, per_entry
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.systems.sentinel.wrapping import engine_of, open_trained


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


def _settings(config: CacheConfig) -> SentinelConfig:
    return parse(SentinelConfig, {"block": config.block, "max_chunk": config.max_chunk})


def _read(config: CacheConfig, run: Run, contender: Contender, found: Sequence[Window], ids: Sequence[int]) -> None:
    places = [(fraction, window) for fraction in (FULL, *config.fractions) for window in found]
    todo = [place for place in places if loss_files.key_of(contender.name, *place) not in run.rows]
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
        key = loss_files.key_of(contender.name, fraction, window)
        loss_files.save(run.folder, key, losses)
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
