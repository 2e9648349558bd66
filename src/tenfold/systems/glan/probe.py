"""The verb `probe`: has a model been trained on a benchmark? The loss of its test and training rows, compared.

    D = L_test - L_train        nats per token of the answers; D% = D / L_test

A model that has seen the training rows finds them easier than test rows (D above 0); one that has seen the test rows
shows the opposite. Rows of both kinds must be of one distribution, as in a benchmark that was split at random. Table 3 of
2402.13064 gives 0.92 % for GLAN and 11.4 % for Orca 2 on GSM8K.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tenfold.core import jsonl
from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Figure, Metrics, Page
from tenfold.core.registry import load_target
from tenfold.store.artifacts import find_data
from tenfold.store.progress import counter
from tenfold.store.runs import Run
from tenfold.train.rows import Row, ask, parse_row

DRAWS = 10_000
SIDES = ("test", "train")
KNOWN_SPLITS = {"gsm8k": {"train": "gsm8k-train", "test": "gsm8k"}}
CALCULATOR = re.compile(r"<<[^>]*>>")
Sums = NDArray[np.float64]


class ProbeConfig(Config):
    """Compare a model's loss on a benchmark's test and training rows: has it seen either?"""

    model: str = "smollm2"
    """smollm2, a local folder, or a hub id."""
    benchmark: str = "gsm8k"
    """gsm8k; or give `train` and `test` yourself."""
    train: Path | None = None
    """JSON lines of training rows, with question and answer, or any form that trainers read."""
    test: Path | None = None
    """JSON lines of test rows."""
    n: int = Field(400, ge=2)
    """Rows of each side, drawn by seed."""
    max_length: int = Field(512, ge=8)
    """Longest row in tokens; longer ones are cut at the end."""
    seed: int = 0
    """Of the choice of rows and of the interval."""


def probe(config: ProbeConfig, run: Run) -> Metrics:
    """One durable row for each row of the benchmark.

    Raises:
        MissingArtifactError: a file is not there.
        ConfigError: only one of `train` and `test` is given, or a row is of no known form.
    """
    rows = {side: _chosen(_file(config, side), config) for side in SIDES}
    todo = {side: [row for row in some if f"{side}/{row.id}" not in run.rows] for side, some in rows.items()}
    if any(todo.values()):
        _measure(config, todo, run)
    found = {side: [run.rows[f"{side}/{row.id}"] for row in some] for side, some in rows.items()}
    sums = {side: np.array([[row["loss"], row["tokens"]] for row in some]) for side, some in found.items()}
    return _metrics(config, sums)


def _file(config: ProbeConfig, side: str) -> Path:
    given = {"train": config.train, "test": config.test}
    if all(given.values()):
        return find_data(str(given[side]))
    if any(given.values()):
        raise ConfigError("give both train and test, or neither and a benchmark")
    if config.benchmark not in KNOWN_SPLITS:
        raise ConfigError(f"benchmark is {config.benchmark!r}; we know {', '.join(KNOWN_SPLITS)}, or give train and test")
    return find_data(KNOWN_SPLITS[config.benchmark][side])


def _chosen(path: Path, config: ProbeConfig) -> list[Row]:
    """At most `n` rows, drawn without repeats, in the file's order."""
    rows = [_row(record, f"{path.name}:{line}") for line, record in enumerate(jsonl.read(path), 1)]
    if len(rows) < 2:
        raise ConfigError(f"{path} holds {len(rows)} row; give at least 2")
    places = np.random.default_rng(config.seed).permutation(len(rows))[: config.n]
    return [rows[place] for place in sorted(places.tolist())]


def _row(record: Any, where: str) -> Row:
    """{question, answer} as benchmarks have it, without calculator marks, or any form that trainers read."""
    if isinstance(record, dict) and {"question", "answer"} <= record.keys():
        return Row(where, ask(str(record["question"])), CALCULATOR.sub("", str(record["answer"])))
    return parse_row(record, where)


