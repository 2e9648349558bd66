"""The verbs `check` (one text or a file of pairs) and `stream` (a text as if it were being written)."""

import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.shieldlm.audit import AuditLog
from tenfold.systems.shieldlm.data import read_items
from tenfold.systems.shieldlm.guard import Verdict
from tenfold.systems.shieldlm.items import Item
from tenfold.systems.shieldlm.opening import open_guard
from tenfold.systems.shieldlm.prompting import Lang
from tenfold.systems.shieldlm.stream import StreamGuard

CHUNK = 16
"""Characters that `stream` feeds at a time."""


class CheckConfig(Config):
    """Judge a response, or every pair of a file, and say why."""

    guard: str = "smollm2"
    """Folder of a train or calibrate run, or any model's name (untrained)."""
    query: str = ""
    """What was asked; may be empty."""
    response: str = ""
    """What is judged."""
    file: Path | None = None
    """A JSONL file of {query, response} instead."""
    rules: Names = ()
    """Rules of the pack (bias:strict, all:loose) or sentences."""
    packs: Names = ("base-en", "base-zh")
    """Rule packs: names that ship, or .yaml files."""
    lang: Lang | None = None
    """en or zh; seen from the text if left out."""
    explain: bool = False
    """Also explain: category, rule, evidence, reason, and whether the measurement bears it out."""
    spans: bool = False
    """Also weigh rules and pieces of the response by leaving them out."""
    audit: Path | None = None
    """Append the decisions to this log."""
    keep_text: bool = False
    """Keep texts beside the log, where they can be erased."""


def check(config: CheckConfig, run: Run) -> Metrics:
    """One row per text, with its key and its verdict."""
    if bool(config.response) == bool(config.file):
        raise ConfigError("give --response TEXT or --file PAIRS.jsonl, one of the two")
    items = read_items(config.file) if config.file else [Item("text", config.query, config.response, "safe", "", "text")]
    guard = open_guard(config.guard, packs=config.packs)
    log = AuditLog(config.audit, keeps_text=config.keep_text) if config.audit else None
    todo = [item for item in items if item.key not in run.rows]
    for item in track(todo, "Texts", done=len(items) - len(todo)):
        verdict = guard.check(
            item.query, item.response, config.rules, lang=config.lang, explain=config.explain, spans=config.spans
        )
        if log:
            log.append(item.response, audit_record(verdict))
        run.add(item.key, as_row(verdict))
    rows = [run.rows[item.key] for item in items]
    counts = {name: sum(row["decision"] == name for row in rows) for name in ("allow", "review", "block")}
    found: Metrics = {"guard": config.guard, "texts": len(rows), **counts, "ids": dict(guard.ids)}
    return {**found, **{k: v for k, v in rows[0].items() if k != "key"}} if config.response else found


class StreamConfig(Config):
    """Judge a text as if it were being written, and show where it would have been stopped."""

    guard: str = "smollm2"
    """Folder of a train or calibrate run, or any model's name."""
    query: str = ""
    """What was asked."""
    file: Path | None = None
    """A text file with the response; standard input if left out."""
    rules: Names = ()
    """Rules of the pack or sentences."""
    lang: Lang = "en"
    """en or zh."""
    stride: int | Literal["auto"] = "auto"
    """Tokens between looks; auto keeps forwarded tokens within 1.2 of the text's."""
    threshold: float | None = Field(None, ge=0, le=1)
    """Scores above it stop the text; that of the calibration for streams if left out."""


def stream(config: StreamConfig, run: Run) -> Metrics:
    """One row per look; the text that may be shown goes to the terminal as it is released."""
    text = _text(config.file)
    watch = StreamGuard(
        open_guard(config.guard),
        config.query,
        config.rules,
        lang=config.lang,
        stride=config.stride,
        threshold=config.threshold,
    )
    released = 0
    for start in range(0, len(text), CHUNK):
        released += _show(watch.feed(text[start : start + CHUNK]), run)
    released += _show(watch.finish(), run)
    for number, probe in enumerate(watch.probes):
        if str(number) not in run.rows:
            run.add(str(number), asdict(probe))
    tokens = max((probe.num_tokens for probe in watch.probes), default=0)
    return {
        "stride": watch.stride,
        "probes": len(watch.probes),
        "tokens": tokens,
        "forwarded_tokens": watch.num_forwarded,
        "overhead_per_probe": watch.suffix_tokens + watch.tree_tokens,
        "tripped": watch.tripped,
        "characters": len(text),
        "released_characters": released,
        "score": watch.latest.score if watch.latest else None,
        "decision": watch.latest.decision if watch.latest else None,
    }


def as_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain JSON, without texts but for the explanation."""
    row: dict[str, Any] = {
        "label": verdict.label,
        "decision": verdict.decision,
        "score": verdict.score,
        "probabilities": dict(verdict.probabilities),
        "coverage": verdict.coverage,
        "lang": verdict.lang,
        "spoof": verdict.spoof,
        "tokens": verdict.num_tokens,
        "rules": list(verdict.rules),
    }
    if verdict.attributions or verdict.spans:
        row["attributions"] = list(verdict.attributions)
        row["spans"] = [[span.start, span.end, span.weight] for span in verdict.spans]
    if verdict.explanation:
        row["explanation"] = asdict(verdict.explanation)
    return row


def audit_record(verdict: Verdict) -> dict[str, Any]:
    """What the log keeps of a verdict."""
    return {
        "decision": verdict.decision,
        "label": verdict.label,
        "score": verdict.score,
        "rules": list(verdict.rules),
        "ids": dict(verdict.ids),
    }


def check_summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    if "label" not in metrics:
        decided = ", ".join(f"{name} {metrics[name]}" for name in ("allow", "review", "block"))
        return f"{metrics['texts']} texts: {decided}"
    lines = [f"{metrics['decision']}: {metrics['label']}, score {metrics['score']:.3f} (coverage {metrics['coverage']:.3f})"]
    if metrics["spoof"]:
        lines.append("the text imitates the prompt's own lines; these were quoted")
    for rule, weight in zip(metrics["rules"], metrics.get("attributions", ()), strict=False):
        lines.append(f"  {weight:+.2f} nats  {rule}")
    if told := metrics.get("explanation"):
        mark = "verified" if told["verified"] else "not verified"
        lines.append(f"category {told['category']}, rule {told['rule'] or 'none'}, {mark}: {told['reason']}")
    return "\n".join(lines)


def stream_summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    end = "stopped" if metrics["tripped"] else "passed"
    return (
        f"{end} after {metrics['probes']} looks at every {metrics['stride']} tokens: {metrics['released_characters']} of "
        f"{metrics['characters']} characters shown, {metrics['forwarded_tokens']} tokens computed for {metrics['tokens']}"
    )


def _text(file: Path | None) -> str:
    try:
        text = sys.stdin.buffer.read().decode() if file is None else file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise MissingArtifactError(f"no file {str(file)!r}; give a text file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"the text is not UTF-8 (byte {error.start}); convert it") from None
    if not text.strip():
        raise ConfigError("the text is empty; give the response that is judged")
    return text


def _show(text: str, run: Run) -> int:
    if run.live and text:
        run.live.write(text)
    return len(text)
