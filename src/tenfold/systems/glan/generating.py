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
from typing import Literal

from pydantic import Field

from tenfold.core.config import Names, Paths
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.llm.chat import ChatModel
from tenfold.llm.opening import PREFIX
from tenfold.store.ledger import Entry, Ledger, only_worker
from tenfold.store.progress import counter
from tenfold.store.runs import Run
from tenfold.systems.glan import scaling
from tenfold.systems.glan.asking import AGAIN_WHEN_CUT, KINDS, Asking
from tenfold.systems.glan.batching import TakenIn, take_in, write_batch
from tenfold.systems.glan.budget import Budget, BudgetConfig, owed_in, spent_in
from tenfold.systems.glan.estimate import estimate
from tenfold.systems.glan.gating import GateOptions, acceptance, gate_file, load_decontaminator
from tenfold.systems.glan.merging import merge_file
from tenfold.systems.glan.outcome import costs, ending, totals
from tenfold.systems.glan.pair_files import write_pairs
from tenfold.systems.glan.piloting import pilot
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import Call, PlanConfig, Planner
from tenfold.systems.glan.reading import Reader, Tally
from tenfold.systems.glan.rounds import Accepts
from tenfold.systems.glan.taxonomy import BUNDLED, choose, load_taxonomy
from tenfold.systems.glan.teachers import is_local, open_teacher
from tenfold.systems.glan.tree import Discipline

LOCAL = {"temperature": 0.7, "question_tokens": 128, "answer_tokens": 256, "rounds": 1, "again_when_cut": 0}
"""What a local teacher is given where nothing else is said: it is smaller and slower than an endpoint's."""


class GenerateConfig(PlanConfig, BudgetConfig, GateOptions):
    """Make instruction data from a taxonomy: subjects, syllabi, questions and answers by a teacher."""

    taxonomy: str = BUNDLED
    """bundled, core126 (126 of its disciplines), or a TOML file of your own."""
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
    fsync: Literal["normal", "full"] = "normal"
    """normal: a reply survives any kill; full: a power cut too, and every reply waits for the disk."""
    again_when_cut: int | None = Field(None, ge=0)
    """How often a reply that its limit cut off, or an empty one, is asked for again, the last time with twice the limit; by
    default 2, and 0 for a local teacher."""
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
    pilot: int = Field(0, ge=0)
    """With dry_run: ask so many calls of each kind first, to estimate by their replies, which are kept; 8 do."""


def generate(config: GenerateConfig, run: Run) -> Metrics:
    """Asks what the ledger does not hold yet, then reads the tree from it.

    Raises:
        UserError: a name that is unknown, a limit on money without prices, a pilot without a dry run, a teacher that
            refuses every call, or another process that works on the same ledger.
    """
    if config.pilot and not config.dry_run:
        raise UserError("pilot is set without dry_run; give --dry-run too, or leave it out: a run needs no pilot")
    disciplines = choose(load_taxonomy(config.taxonomy), config.disciplines)
    if config.shard:
        disciplines = scaling.dealt(disciplines, scaling.parse_shard(config.shard))
    benchmarks = load_decontaminator(config.against)
    teacher = open_teacher(config.teacher, concurrency=config.concurrency)
    config = settled(config)
    planner, accepts = Planner(config, teacher.fingerprint), acceptance(config, benchmarks)
    place = config.ledger or run.folder / "ledger.sqlite"
    asks_nothing = config.dry_run and not config.pilot
    with nullcontext() if asks_nothing else only_worker(place), Ledger(place, synchronous=config.fsync) as ledger:
        taken_in = [take_in(path, ledger) for path in config.batch_in]
        if config.dry_run:
            return _estimated(planner, teacher, ledger, disciplines, config, accepts)
        if config.batch_out is not None:
            return _batch(config, config.batch_out, planner, teacher, ledger, disciplines, taken_in, accepts)
        started = time.monotonic()
        if config.workers:
            asked = _ask_on_ray(config, ledger, run.folder)
        else:
            asked = _ask(config, planner, teacher, ledger, disciplines, accepts)
        reader = Reader(planner, ledger, accepts)
        write_pairs(run.folder / "pairs.jsonl", reader.pairs(disciplines))
        gated = gate_file(run.folder / "pairs.jsonl", run.folder, config, benchmarks)
        _add_rows(run, reader.tallies)
        return gated | totals(reader.tallies) | asked | costs(ledger, config) | ending(run, started)


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
    accepts: Accepts,
) -> Metrics:
    """Writes the calls whose parents are known, each once."""
    deferred: list[Call] = []
    asking = _asking(config, teacher, ledger, deferred)
    asyncio.run(grow(planner, asking, disciplines, accepts=accepts))
    calls = {(call.kind, call.key): call for call in deferred}
    return {
        "batch": write_batch(path, calls.values(), config.teacher.removeprefix(PREFIX)),
        "batch_file": str(path),
        "kinds": dict(Counter(call.kind for call in calls.values())),
        "replies_in": sum(each.replies for each in taken_in),
        "failures_in": sum(each.failures for each in taken_in),
    }


