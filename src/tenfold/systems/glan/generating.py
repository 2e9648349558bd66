"""The verb `generate`: grow the chosen disciplines, write the pairs in the tree's order, and gate them.

pairs.jsonl     all pairs          accepted.jsonl  those that pass every gate
rejected.jsonl  the others, with gate and evidence
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.llm.opening import PREFIX
from tenfold.store.ledger import Ledger, only_worker
from tenfold.store.runs import Run
from tenfold.systems.glan import scaling
from tenfold.systems.glan.asking import KINDS
from tenfold.systems.glan.batching import TakenIn, take_in
from tenfold.systems.glan.budget import owed_in, spent_in
from tenfold.systems.glan.gating import acceptance, gate_file, load_decontaminator
from tenfold.systems.glan.merging import merge_file
from tenfold.systems.glan.outcome import costs, ending, totals
from tenfold.systems.glan.pair_files import write_pairs
from tenfold.systems.glan.reading import Reader, Tally
from tenfold.systems.glan.settings import GenerateConfig, settled
from tenfold.systems.glan.taxonomy import choose, load_taxonomy
from tenfold.systems.glan.teachers import open_teacher
from tenfold.systems.glan.tree import Discipline
from tenfold.systems.glan.work import Work


def generate(config: GenerateConfig, run: Run) -> Metrics:
    """Asks what the ledger does not hold yet, then reads the tree from it.

    Raises:
        UserError: a name that is unknown, a limit on money without prices, a pilot without a dry run, a teacher that
            refuses every call, or another process that works on the same ledger.
    """
    if config.pilot and not config.dry_run:
        raise UserError("pilot is set without dry_run; give --dry-run too, or leave it out: a run needs no pilot")
    benchmarks = load_decontaminator(config.against)
    teacher, config = open_teacher(config.teacher, concurrency=config.concurrency), settled(config)
    place = config.ledger or run.folder / "ledger.sqlite"
    asks_nothing = config.dry_run and not config.pilot
    with nullcontext() if asks_nothing else only_worker(place), Ledger(place, synchronous=config.fsync) as ledger:
        taken_in = [take_in(path, ledger) for path in config.batch_in]
        work = Work(config, teacher, ledger, chosen(config), acceptance(config, benchmarks))
        if config.dry_run:
            return work.estimated(pilot_size=config.pilot)
        if config.batch_out is not None:
            return work.batched(config.batch_out, config.teacher.removeprefix(PREFIX)) | _taken(taken_in)
        started = time.monotonic()
        asked = _ask_on_ray(config, ledger, run.folder) if config.workers else work.asked()
        reader = Reader(work.planner, ledger, work.accepts)
        write_pairs(run.folder / "pairs.jsonl", reader.pairs(work.disciplines))
        gated = gate_file(run.folder / "pairs.jsonl", run.folder, config, benchmarks)
        _add_rows(run, reader.tallies)
        return gated | totals(reader.tallies) | asked | costs(ledger, config) | ending(run, started)


def chosen(config: GenerateConfig) -> Sequence[Discipline]:
    """The disciplines that the settings name, or those of them that fall to the shard."""
    disciplines = choose(load_taxonomy(config.taxonomy), config.disciplines)
    return scaling.dealt(disciplines, scaling.parse_shard(config.shard)) if config.shard else disciplines


def _taken(taken_in: Sequence[TakenIn]) -> Metrics:
    return {
        "replies_in": sum(each.replies for each in taken_in),
        "failures_in": sum(each.failures for each in taken_in),
    }


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
    teacher = open_teacher(config.teacher, concurrency=config.concurrency)
    accepts = acceptance(config, load_decontaminator(config.against))
    with Ledger(ledger_file, synchronous=config.fsync) as ledger:
        return Work(config, teacher, ledger, scaling.dealt(chosen(config), shard), accepts).asked()


def _add_rows(run: Run, tallies: dict[str, Tally]) -> None:
    """One row per discipline, for the coverage map."""
    for path, tally in tallies.items():
        if path not in run.rows:
            run.add(path, tally.row)
