"""The verb `generate`: grow the chosen disciplines, write the pairs in the tree's order, and gate them.

pairs.jsonl     all pairs          accepted.jsonl  those that pass every gate
rejected.jsonl  the others, with gate and evidence
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from pydantic import Field

from tenfold.core.config import Names, Paths
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.llm.chat import ChatModel
from tenfold.llm.opening import PREFIX
from tenfold.store.artifacts import sha256
from tenfold.store.ledger import Entry, Ledger, only_worker
from tenfold.store.progress import counter
from tenfold.store.runs import Run
from tenfold.systems.glan import scaling
from tenfold.systems.glan.asking import KINDS, Asking
from tenfold.systems.glan.batching import TakenIn, take_in, write_batch
from tenfold.systems.glan.budget import Budget, BudgetConfig, spent_in
from tenfold.systems.glan.estimate import estimate
from tenfold.systems.glan.gating import gate_file, load_decontaminator
from tenfold.systems.glan.pair_files import write_pairs
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import Call, PlanConfig, Planner
from tenfold.systems.glan.reading import Reader, Tally
from tenfold.systems.glan.taxonomy import BUNDLED, choose, load_taxonomy
from tenfold.systems.glan.teachers import is_local, open_teacher
from tenfold.systems.glan.tree import Discipline

LOCAL = {"temperature": 0.7, "question_tokens": 128, "answer_tokens": 256}
"""What a local teacher is given where nothing else is said: it is smaller and slower than an endpoint's."""


class GenerateConfig(PlanConfig, BudgetConfig):
    """Make instruction data from a taxonomy: subjects, syllabi, questions and answers by a teacher."""

    taxonomy: str = BUNDLED
    """The bundled taxonomy, or a TOML file of your own."""
    disciplines: Names = ("Algebra", "Cooking")
    """Names of disciplines, branches or fields to grow, or `all`."""
    teacher: str = "smollm2"
    """Who answers: a local model, openai:NAME, scripted, or scripted:defects."""
    turns: int = Field(0, ge=0, le=2)
    """2: free text, then the same as JSON; 1: JSON at once; 0: 1 for a local teacher, which a grammar holds, else 2."""
    sessions: int = Field(6, ge=1)
    """Most sessions that a one-turn request asks for, and most that are kept of a syllabus."""
    ledger: Path | None = None
    """File of the work ledger; give the same one again to add to a data set. By default it lies in the run directory."""
    against: Names = ()
    """Benchmarks whose items must not be in the data: gsm8k, mmlu, or JSONL files of questions."""
    language: str = Field("en", pattern="^(en|any)$")
    """Language of the pairs: en, or any for no such gate."""
    concurrency: int = Field(16, ge=1)
    """Most requests in flight."""
    shard: str = ""
    """i/n: only the i-th of n parts of the disciplines; merge the ledgers of all parts with `tenfold glan merge`."""
    workers: int = Field(0, ge=0)
    """Ray workers among whom the disciplines are dealt out; 0 asks from this process. Needs tenfold[scale]."""
    batch_in: Paths = ()
    """Result files of a provider's batches; their replies go into the ledger first."""
    batch_out: Path | None = None
    """Send nothing; write what is to be asked next as a file in OpenAI's Batch format."""
    dry_run: bool = False
    """Ask nothing; estimate calls, tokens and, with prices, money."""


