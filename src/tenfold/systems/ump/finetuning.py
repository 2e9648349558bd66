"""The verb `finetune`: teach a model to tell flawed from sound problems, and test it on problems of other originals.

The rows are the two-letter questions of `ump run --method logprob`, in both orders, made from training originals; the test
is PairSep on blocks of test originals, before and after, with a sign-flip test over blocks. Blocks are kept whole, so that
words alone cannot tell the labels apart: what is learned has to be about the flaw.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config, parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Figure, Metrics, Page, Table
from tenfold.evals.calls import Calls
from tenfold.evals.statistics import cluster_mean, sign_flip
from tenfold.nn import models, opening
from tenfold.store import atomic
from tenfold.store.runs import Run
from tenfold.systems.ump import data
from tenfold.systems.ump.asking import LETTERS, flawed_probability, letter_requests, outstanding, parse_way
from tenfold.systems.ump.measures import Answered, comparisons
from tenfold.systems.ump.page import BLIND
from tenfold.systems.ump.problems import Problem
from tenfold.train.adapters import LoraSettings
from tenfold.train.encoding import encode
from tenfold.train.finetune import FinetuneConfig
from tenfold.train.rows import Row
from tenfold.train.tuning import TuneConfig, tune

WAY = parse_way("direct")
MERGED = "merged"


class FinetuneVerbConfig(Config):
    """Fine-tune a model to notice unreasonable problems, and test it on problems made from other originals."""

    model: str = "smollm2"
    """smollm2, a local folder, or a hub id."""
    data: str = "builtin"
    """Problems with certificates: builtin, gsm8k, or a JSONL file."""
    category: str = "all"
    """all, inconsistent, undefined, units, illogical, or assumption."""
    train_blocks: int = Field(200, ge=1)
    """Blocks to learn from; each holds four problems, asked in both orders of the letters."""
    test_blocks: int = Field(100, ge=2)
    """Blocks to test on."""
    max_length: int = Field(512, ge=16)
    """Longest row in tokens; longer ones are left out."""
    method: str = "lora"
    """lora, or plora for PeriodicLoRA."""
    method_settings: dict[str, Any] = Field(default_factory=dict)
    """Of the method; for plora those of its unloads, such as interval."""
    lora: LoraSettings = parse(LoraSettings, {"rank": 16, "alpha": 32.0})
    """The adapter that is trained."""
    training: FinetuneConfig = parse(
        FinetuneConfig, {"batch_size": 8, "learning_rate": 3e-4, "schedule": "cosine", "warmup_steps": 10}
    )
    """Length, rate and order of the training."""
    seed: int = 0
    """Of the problem set, the choice of blocks, and the adapter."""


def train(config: FinetuneVerbConfig, run: Run) -> Metrics:
    """Tests, trains, tests again; leaves the merged model in `merged/`."""
    train_set, test_set = (_blocks(config, split) for split in ("train", "test"))
    before = _ranked(config.model, test_set, run, "before")
    steps = _trained(config, train_set, run)
    after = _ranked(str(run.folder / MERGED), test_set, run, "after")
    return {
        "model": config.model,
        "data": config.data,
        "train_blocks": len({problem.block for problem in train_set}),
        "test_blocks": len({problem.block for problem in test_set}),
        "steps": len(steps),
        "loss_first": steps[0]["loss"],
        "loss_last": steps[-1]["loss"],
        "before": _separation(before),
        "after": _separation(after),
        "p": _sign_flip(after),
        "per_category": {
            category: {name: _separation(_of(answers, category)) for name, answers in (("before", before), ("after", after))}
            for category in sorted({problem.category for problem in test_set})
        },
        "losses": [step["loss"] for step in steps],
        "folder": MERGED,
    }


def _blocks(config: FinetuneVerbConfig, split: str) -> list[Problem]:
    most = config.train_blocks if split == "train" else config.test_blocks
    chosen = data.load(config.data, split=split, category=config.category, limit_blocks=most, seed=config.seed)
    if any(not problem.block for problem in chosen):
        raise ConfigError(f"{config.data} has problems that stand in no block; give certified ones (builtin, gsm8k)")
    return chosen


def rows(problems: Sequence[Problem]) -> list[Row]:
    """Two rows for each problem: the question with `flawed` as first and as second letter, and the right letter."""
    found = []
    for problem in problems:
        for request, flawed in zip(letter_requests(WAY, problem), LETTERS, strict=True):
            right = flawed if not problem.sound else next(letter for letter in LETTERS if letter != flawed)
            turns = tuple({"role": message.role, "content": message.text} for message in request.messages)
            found.append(Row(f"{problem.id}/{flawed}", turns, f"({right})"))
    return found


def _trained(config: FinetuneVerbConfig, problems: Sequence[Problem], run: Run) -> list[dict[str, Any]]:
    """Trains if that is not done, and writes the merged model; returns the steps."""
    path = models.resolve(config.model)
    tokenizer = models.load_tokenizer(path)
    encoded = [encode(row, tokenizer, config.max_length * 2) for row in rows(problems)]
    fitting = [row for row in encoded if len(row.ids) <= config.max_length]
    if not fitting:
        raise ConfigError(f"every row is longer than max_length={config.max_length} tokens; raise it")
    settings = TuneConfig(
        method=config.method,
        settings=config.method_settings,
        lora=config.lora,
        training=config.training,
        seed=config.seed,
    )
    tuned = tune(models.load_transformers(path, "fp32"), tokenizer, fitting, settings, run.folder)
    if not (run.folder / MERGED).exists():
        merged = tuned.merged()
        atomic.build_folder(run.folder / MERGED, lambda folder: _save(merged, tokenizer, folder))
    return tuned.steps


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _ranked(name: str, problems: Sequence[Problem], run: Run, label: str) -> list[Answered]:
    """P(flawed) of every problem under a model; calls are rows of the run under `label`."""
    calls = Calls(label, run, lambda: opening.open_model(name, dtype="auto"))
    calls.ask_until_done(
        lambda: (request for problem in problems for request in outstanding(WAY, problem, "logprob", 1, calls.replies)),
        f"Problems, {label}",
    )
    found = ((problem, flawed_probability(WAY, problem, calls.replies)) for problem in problems)
    return [
        Answered(problem, "", "ok", share, float(share > BLIND), solved=False)
        for problem, share in found
        if share is not None
    ]


def _of(answers: Sequence[Answered], category: str) -> list[Answered]:
    return [answer for answer in answers if answer.problem.category == category]


def _separation(answers: Sequence[Answered]) -> dict[str, float]:
    """PairSep with its interval over blocks."""
    wins, blocks = comparisons(answers)
    return asdict(cluster_mean(wins, blocks))


def _sign_flip(answers: Sequence[Answered]) -> float:
    """Whether PairSep differs from that of a blind answerer."""
    wins, blocks = comparisons(answers)
    return sign_flip([win - BLIND for win in wins], blocks)


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return (
        f"{metrics['steps']} steps on {metrics['train_blocks']} blocks; pairs in order on {metrics['test_blocks']} blocks "
        f"of other originals: before {_words(metrics['before'])}, after {_words(metrics['after'])} "
        f"(blind is 50 %, p {metrics['p']:.2g})"
    )


def build_page(run_rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of a run."""
    told = "better than" if metrics["after"]["low"] > BLIND else "not told from"
    table = [[category, _words(each["before"]), _words(each["after"])] for category, each in metrics["per_category"].items()]
    return Page(
        title="Reason: can it learn to notice?",
        verdict=f"After {metrics['steps']} steps a flawed problem is told from its sound twin in "
        f"{_words(metrics['after'])} of the cases, which is {told} chance; before: {_words(metrics['before'])}.",
        story=[
            "The model learned from problems made of training originals and was tested on problems made of others. Each "
            "test block holds two sound and two flawed texts of the same words, so words alone give 50 %."
        ],
        facts={
            "Before": _words(metrics["before"]),
            "After": _words(metrics["after"]),
            "p (sign flips by block)": f"{metrics['p']:.2g}",
        },
        exhibits=[
            Figure(
                title="Loss while training",
                caption="Nats per learned token, step by step.",
                plotly={
                    "data": [{"type": "scatter", "mode": "lines", "y": metrics["losses"], "line": {"color": "series-1"}}],
                    "layout": {"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": "loss"}}},
                },
            ),
            Table(
                title="By kind of flaw",
                caption="Pairs in order, with 95 % intervals over blocks.",
                columns=["kind", "before", "after"],
                rows=table,
            ),
        ],
    )


def _words(estimate: Mapping[str, float]) -> str:
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"
