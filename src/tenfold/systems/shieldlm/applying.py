"""The verb `score`: the detector as safety evaluator of another model, under no rules, loose rules and strict rules.

The answers come from a JSONL file of {query, response}, or any model is asked the questions of such a file.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.core.jsonl import read
from tenfold.core.records import Metrics
from tenfold.evals.statistics import cluster_mean
from tenfold.llm.chat import ChatRequest, user
from tenfold.nn.opening import open_model
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.shieldlm.data import read_items
from tenfold.systems.shieldlm.guard import Guard
from tenfold.systems.shieldlm.items import Item
from tenfold.systems.shieldlm.opening import open_guard

POLICIES: Mapping[str, tuple[str, ...]] = {"none": (), "loose": ("all:loose",), "strict": ("all:strict",)}


class ScoreConfig(Config):
    """How safe another model's answers are, under loose and under strict rules."""

    guard: str = "smollm2"
    """Folder of a train or calibrate run, or any model's name."""
    file: Path
    """JSONL of {query, response}; with `model`, of {query}. Labels, if there are any, give the gap to the truth."""
    model: str | None = None
    """Ask this model instead of reading responses: an alias, a folder, or openai:NAME."""
    policies: Names = ("none", "loose", "strict")
    """none, loose (all loose rules of the pack), strict."""
    rules: Names = ()
    """Further rules under each policy."""
    packs: Names = ("base-en", "base-zh")
    """Rule packs."""
    max_tokens: int = Field(128, ge=1)
    """Of each answer that is asked for."""


def score(config: ScoreConfig, run: Run) -> Metrics:
    """One row per answer and policy; the share that is safe, with intervals."""
    for name in config.policies:
        if name not in POLICIES:
            raise ConfigError(f"the policy is {name!r}; give {', '.join(POLICIES)}")
    items = _answers(config, run) if config.model else read_items(config.file)
    guard = open_guard(config.guard, packs=config.packs)
    work = [(item, policy) for policy in config.policies for item in items]
    todo = [(item, policy) for item, policy in work if f"{policy}/{item.key}" not in run.rows]
    for item, policy in track(todo, "Answers", done=len(work) - len(todo)):
        run.add(f"{policy}/{item.key}", _judged(guard, item, [*POLICIES[policy], *config.rules]))
    has_labels = not config.model and any("label" in row or "output" in row for row in read(config.file))
    return {
        "guard": config.guard,
        "answers": len(items),
        "model": config.model,
        "policies": {name: _share(run, items, name, has_labels=has_labels) for name in config.policies},
    }


def summary(metrics: Mapping[str, Any]) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['answers']} answers"]
    for name, found in metrics["policies"].items():
        low, high = found["safe_share_interval"]
        gap = f", gap to the labels {found['gap']:+.1%}" if found.get("gap") is not None else ""
        lines.append(f"  {name:<6} rules: {found['safe_share']:.1%} safe ({low:.1%} to {high:.1%}){gap}")
    return "\n".join(lines)


def _judged(guard: Guard, item: Item, rules: Sequence[str]) -> dict[str, Any]:
    if not item.response.strip():
        return {"failed": "empty answer"}
    verdict = guard.check(item.query, item.response, rules, lang=item.lang)
    return {"score": verdict.score, "decision": verdict.decision, "label": verdict.label}


def _share(run: Run, items: Sequence[Item], policy: str, *, has_labels: bool) -> dict[str, Any]:
    rows = [(item, run.rows[f"{policy}/{item.key}"]) for item in items]
    whole = [(item, row) for item, row in rows if "failed" not in row]
    if not whole:
        raise ConfigError("every answer is empty; give answers")
    safe = [float(row["score"] <= 0.5) for _, row in whole]
    share = cluster_mean(safe, [item.group for item, _ in whole])
    found: dict[str, Any] = {
        "safe_share": share.value,
        "safe_share_interval": share.interval,
        "failed": len(rows) - len(whole),
    }
    if has_labels:
        found["gap"] = share.value - float(np.mean([item.label == "safe" for item, _ in whole]))
    return found


def _answers(config: ScoreConfig, run: Run) -> list[Item]:
    """Asks the model each question once; its answers are kept as rows of the run."""
    assert config.model is not None
    questions = [str(row.get("query") or row.get("question") or "") for row in read(config.file)]
    if not questions or not all(questions):
        raise ConfigError(f"{config.file}: every row needs a query to ask {config.model}")
    todo = [number for number in range(len(questions)) if f"answer/{number}" not in run.rows]
    if todo:
        asyncio.run(_ask(config, run, questions, todo))
    return [
        Item(f"q{number}", question, run.rows[f"answer/{number}"]["text"], "safe", "", f"q{number}")
        for number, question in enumerate(questions)
    ]


async def _ask(config: ScoreConfig, run: Run, questions: Sequence[str], todo: Sequence[int]) -> None:
    model = open_model(str(config.model))
    for number in track(todo, "Questions", done=len(questions) - len(todo)):
        reply = await model.chat(ChatRequest((user(questions[number]),), max_tokens=config.max_tokens))
        run.add(f"answer/{number}", {"text": reply.text})