def generate(config: GenerateConfig, run: Run) -> Metrics:
    """Asks what the ledger does not hold yet, then reads the tree from it.

    Raises:
        UserError: a name that is unknown, a limit on money without prices, a teacher that refuses every call, or another
            process that works on the same ledger.
    """
    disciplines = choose(load_taxonomy(config.taxonomy), config.disciplines)
    if config.shard:
        disciplines = scaling.dealt(disciplines, scaling.parse_shard(config.shard))
    benchmarks = load_decontaminator(config.against)
    teacher = open_teacher(config.teacher, concurrency=config.concurrency)
    planner = Planner(settled(config), teacher.fingerprint)
    place = config.ledger or run.folder / "ledger.sqlite"
    with nullcontext() if config.dry_run else only_worker(place), Ledger(place) as ledger:
        taken_in = [take_in(path, ledger) for path in config.batch_in]
        if config.dry_run:
            return _estimated(planner, ledger, disciplines, config)
        if config.batch_out is not None:
            return _batch(config, config.batch_out, planner, teacher, ledger, disciplines, taken_in)
        started = time.monotonic()
        if config.workers:
            asked = _ask_on_ray(config, ledger, run.folder)
        else:
            asked = _ask(config, planner, teacher, ledger, disciplines)
        reader = Reader(planner, ledger)
        write_pairs(run.folder / "pairs.jsonl", reader.pairs(disciplines))
        gated = gate_file(run.folder / "pairs.jsonl", run.folder, benchmarks=benchmarks, language=config.language)
        _add_rows(run, reader.tallies)
        return gated | _totals(reader.tallies) | asked | _costs(ledger, config) | _ending(run, started)


def settled(config: GenerateConfig) -> GenerateConfig:
    """The settings with what depends on the teacher: a local one is asked for JSON at once, less hot and more brief."""
    local = is_local(config.teacher)
    changes: dict[str, object] = {"turns": config.turns or (1 if local else 2)}
    if local:
        changes |= {name: value for name, value in LOCAL.items() if getattr(config, name) is None}
    return config.model_copy(update=changes)


def _batch(
    config: GenerateConfig,
    path: Path,
    planner: Planner,
    teacher: ChatModel,
    ledger: Ledger,
    disciplines: Sequence[Discipline],
    taken_in: Sequence[TakenIn],
) -> Metrics:
    """Writes the calls whose parents are known, each once."""
    deferred: list[Call] = []
    asking = Asking(teacher, ledger, Budget(config, spent_in(ledger, KINDS)), concurrency=1, deferred=deferred)
    asyncio.run(grow(planner, asking, disciplines))
    calls = {(call.kind, call.key): call for call in deferred}
    return {
        "batch": write_batch(path, calls.values(), config.teacher.removeprefix(PREFIX)),
        "batch_file": str(path),
        "kinds": dict(Counter(call.kind for call in calls.values())),
        "replies_in": sum(each.replies for each in taken_in),
        "failures_in": sum(each.failures for each in taken_in),
    }


def _ask(
    config: GenerateConfig, planner: Planner, teacher: ChatModel, ledger: Ledger, disciplines: Sequence[Discipline]
) -> Metrics:
    budget = Budget(config, spent_in(ledger, KINDS))
    asking = Asking(teacher, ledger, budget, concurrency=config.concurrency)
    total = len(disciplines) * config.subjects * (config.questions + config.held_out)
    with counter("Pairs", total) as show:
        done = iter(range(1, total + 1))
        asyncio.run(grow(planner, asking, disciplines, on_pair=lambda: show(next(done, total))))
    if asking.stopped and not asking.budget.reached:
        raise UserError(f"{asking.stopped}; check the name and the key, then go on with --resume: all replies are kept")
    failed = Counter(entry.reason.partition(":")[0] for kind in KINDS for entry in _failed(ledger, kind))
    return {"asked": asking.num_asked, "failed": dict(sorted(failed.items())), "stopped": asking.stopped}


