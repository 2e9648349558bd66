"""The verb `eval`: what a trained model reads like without sentinels, with them, and through a compacted cache.

text     perplexity of documents in windows
book     one book from beginning to end, of any length, through a compacted cache
qmsum    questions about meetings: nats of the reference answer, and ROUGE-L of a greedy one, full against compact
"""

from collections.abc import Sequence
from math import exp
from typing import Any, Literal

import torch
from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.evals.statistics import cluster_mean, cluster_ratio
from tenfold.nn.generation import generate
from tenfold.nn.models import Dtype
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.sentinel import measuring
from tenfold.systems.sentinel.bases import Base
from tenfold.systems.sentinel.compare import FRONT_MATTER, dev_windows
from tenfold.systems.sentinel.contenders import kept_rate, plan, reader
from tenfold.systems.sentinel.data import Window, documents
from tenfold.systems.sentinel.lm import SentinelLM
from tenfold.systems.sentinel.meetings import Question, questions, rouge_l
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.systems.sentinel.training import VIEWS, measure_views
from tenfold.systems.sentinel.wrapping import EngineName, engine_of, open_trained

READERS = ("full", "compact")


class EvalConfig(Config):
    """Measure a trained sentinel model: on texts, on a whole book, or on questions about meetings."""

    adapter: str
    """Adapter folder of a sentinel training."""
    task: Literal["text", "book", "qmsum"] = "text"
    """What to measure."""
    data: Names = ("wikitext",)
    """Texts, or for task book the text whose first dev document is read."""
    model: str = ""
    """Another place of the same base."""
    length: int = Field(1024, ge=16)
    """Original tokens in a window, of the book, or of a meeting."""
    windows: int = Field(24, ge=1)
    """Most windows of each text, or questions."""
    window: int = Field(512, ge=1)
    """Last original tokens that a compacted cache keeps (tasks text and book)."""
    fraction: float = Field(0.15, gt=0, lt=1)
    """Size of the compacted cache as a share of the full one (task qmsum)."""
    max_new_tokens: int = Field(128, ge=1)
    """Length of a generated answer (task qmsum)."""
    engine: EngineName = "auto"
    """What computes: lean, transformers, or auto."""
    dtype: Dtype = "bf16"
    """Type of the weights."""


def evaluate(config: EvalConfig, run: Run) -> Metrics:
    """Measures what the run does not hold yet."""
    base, model, record = open_trained(config.adapter, base=config.model or None, dtype=config.dtype)
    measure = {"text": _texts, "book": _book, "qmsum": _meetings}[config.task]
    found = measure(config, run, base, model, record.config, record.ids)
    return {"task": config.task, "model": record.base, "data": list(config.data), **found}


def _texts(config: EvalConfig, run: Run, base: Base, model: Any, settings: SentinelConfig, ids: Sequence[int]) -> Metrics:
    dev = [(name, window) for name in config.data for window in dev_windows(name, base, config.length, config.windows)]
    measure_views(run, "after", base, model, settings, ids, dev, config.window)
    rows = [row for row in run.rows.values() if "nll_sum" in row]
    views = {view: [row for row in rows if row["view"] == view] for view in VIEWS}
    return {
        "window": config.window,
        "views": {view: measuring.perplexity(found) for view, found in views.items()},
        "by_position": {view: measuring.by_position(found) for view, found in views.items()},
        "quality_vs_plain": measuring.change(views["quality"], views["plain"]),
        "compact_vs_quality": measuring.change(views["compact"], views["quality"]),
    }