def _asking(config: GenerateConfig, teacher: ChatModel, ledger: Ledger, deferred: list[Call] | None = None) -> Asking:
    """The teacher behind a budget that begins with all that the ledger has cost."""
    budget = Budget(config, spent_in(ledger, KINDS) + owed_in(ledger), ledger)
    again = AGAIN_WHEN_CUT if config.again_when_cut is None else config.again_when_cut
    return Asking(teacher, ledger, budget, concurrency=config.concurrency, deferred=deferred, again_when_cut=again)


def _ask(
    config: GenerateConfig,
    planner: Planner,
    teacher: ChatModel,
    ledger: Ledger,
    disciplines: Sequence[Discipline],
    accepts: Accepts,
) -> Metrics:
    asking = _asking(config, teacher, ledger)
    total = len(disciplines) * config.subjects * (config.questions + config.held_out)
    with counter("Pairs", total) as show:
        done = iter(range(1, total + 1))
        asyncio.run(grow(planner, asking, disciplines, accepts=accepts, on_pair=lambda: show(next(done, total))))
    if asking.stopped and not asking.is_limited:
        raise UserError(f"{asking.stopped}; check the name and the key, then go on with --resume: all replies are kept")
    failed = Counter(entry.reason.partition(":")[0] for kind in KINDS for entry in _failed(ledger, kind))
    return {"asked": asking.num_asked, "failed": dict(sorted(failed.items())), "stopped": asking.stopped}


def _ask_on_ray(config: GenerateConfig, ledger: Ledger, folder: Path) -> Metrics:
    """Each worker grows its part with an equal share of limits and requests; what they knew ends in `ledger`."""
    count = config.workers
    for part in sorted((folder / "shards").glob("*.sqlite")):
        merge_file(part, ledger)  # of a run that was killed
    spent = spent_in(ledger, KINDS) + owed_in(ledger)
    changes = {"workers": 0, "concurrency": max(1, config.concurrency // count), **scaling.shares(config, spent, count)}
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
        planner, accepts = Planner(config, teacher.fingerprint), acceptance(config, load_decontaminator(config.against))
        return _ask(config, planner, teacher, ledger, scaling.dealt(disciplines, shard), accepts)


def _failed(ledger: Ledger, kind: str) -> Iterator[Entry]:
    return (entry for entry in ledger.entries(kind) if entry.status == "failed")


def _estimated(
    planner: Planner,
    teacher: ChatModel,
    ledger: Ledger,
    disciplines: Sequence[Discipline],
    config: GenerateConfig,
    accepts: Accepts,
) -> Metrics:
    """The estimate, after a pilot if one is asked for."""
    asking = _asking(config, teacher, ledger)
    piloted = asyncio.run(pilot(planner, asking, disciplines, config.pilot)) if config.pilot else None
    if asking.stopped and not asking.is_limited:
        raise UserError(f"{asking.stopped}; check the name and the key")
    expected = estimate(planner, ledger, disciplines, accepts=accepts, piloted=piloted)
    return {
        "dry_run": True,
        "calls": expected.spending.calls,
        "calls_by_kind": expected.calls,
        "prompt_tokens": expected.spending.prompt_tokens,
        "completion_tokens": expected.spending.completion_tokens,
        "usd": expected.spending.usd(config),
        "measured_kinds": list(expected.from_pilot),
        "pilot_calls": asking.num_asked,
    }


def _add_rows(run: Run, tallies: dict[str, Tally]) -> None:
    """One row per discipline, for the coverage map."""
    for path, tally in tallies.items():
        if path not in run.rows:
            run.add(path, tally.row)
