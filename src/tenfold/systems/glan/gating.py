"""The verb `gate`: judge stored pairs again, without asking anybody."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.glan import gates
from tenfold.systems.glan.benchmarks import load_benchmarks
from tenfold.systems.glan.decontaminate import Decontaminator
from tenfold.systems.glan.pair_files import read_pairs, write_pairs, write_rows
from tenfold.systems.glan.sieve import sieve


class GateConfig(Config):
    """Judge pairs by every gate: form, duplicates, benchmarks."""

    data: Path
    """A file of pairs: pairs.jsonl of a run of `generate`."""
    against: Names = ()
    """Benchmarks whose items must not be in the data: gsm8k, mmlu, or JSONL files of questions."""
    language: str = Field("en", pattern="^(en|any)$")
    """Language of the pairs: en, or any for no such gate."""


def gate(config: GateConfig, run: Run) -> Metrics:
    """Writes accepted.jsonl and rejected.jsonl into the run directory."""
    benchmarks = load_decontaminator(config.against)
    return gate_file(config.data, run.folder, benchmarks=benchmarks, language=config.language)


def load_decontaminator(names: Sequence[str]) -> Decontaminator | None:
    """The benchmarks of these names, ready to look for; None without a name."""
    return Decontaminator(load_benchmarks(names)) if names else None


def gate_file(data: Path, folder: Path, *, benchmarks: Decontaminator | None, language: str) -> Metrics:
    """Judges a file of pairs, which is read more than once, so that the pairs need not be held in memory."""
    verdicts = sieve(read_pairs(data), benchmarks=benchmarks, language=language)
    accepted = write_pairs(folder / "accepted.jsonl", (pair for pair in read_pairs(data) if pair.id not in verdicts))
    rejected = write_rows(
        folder / "rejected.jsonl",
        (
            pair.row | {"gate": verdicts[pair.id].gate, "detail": verdicts[pair.id].detail}
            for pair in read_pairs(data)
            if pair.id in verdicts
        ),
    )
    stopped = Counter(reason.gate for reason in verdicts.values())
    return {
        "pairs": accepted + rejected,
        "accepted": accepted,
        "gates": dict(sorted(stopped.items())),
        "gates_version": gates.VERSION,
    }


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    stopped = ", ".join(f"{gate} {number}" for gate, number in metrics["gates"].items())
    return f"{metrics['accepted']} of {metrics['pairs']} pairs pass; stopped by: {stopped or 'no gate'}"