def _ask_on_ray(config: GenerateConfig, ledger: Ledger, folder: Path) -> Metrics:
    """Each worker grows its part with an equal share of limits and requests; what they knew ends in `ledger`."""
    count = config.workers
    changes = {"workers": 0, "concurrency": max(1, config.concurrency // count), **scaling.shares(config, count)}
    parts = scaling.grow_on_ray(partial(_ask_shard, config.model_copy(update=changes)), count, ledger, folder)
    return {
        "asked": sum(part["asked"] for part in parts),
        "failed": dict(sorted(sum((Counter(part["failed"]) for part in parts), Counter()).items())),
        "stopped": next((part["stopped"] for part in parts if part["stopped"]), None),
    }


def _ask_shard(config: GenerateConfig, shard: scaling.Shard, ledger_file: Path) -> Metrics:
    """In a worker: grows one part into a ledger of its own."""
    disciplines = choose(load_taxonomy(config.taxonomy), config.disciplines)
    if config.shard:
        disciplines = scaling.dealt(disciplines, scaling.parse_shard(config.shard))
    teacher = open_teacher(config.teacher, concurrency=config.concurrency)
    with Ledger(ledger_file) as ledger:
        planner = Planner(settled(config), teacher.fingerprint)
        return _ask(config, planner, teacher, ledger, scaling.dealt(disciplines, shard))


def _failed(ledger: Ledger, kind: str) -> Iterator[Entry]:
    return (entry for entry in ledger.entries(kind) if entry.status == "failed")


def _estimated(planner: Planner, ledger: Ledger, disciplines: Sequence[Discipline], config: GenerateConfig) -> Metrics:
    expected = estimate(planner, ledger, disciplines)
    return {
        "dry_run": True,
        "calls": expected.spending.calls,
        "calls_by_kind": expected.calls,
        "prompt_tokens": expected.spending.prompt_tokens,
        "completion_tokens": expected.spending.completion_tokens,
        "usd": expected.spending.usd(config),
        "measured_kinds": list(expected.from_pilot),
    }


def _add_rows(run: Run, tallies: dict[str, Tally]) -> None:
    """One row per discipline, for the coverage map."""
    for path, tally in tallies.items():
        if path not in run.rows:
            run.add(path, tally.row)


def _totals(tallies: dict[str, Tally]) -> Metrics:
    """Sums over disciplines; coverage is None where there is nothing to cover."""
    names = ("subjects", "syllabi", "sessions", "concepts", "sessions_used", "concepts_used", "wanted")
    sums = {name: sum(getattr(tally, name) for tally in tallies.values()) for name in names}
    missing = sum((tally.missing for tally in tallies.values()), Counter())
    unread = sum((tally.unread for tally in tallies.values()), Counter())
    return sums | {
        "disciplines": len(tallies),
        "session_coverage": sums["sessions_used"] / sums["sessions"] if sums["sessions"] else None,
        "concept_coverage": sums["concepts_used"] / sums["concepts"] if sums["concepts"] else None,
        "missing": dict(sorted(missing.items())),
        "unread": dict(sorted(unread.items())),
    }


def _costs(ledger: Ledger, config: BudgetConfig) -> Metrics:
    spent = spent_in(ledger, KINDS)
    return {
        "calls": spent.calls,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "usd": spent.usd(config),
    }


def _ending(run: Run, started: float) -> Metrics:
    return {"seconds": round(time.monotonic() - started, 2), "sha256": sha256(run.folder / "pairs.jsonl")}


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    if "batch" in metrics:
        kinds = ", ".join(f"{kind} {number}" for kind, number in metrics["kinds"].items()) or "nothing: the tree is complete"
        known = f"{metrics['replies_in']} replies taken in, {metrics['failures_in']} failed"
        return f"{known}; {metrics['batch']} calls in {metrics['batch_file']} ({kinds})"
    money = f", {metrics['usd']:.2f} dollars" if metrics["usd"] is not None else ""
    tokens = f"{metrics['prompt_tokens'] + metrics['completion_tokens']:,} tokens{money}"
    if metrics.get("dry_run"):
        return f"{metrics['calls']:,} calls and about {tokens} are still to be asked"
    lines = [
        f"{metrics['accepted']} of {metrics['pairs']} pairs pass the gates; {metrics['wanted']} were wanted",
        f"{metrics['asked']} calls in {metrics['seconds']:.0f} s; the ledger holds {metrics['calls']} calls, {tokens}",
    ]
    for name in ("gates", "unread", "missing", "failed"):
        if metrics[name]:
            lines.append(f"{name}: " + ", ".join(f"{key} {number}" for key, number in metrics[name].items()))
    return "\n".join([*lines, *([f"stopped: {metrics['stopped']}"] if metrics["stopped"] else [])])
