"""The verb `audit`: can a rule that does not do the arithmetic tell sound from flawed texts?

The probes are those of `tenfold.evals.audits`. `answerability` is held-out accuracy and `pairwise` the share of pairs whose
sound text scores higher. On crossed blocks every probe that adds up over words must stay at one half.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics, Page, Table
from tenfold.evals.audits import LabelledText, PairResult, audit_pairs, identical_pairs, texts_with
from tenfold.evals.statistics import Estimate
from tenfold.store.runs import Run
from tenfold.systems.ump import data
from tenfold.systems.ump.problems import Problem

HEADLINE = "naive Bayes"
"""The probe that the headline numbers come from: words, numbers, marks, length and a space at the end."""
COUNTS = "naive Bayes, counts of words"
CLEAN = 0.55
"""A set passes if no probe orders more than this share of its pairs."""
MARKS = {
    "two full stops": re.compile(r"\.\."),
    "some, several, a few": re.compile(r"\b(?:some|several|a few)\b", re.IGNORECASE),
}


class AuditConfig(Config):
    """Look for wordings that give the label away."""

    data: str = "builtin"
    """Problems: builtin, gsm8k, umwp, mip, or a JSONL file."""
    folds: int = Field(default=5, ge=2)
    """Parts of the blocks; a probe learns from all but the one it is tested on."""
    seed: int = 0
    """Seed of the parts and of the built sets."""


def audit(config: AuditConfig, run: Run) -> Metrics:
    """Runs all probes; one row per probe, `answerability` and `pairwise` of the headline probe."""
    problems = data.load(config.data, seed=config.seed)
    texts = labelled(problems)
    if not run.rows:
        for name, result in audit_pairs(texts, folds=config.folds, seed=config.seed).items():
            run.add(name, _row(result))
    rows = {name: dict(row) for name, row in run.rows.items()}
    best = max(rows, key=lambda name: rows[name]["pairwise"])
    return {
        "data": config.data,
        "pairs": _num_pairs(texts),
        "answerability": rows[HEADLINE]["answerability"],
        "pairwise": rows[HEADLINE]["strictly_ordered"],
        "pairwise_ties_half": rows[HEADLINE]["pairwise"],
        "count_bag_pairwise": rows[COUNTS]["pairwise"],
        "best_probe": best,
        "best_pairwise": rows[best]["pairwise"],
        "verdict": "clean" if rows[best]["pairwise"] <= CLEAN else "the wording gives the label away",
        "probes": rows,
        "identical_pairs": len(identical_pairs(texts)),
        "marks": {name: _mark(texts, pattern) for name, pattern in MARKS.items()},
        "per_category": _per_category(problems, config),
    }


def labelled(problems: Sequence[Problem]) -> list[LabelledText]:
    """Problems with both sides of their pair as the audit sees them; sound is yes.

    Raises:
        ConfigError: no pair has a sound and a flawed text.
    """
    sides: dict[str, set[bool]] = {}
    for problem in problems:
        sides.setdefault(problem.pair_id, set()).add(problem.sound)
    paired = [problem for problem in problems if problem.pair_id and len(sides[problem.pair_id]) == 2]
    if not paired:
        raise ConfigError("no pair of a sound and a flawed problem; give both the same pair_id, and a flaw to one")
    return [
        LabelledText(problem.id, problem.pair_id, data.group(problem), problem.question, problem.sound) for problem in paired
    ]


def _row(result: PairResult) -> dict[str, Any]:
    return {name: round(estimate.value, 6) for name, estimate in result._asdict().items()} | {
        f"{name}_interval": _interval(estimate) for name, estimate in result._asdict().items()
    }


def _interval(estimate: Estimate) -> list[float]:
    return [round(estimate.low, 6), round(estimate.high, 6)]


def _num_pairs(texts: Sequence[LabelledText]) -> int:
    return len({text.pair for text in texts})


def _mark(texts: Sequence[LabelledText], pattern: re.Pattern[str]) -> dict[str, int]:
    flawed, sound = texts_with(texts, pattern)
    return {"sound": sound, "flawed": flawed}


def _per_category(problems: Sequence[Problem], config: AuditConfig) -> dict[str, Any]:
    """The best probe of each category; small ones are left to the whole."""
    found = {}
    for category in sorted({problem.category for problem in problems if problem.category}):
        texts = labelled([problem for problem in problems if problem.category == category])
        if len({text.block for text in texts}) >= 2 * config.folds:
            results = audit_pairs(texts, folds=config.folds, seed=config.seed)
            best = max(results, key=lambda name: results[name].pairwise.value)
            found[category] = {"best_probe": best, "best_pairwise": round(results[best].pairwise.value, 6)}
    return found


def describe_audit(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['data']}, {metrics['pairs']} pairs: {metrics['verdict']}", f"{'probe':>32} accuracy  pairs ordered"]
    lines += [f"{name:>32}   {row['answerability']:.3f}   {row['pairwise']:.3f}" for name, row in metrics["probes"].items()]
    lines += [
        f"{name!r} in {mark['sound']} sound and {mark['flawed']} flawed texts" for name, mark in metrics["marks"].items()
    ]
    return "\n".join([*lines, f"{metrics['identical_pairs']} pairs are the same text twice"])


def build_page(rows: Sequence[Mapping[str, Any]], metrics: Metrics) -> Page:
    """The audit as a page of the report: one row a probe."""
    return Page(
        title="Reason: does the wording give the label away?",
        verdict=f"On {metrics['pairs']} pairs of {metrics['data']} the best probe orders {metrics['best_pairwise']:.1%}: "
        f"{metrics['verdict']}.",
        story=[
            "A probe sees words, marks, numbers or length, but does no arithmetic. If it can tell a sound problem from its "
            "flawed twin, then so can a model, without noticing any flaw. One half means that it knows nothing."
        ],
        facts={"Best probe": metrics["best_probe"], "Pairs ordered": f"{metrics['best_pairwise']:.1%}"},
        exhibits=[
            Table(
                title="Probe by probe",
                caption="Accuracy on blocks that were held out, and the share of pairs whose sound text scores higher.",
                columns=["probe", "accuracy", "pairs ordered", "95 %"],
                rows=[
                    [
                        row["key"],
                        f"{row['answerability']:.3f}",
                        f"{row['pairwise']:.3f}",
                        "{:.3f} to {:.3f}".format(*row["pairwise_interval"]),
                    ]
                    for row in rows
                ],
            )
        ],
    )