def _book(config: EvalConfig, run: Run, base: Base, model: Any, settings: SentinelConfig, ids: Sequence[int]) -> Metrics:
    """Read through a compacted cache whose positions are ranks, so that no book is too long."""
    book = documents(config.data[0], "dev")[0]
    start = FRONT_MATTER if config.data[0] == "gutenberg" else 0
    tokens = base.codec.encode(book.text[start : start + config.length * 8])[: config.length]
    if len(tokens) < config.length:
        raise ConfigError(f"{book.id} has {len(tokens)} tokens, {config.length} were asked for; lower length")
    chosen = settings.changed(raw="window", window=max(config.window, settings.max_chunk), budget=0)
    if "book" not in run.rows:
        lm = SentinelLM(engine_of(model, config.engine, 1), chosen, base.codec.pieces, ids, reposition=True)
        losses = lm.losses(tokens)
        row = measuring.row_of(
            losses, Window(book.id, 0, tuple(tokens)), base.codec.pieces, arm="book", seed=None, text=book.id
        )
        parts = [float(part.mean()) for part in losses.split(max(1, len(losses) // 32))]
        run.add("book", row | {"held": lm.most_held, "course": parts})
    row = run.rows["book"]
    return {
        "document": row["document"],
        "tokens": row["n_tokens"],
        "ppl": exp(row["nll_sum"] / row["n_tokens"]),
        "course": [exp(part) for part in row["course"]],
        "kv_fraction": row["held"] / (row["n_tokens"] + 1),
    }


def _meetings(config: EvalConfig, run: Run, base: Base, model: Any, settings: SentinelConfig, ids: Sequence[int]) -> Metrics:
    asked = questions(base.codec, length=config.length, most=config.windows)
    places = [(name, question) for question in asked for name in READERS]
    todo = [(name, question) for name, question in places if f"{name}/{question.id}" not in run.rows]
    engine = engine_of(model, config.engine, 1)
    for name, question in track(todo, "Questions", done=len(places) - len(todo)):
        rate = kept_rate("sentinels", [question.prompt], base, settings, ids)
        length = len(question.prompt)
        chosen = plan("sentinels", int(config.fraction * length), length, rate, settings) if name == "compact" else None
        lm = reader("sentinels", engine, base, settings, ids, chosen)
        run.add(f"{name}/{question.id}", _answered(lm, question, base, config.max_new_tokens) | {"reader": name})
    return _meeting_metrics(list(run.rows.values()))


def _answered(lm: SentinelLM, question: Question, base: Base, max_new_tokens: int) -> dict[str, Any]:
    """Nats of the reference answer, and ROUGE-L of a greedy one."""
    eos = getattr(base.tokenizer, "eos_token_id", None)
    stopper = Stopper(max_new_tokens=max_new_tokens, eos_ids=frozenset() if eos is None else frozenset({eos}))
    written = base.codec.decode(generate(lm, question.prompt, GenerationSettings(), stopper).tokens)
    lm.reset()
    first_V = lm.prefill([question.prompt])[0]
    rest_KV = lm.forward(torch.tensor([question.answer[:-1]]))[0] if len(question.answer) > 1 else first_V[None][:0]
    logits_TV = torch.cat([first_V[None], rest_KV])
    losses = torch.nn.functional.cross_entropy(logits_TV, torch.tensor(question.answer), reduction="sum")
    return {
        "meeting": question.id,
        "nats": float(losses),
        "tokens": len(question.answer),
        "rouge_l": rouge_l(written, question.reference),
        "held": lm.most_held,
        "read": len(question.prompt),
    }


def _meeting_metrics(rows: Sequence[Any]) -> Metrics:
    by_reader = {name: {row["meeting"]: row for row in rows if row["reader"] == name} for name in READERS}
    pairs = [(by_reader["compact"][key], by_reader["full"][key]) for key in by_reader["full"] if key in by_reader["compact"]]
    names = [row["meeting"] for row, _ in pairs]
    rise = cluster_ratio([a["nats"] - b["nats"] for a, b in pairs], [b["nats"] for _, b in pairs], names)
    drop = cluster_mean([b["rouge_l"] - a["rouge_l"] for a, b in pairs], names)
    return {
        "meetings": len(pairs),
        "rouge_l": {name: sum(row["rouge_l"] for row in found.values()) / len(found) for name, found in by_reader.items()},
        "rouge_l_drop": {"value": drop.value, "ci": drop.interval},
        "answer_nats_rise": {"value": rise.value, "ci": rise.interval},
        "kv_fraction": max(a["held"] / a["read"] for a, _ in pairs),
    }


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    if metrics["task"] == "book":
        return (
            f"{metrics['document']}: {metrics['tokens']:,} tokens, perplexity {metrics['ppl']:.3f} through a cache of "
            f"{metrics['kv_fraction']:.1%}"
        )
    if metrics["task"] == "qmsum":
        rise, drop = metrics["answer_nats_rise"], metrics["rouge_l_drop"]
        return (
            f"{metrics['meetings']} meetings, cache of {metrics['kv_fraction']:.1%}: nats of the answer "
            f"{rise['value']:+.2%}, ROUGE-L {metrics['rouge_l']['full']:.3f} full, {metrics['rouge_l']['compact']:.3f} "
            f"compact (drop {drop['value']:.3f})"
        )
    names = {"plain": "without sentinels", "quality": "with sentinels", "compact": f"in a window of {metrics['window']}"}
    return "\n".join(f"{names[view]:>24}: perplexity {found['ppl']:.3f}" for view, found in metrics["views"].items())
