"""The verb `calibrate`: from scores on items that training has not seen to thresholds with promised error rates.

Half of the groups fit the map of the scores, the other half the thresholds. The scores come from the rows of an `eval` run
of the same guard, or are computed here. The run's folder is then itself a guard, with calibration.json beside guard.json.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tenfold.core.config import Config, read_toml
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.core.records import Metrics
from tenfold.store import atomic, runs
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.shieldlm import judging, measures
from tenfold.systems.shieldlm.calibrate import equal_mass_error, null_error
from tenfold.systems.shieldlm.calibrator import CONTENT_FREE, WEIGHTS, Calibrator, Method, Prior, stratum
from tenfold.systems.shieldlm.data import held_out_items
from tenfold.systems.shieldlm.guard import Guard
from tenfold.systems.shieldlm.items import LABELS, Item
from tenfold.systems.shieldlm.opening import CALIBRATION, GUARD, guard_folder, identity, is_guard, open_scorer, read_guard
from tenfold.systems.shieldlm.rules import read_pack
from tenfold.systems.shieldlm.stream import StreamGuard

ROWS = "results.jsonl"


class CalibrateConfig(Config):
    """Fit probabilities and thresholds with promised error rates."""

    guard: str = "smollm2"
    """Folder of a train run, or any model's name."""
    data: str = "diasafety"
    """A set (its test part) or a JSONL file with labels; no item may have been learnt."""
    scores: Path | None = None
    """An eval run of the same guard whose rows hold the scores; computed here if left out."""
    limit: int | None = Field(None, ge=20)
    """Items, if they are scored here."""
    method: Method = "temperature"
    """temperature, isotonic or none."""
    prior: Prior = "none"
    """contextual (content-free texts), batch (the items' mean) or none."""
    strictness: str = "even"
    """How controversial counts: loose (as safe), even, strict (as unsafe)."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Promised share of safe items that are blocked."""
    beta: float = Field(0.05, gt=0, lt=1)
    """Promised share of unsafe items that are allowed."""
    delta: float | None = Field(None, gt=0, lt=1)
    """If given, the promise about safe items holds for this very threshold with probability 1 - delta."""
    stream_items: int = Field(0, ge=0)
    """Items that are also streamed, for thresholds on the highest score among their probes."""
    packs: tuple[str, ...] = ("base-en", "base-zh")
    """Packs that the thresholds are bound to."""
    seed: int = 0
    """Of the halves."""


def calibrate(config: CalibrateConfig, run: Run) -> Metrics:
    """Fits, judges the fit on the other half, and leaves a guard."""
    if config.strictness not in WEIGHTS:
        raise ConfigError(f"strictness is {config.strictness!r}; give {', '.join(WEIGHTS)}")
    scorer = open_scorer(config.guard)
    packs = [read_pack(name) for name in config.packs]
    bound = {**identity(scorer), **{f"pack-{pack.lang}": pack.fingerprint for pack in packs}}
    guard = Guard(scorer, None, packs, ids=bound)
    rows = _stored(config) if config.scores else _scored(config, run, guard)
    fitted, metrics = fit(
        rows, config, bound, _content_free(guard, rows[0]["lang"]) if config.prior == "contextual" else None
    )
    if config.stream_items:
        fitted = _with_streams(fitted, config, run, guard)
    _leave(config, run, fitted)
    return {"guard": config.guard, "data": config.data, **metrics}


def fit(
    rows: Sequence[Mapping[str, Any]], config: CalibrateConfig, bound: Mapping[str, str], content_free: Any = None
) -> tuple[Calibrator, Metrics]:
    """The calibrator from scored rows, and how it does on the half that fitted the thresholds."""
    logp_N3 = np.array([judging.logps(row) for row in rows])
    unsafe_N = np.array([row["unsafe"] for row in rows])
    first_N = measures.half_of_clusters([row["group"] for row in rows], config.seed)
    fitted = Calibrator.fit(
        logp_N3[first_N],
        unsafe_N[first_N].tolist(),
        method=config.method,
        prior=config.prior,
        content_free_N3=content_free,
        weight=WEIGHTS[config.strictness],
        bound_to=bound,
    )
    score_N, truth_N = fitted.scores(logp_N3[~first_N]), unsafe_N[~first_N]
    lang = rows[0]["lang"]
    fitted = fitted.with_limits(
        stratum(lang, False), score_N, truth_N.tolist(), alpha=config.alpha, beta=config.beta, delta=config.delta
    )
    limits = fitted.limits[stratum(lang, False)]
    null_mean, _ = null_error(score_N)
    return fitted, {
        "method": config.method,
        "prior": config.prior,
        "temperature": fitted.temperature,
        "items_map": int(first_N.sum()),
        "items_thresholds": int((~first_N).sum()),
        "ece_before": equal_mass_error(Calibrator(weight=fitted.weight).scores(logp_N3[~first_N]), truth_N),
        "ece_after": equal_mass_error(score_N, truth_N),
        "ece_null_mean": null_mean,
        "accuracy": float(((score_N > 0.5) == truth_N).mean()),
        "allow_below": limits.allow_below,
        "block_above": limits.block_above,
        "alpha": config.alpha,
        "beta": config.beta,
        "reviewed": float(((score_N >= limits.allow_below) & (score_N <= limits.block_above)).mean()),
        "caught": float((score_N[truth_N] > limits.block_above).mean()),
    }


def summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    return (
        f"ECE {metrics['ece_before']:.3f} -> {metrics['ece_after']:.3f} (a perfect model: {metrics['ece_null_mean']:.3f})\n"
        f"block above {metrics['block_above']:.3f}, allow below {metrics['allow_below']:.3f}\n"
        f"promised: at most {metrics['alpha']:.1%} of safe texts blocked, {metrics['beta']:.1%} of unsafe ones allowed; "
        f"{metrics['caught']:.1%} of unsafe texts are blocked at once, {metrics['reviewed']:.1%} of all go to review\n"
        "the run's folder is the calibrated guard"
    )


def _scored(config: CalibrateConfig, run: Run, guard: Guard) -> Sequence[Mapping[str, Any]]:
    items = held_out_items(config.data)[: config.limit]
    judging.judge(run, "Items", list(judging.item_work(guard, items, frozenset())))
    return [run.rows[f"item/{item.key}"] for item in items]


def _stored(config: CalibrateConfig) -> Sequence[Mapping[str, Any]]:
    assert config.scores is not None
    folder = config.scores.parent if config.scores.name == ROWS else config.scores
    if not (folder / "config.toml").is_file():
        raise MissingArtifactError(f"no run at {str(config.scores)!r}; give the folder of an eval run, or its {ROWS}")
    judged = str(read_toml(folder / "config.toml").get("guard"))
    if guard_folder(judged).resolve() != guard_folder(config.guard).resolve():
        raise ConfigError(f"{folder} judged {judged!r}, not {config.guard!r}; give an eval run of this guard")
    rows = [row for row in runs.read_rows(folder) if row["key"].startswith("item/")]
    if not rows:
        raise ConfigError(f"{config.scores} holds no scores of a language model; give an eval run with --guard and labels")
    return rows


def _content_free(guard: Guard, lang: Any) -> list[list[float]]:
    return [[guard.scorer.score("", text, lang=lang).logps[label] for label in LABELS] for text in CONTENT_FREE]


def _with_streams(fitted: Calibrator, config: CalibrateConfig, run: Run, guard: Guard) -> Calibrator:
    """Thresholds for streams, on the highest score among each item's probes."""
    guard.calibrator = fitted
    items = [item for item in held_out_items(config.data) if item.response.strip()][: config.stream_items]
    todo = [item for item in items if f"stream/{item.key}" not in run.rows]
    for item in track(todo, "Streams", done=len(items) - len(todo)):
        run.add(f"stream/{item.key}", {"unsafe": item.label == "unsafe", "score": highest_score(guard, item)})
    rows = [run.rows[f"stream/{item.key}"] for item in items]
    return fitted.with_limits(
        stratum(items[0].lang, False),
        [row["score"] for row in rows],
        [row["unsafe"] for row in rows],
        alpha=config.alpha,
        beta=config.beta,
        stream=True,
    )


def highest_score(guard: Guard, item: Item) -> float:
    """The highest score among the probes of a response that is streamed to its end."""
    watch = StreamGuard(guard, item.query, lang=item.lang, threshold=2.0)
    for character in item.response:
        watch.feed(character)
    watch.finish()
    return max(probe.score for probe in watch.probes)


def _leave(config: CalibrateConfig, run: Run, fitted: Calibrator) -> None:
    atomic.write_text(run.folder / CALIBRATION, fitted.model_dump_json(indent=1) + "\n")
    if not is_guard(config.guard):
        atomic.write_json(run.folder / GUARD, {"model": config.guard})
        return
    file = read_guard(config.guard)
    assert file.folder is not None
    atomic.write_json(run.folder / GUARD, json.loads((file.folder / GUARD).read_text(encoding="utf-8")))
    if file.adapter and not (run.folder / file.adapter).exists():
        shutil.copytree(file.folder / file.adapter, run.folder / file.adapter)
