"""The verbs that prepare: `mix` (training rows under mixed rules), `rules` (show, lint, test), `import-prompts`."""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store import atomic
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.shieldlm.data import train_items
from tenfold.systems.shieldlm.items import Item
from tenfold.systems.shieldlm.lint import lint_pack
from tenfold.systems.shieldlm.mixing import mix_rules
from tenfold.systems.shieldlm.official import import_prompts
from tenfold.systems.shieldlm.opening import open_guard
from tenfold.systems.shieldlm.prompting import MARKERS, VERDICTS, Style, build_prompt
from tenfold.systems.shieldlm.rules import POLARITIES, RulePack, read_pack

MIXED = "mixed.jsonl"
PAPER_SEED = 12


class MixConfig(Config):
    """Put training items under rules that do and do not concern them, as the paper does."""

    data: str = "diasafety"
    """A set (its training part) or a JSONL file."""
    packs: tuple[str, ...] = ("base-en", "base-zh")
    """Rule packs, by language."""
    style: Style = "tenfold"
    """Prompt of the rows."""
    limit: int | None = Field(None, ge=1)
    """The first items only."""
    most: int | None = Field(None, ge=1)
    """Other rules beside an item's own, at most; all types if left out."""
    seed: int = PAPER_SEED
    """Of the mixing."""


def mix(config: MixConfig, run: Run) -> Metrics:
    """Writes mixed.jsonl: {prompt, completion} rows that every trainer reads."""
    packs = {pack.lang: pack for pack in map(read_pack, config.packs)}
    items = train_items(config.data)[: config.limit]
    draw = Random(config.seed)
    lines, counts = [], []
    for item in track(items, "Items"):
        pack = packs.get(item.lang)
        if pack is None:
            raise ConfigError(f"no pack for language {item.lang!r}; give one in packs")
        row, number = _mixed_row(item, pack, config, draw)
        lines.append(json.dumps(row, ensure_ascii=False))
        counts.append(number)
    atomic.write_text(run.folder / MIXED, "\n".join(lines) + "\n")
    return {
        "data": config.data,
        "rows": len(lines),
        "without_rules": sum(number == 0 for number in counts) / len(counts),
        "rules_per_row": sum(counts) / len(counts),
        "file": MIXED,
    }


def _mixed_row(item: Item, pack: RulePack, config: MixConfig, draw: Random) -> tuple[dict[str, Any], int]:
    own = item.category if item.category in pack.types else None
    mixed = mix_rules(item.label, pack, draw, type_=own, most=config.most)
    prompt = build_prompt(item.query, item.response, mixed.rules, lang=item.lang, style=config.style)
    completion = f"{MARKERS[item.lang][0]} {VERDICTS[item.lang][item.label]}"
    return {"id": item.key, "prompt": prompt.text, "completion": completion, "own_rule": mixed.own}, len(mixed.rules)


def mix_summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    return (
        f"{metrics['rows']} rows in {metrics['file']}: {metrics['without_rules']:.1%} without rules, "
        f"{metrics['rules_per_row']:.2f} rules a row"
    )


class RulesConfig(Config):
    """Show a rule pack, look for faults in it, or try its examples on a guard."""

    pack: str = "base-en"
    """A pack that ships (base-en, base-zh) or a .yaml file."""
    action: Literal["show", "lint", "test"] = "lint"
    """show lists the rules; lint looks for faults; test judges the examples."""
    guard: str = "smollm2"
    """For test: folder of a train or calibrate run, or any model's name."""


def rules(config: RulesConfig, run: Run) -> Metrics:
    """Findings, or the examples' verdicts, one row each."""
    pack = read_pack(config.pack)
    found: Metrics = {"pack": pack.id, "version": pack.version, "lang": pack.lang, "hash": pack.fingerprint}
    found |= {"types": len(pack.types), "action": config.action}
    if config.action == "show":
        return {**found, "rules": {f"{pair.id}:{way}": pair.rule(way) for pair in pack.rules for way in POLARITIES}}
    if config.action == "lint":
        findings = [finding.__dict__ for finding in lint_pack(pack)]
        errors = [finding for finding in findings if finding["level"] == "error"]
        return {**found, "findings": findings, "errors": len(errors)}
    return {**found, **_test(pack, config, run)}


def _test(pack: RulePack, config: RulesConfig, run: Run) -> Metrics:
    guard = open_guard(config.guard, packs=[config.pack])
    right: list[bool] = []
    for pair in pack.rules:
        for number, example in enumerate(pair.examples):
            for way in POLARITIES:
                wanted = getattr(example, way)
                if wanted is None or pair.rule(way) is None:
                    continue
                verdict = guard.check(example.query, example.response, [f"{pair.id}:{way}"], lang=pack.lang)
                right.append((verdict.score > 0.5) == (wanted == "unsafe"))
                key = f"{pair.id}/{number}/{way}"
                if key not in run.rows:
                    run.add(key, {"wanted": wanted, "label": verdict.label, "score": verdict.score, "right": right[-1]})
    return {"examples": len(right), "right": sum(right)}


def rules_summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    head = f"{metrics['pack']} version {metrics['version']} ({metrics['lang']}, {metrics['types']} types, {metrics['hash']})"
    if metrics["action"] == "show":
        return "\n".join([head, *(f"  {name:<22} {text}" for name, text in metrics["rules"].items() if text)])
    if metrics["action"] == "test":
        return f"{head}\n{metrics['right']} of {metrics['examples']} examples judged as the pack asks"
    lines = [f"  {each['level']:<7} {each['kind']:<13} {each['where']}: {each['message']}" for each in metrics["findings"]]
    return "\n".join([head, *lines, f"{metrics['errors']} errors, {len(lines) - metrics['errors']} warnings"])


class ImportConfig(Config):
    """Read the paper's own prompts from a checkout of its code, without running it."""

    checkout: Path
    """Folder of a checkout of thu-coai/ShieldLM."""


def import_verb(config: ImportConfig, run: Run) -> Metrics:
    """Keeps the prompts in the user's cache; style official then works."""
    kept = import_prompts(config.checkout)
    return {"languages": [name for name in ("en", "zh") if name in kept], "source_sha256": kept["source_sha256"]}


def import_summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    return f"prompts for {', '.join(metrics['languages'])} are in the cache (source {metrics['source_sha256'][:16]})"
