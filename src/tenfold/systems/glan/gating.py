"""The verb `gate`: judge stored pairs again. Nobody is asked, but for an optional judge, and that one for each pair once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.glan import gates
from tenfold.systems.glan.benchmarks import load_benchmarks
from tenfold.systems.glan.decontaminate import Decontaminator
from tenfold.systems.glan.equations import arithmetic
from tenfold.systems.glan.gates import Reason
from tenfold.systems.glan.grading import GradeConfig, grade
from tenfold.systems.glan.pair_files import read_pairs, write_pairs, write_rows
from tenfold.systems.glan.sieve import Check, Sieve
from tenfold.systems.glan.tree import Pair


class GateOptions(Config):
    """Which gates pairs must pass, beside those that always stand."""

    against: Names = ()
    """Benchmarks whose items must not be in the data: gsm8k, mmlu, or JSONL files of questions."""
    language: str = Field("en", pattern="^(en|any)$")
    """Language of the pairs: en, or any for no such gate."""
    arithmetic: bool = False
    """Also stop answers with an equation of numbers that does not hold."""
    alike: float | None = Field(None, gt=0, le=1)
    """Also stop questions as alike as this to an earlier one: cosine of TF-IDF vectors, 0.8 for example; quadratic."""


class GateConfig(GateOptions, GradeConfig):
    """Judge pairs by every gate: form, duplicates, benchmarks, and, if asked for, arithmetic, likeness and a judge."""

    data: Path
    """A file of pairs: pairs.jsonl of a run of `generate`."""


def gate(config: GateConfig, run: Run) -> Metrics:
    """Writes accepted.jsonl and rejected.jsonl into the run directory."""
    return gate_file(config.data, run.folder, config, load_decontaminator(config.against), judged_by=config)


def load_decontaminator(names: Sequence[str]) -> Decontaminator | None:
    """The benchmarks of these names, ready to look for; None without a name."""
    return Decontaminator(load_benchmarks(names)) if names else None


def check_of(options: GateOptions) -> Check:
    """The gates on single pairs that the options ask for."""

    def check(pair: Pair) -> Reason | None:
        return gates.check(pair, language=options.language) or (arithmetic(pair) if options.arithmetic else None)

    return check


def acceptance(options: GateOptions, benchmarks: Decontaminator | None) -> Callable[[Pair], bool]:
    """Whether a pair passes all gates that can be told from it alone."""
    check = check_of(options)

    def accepts(pair: Pair) -> bool:
        texts = (pair.instruction, pair.answer)
        return check(pair) is None and not (benchmarks and any(benchmarks.check_all(texts)))

    return accepts


def gate_file(
    data: Path,
    folder: Path,
    options: GateOptions,
    benchmarks: Decontaminator | None,
    *,
    judged_by: GradeConfig | None = None,
) -> Metrics:
    """Judges a file of pairs, which is read more than once, so that the pairs need not be held in memory."""
    with Sieve(folder, check_of(options), benchmarks=benchmarks, alike_from=options.alike) as sieve:
        sieve.take(read_pairs(data))
        sieve.compare()
        grades = grade(sieve, lambda: read_pairs(data), judged_by, folder) if judged_by and judged_by.judge else {}
        accepted = write_pairs(
            folder / "accepted.jsonl",
            (pair for pair, reason in zip(read_pairs(data), sieve.reasons(), strict=True) if reason is None),
        )
        rejected = write_rows(
            folder / "rejected.jsonl",
            (
                _stopped(pair, reason)
                for pair, reason in zip(read_pairs(data), sieve.reasons(), strict=True)
                if reason is not None
            ),
        )
        counts = sieve.counts()
    return grades | {
        "pairs": accepted + rejected,
        "accepted": accepted,
        "gates": counts,
        "gates_version": gates.VERSION,
    }


def _stopped(pair: Pair, reason: Reason) -> dict[str, Any]:
    return pair.row | {"gate": reason.gate, "detail": reason.detail}


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    stopped = ", ".join(f"{gate} {number}" for gate, number in metrics["gates"].items())
    lines = [f"{metrics['accepted']} of {metrics['pairs']} pairs pass; stopped by: {stopped or 'no gate'}"]
    if "graded" in metrics:
        lines.append(f"{metrics['graded']} graded, {metrics['unreadable']} of the grades could not be read")
    return "\n".join(lines)