def _measure(config: ProbeConfig, todo: Mapping[str, Sequence[Row]], run: Run) -> None:
    labelled = [(f"{side}/{row.id}", row) for side, rows in todo.items() for row in rows]
    pieces = load_target("tenfold.systems.glan.row_losses:measured")(
        config.model, [row for _, row in labelled], config.max_length
    )
    with counter("Rows", len(labelled)) as show:
        for place, ((key, _), loss) in enumerate(zip(labelled, chain.from_iterable(pieces), strict=True), 1):
            run.add(key, {"loss": loss.total, "tokens": loss.num_tokens})
            show(place)


def _metrics(config: ProbeConfig, sums: Mapping[str, Sums]) -> Metrics:
    generator = np.random.default_rng(config.seed)
    values = {side: _ratio(some) for side, some in sums.items()}
    drawn = {side: _drawn(some, generator) for side, some in sums.items()}
    gap = values["test"] - values["train"]
    low, high = np.percentile(drawn["test"] - drawn["train"], (2.5, 97.5)).tolist()
    shares = (drawn["test"] - drawn["train"]) / drawn["test"]
    share_low, share_high = np.percentile(shares, (2.5, 97.5)).tolist()
    return {
        "model": config.model,
        "benchmark": config.benchmark if config.train is None else str(config.train),
        "n": {side: len(some) for side, some in sums.items()},
        "loss_test": values["test"],
        "loss_train": values["train"],
        "gap": {"value": gap, "low": low, "high": high},
        "gap_share": {"value": gap / values["test"], "low": share_low, "high": share_high},
        "verdict": _verdict(low, high),
    }


def _ratio(sums_N2: Sums) -> float:
    """Nats per token over all rows."""
    total, tokens = sums_N2.sum(axis=0)
    return float(total / tokens)


def _drawn(sums_N2: Sums, generator: np.random.Generator) -> Sums:
    """Nats per token of resampled sets of rows."""
    weights_RN = generator.multinomial(len(sums_N2), np.full(len(sums_N2), 1 / len(sums_N2)), size=DRAWS)
    drawn_R2 = weights_RN @ sums_N2
    return drawn_R2[:, 0] / drawn_R2[:, 1]


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "training rows look seen"
    return "test rows look seen" if high < 0 else "no sign of either"


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    losses = f"test {metrics['loss_test']:.4f}, train {metrics['loss_train']:.4f} nats per token"
    return f"{metrics['benchmark']}: {losses}; difference {_words(metrics['gap_share'])}: {metrics['verdict']}"


def _words(share: Mapping[str, float]) -> str:
    return f"{share['value']:+.2%} (95 % {share['low']:+.2%} to {share['high']:+.2%})"


def build_page(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The page of a run."""
    sides = {side: [row["loss"] / row["tokens"] for row in rows if row["key"].startswith(f"{side}/")] for side in SIDES}
    return Page(
        title="Teach: has it seen the benchmark?",
        verdict=f"On {metrics['benchmark']}: {metrics['verdict']}. Test rows cost {_words(metrics['gap_share'])} more.",
        story=["Rows that a model was trained on are easier to it than rows of the same kind that it was not trained on."],
        facts={"Test, nats per token": f"{metrics['loss_test']:.4f}", "Train": f"{metrics['loss_train']:.4f}"},
        exhibits=[
            Figure(
                title="Loss row by row",
                caption="Nats per token of each row's answer.",
                plotly={
                    "data": [
                        {
                            "type": "histogram",
                            "name": side,
                            "x": losses,
                            "opacity": 0.6,
                            "marker": {"color": f"series-{place}"},
                        }
                        for place, (side, losses) in enumerate(sides.items(), 1)
                    ],
                    "layout": {"barmode": "overlay", "xaxis": {"title": {"text": "nats per token"}}},
                },
            )
        ],
    )
