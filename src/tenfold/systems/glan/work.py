"""The work of a run: a teacher, a ledger and disciplines; to be asked for, written as a batch, or estimated."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.llm.chat import ChatModel
from tenfold.store.ledger import Ledger
from tenfold.store.progress import counter
from tenfold.systems.glan.asking import AGAIN_WHEN_CUT, KINDS, Asking
from tenfold.systems.glan.batching import write_batch
from tenfold.systems.glan.budget import Budget, owed_in, spent_in
from tenfold.systems.glan.estimate import estimate
from tenfold.systems.glan.piloting import pilot
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import Call, Planner
from tenfold.systems.glan.rounds import Accepts
from tenfold.systems.glan.settings import GenerateConfig
from tenfold.systems.glan.tree import Discipline


@dataclass(frozen=True)
class Work:
    """What one process has to do."""

    config: GenerateConfig
    teacher: ChatModel
    ledger: Ledger
    disciplines: Sequence[Discipline]
    accepts: Accepts
    """Which pairs are good; the others are replaced in further rounds."""

    @property
    def planner(self) -> Planner:
        return Planner(self.config, self.teacher.fingerprint)

    def asking(self, deferred: list[Call] | None = None) -> Asking:
        """The teacher behind a budget that begins with all that the ledger has cost."""
        config = self.config
        budget = Budget(config, spent_in(self.ledger, KINDS) + owed_in(self.ledger), self.ledger)
        again = AGAIN_WHEN_CUT if config.again_when_cut is None else config.again_when_cut
        return Asking(
            self.teacher, self.ledger, budget, concurrency=config.concurrency, deferred=deferred, again_when_cut=again
        )

    def asked(self) -> Metrics:
        """Asks for everything that the ledger does not hold.

        Raises:
            UserError: the teacher refuses one call after the other.
        """
        asking, config = self.asking(), self.config
        total = len(self.disciplines) * config.subjects * (config.questions + config.held_out)
        with counter("Pairs", total) as show:
            done = iter(range(1, total + 1))
            growing = grow(
                self.planner, asking, self.disciplines, accepts=self.accepts, on_pair=lambda: show(next(done, total))
            )
            asyncio.run(growing)
        _check(asking)
        failed = Counter(
            entry.reason.partition(":")[0]
            for kind in KINDS
            for entry in self.ledger.entries(kind)
            if entry.status == "failed"
        )
        return {"asked": asking.num_asked, "failed": dict(sorted(failed.items())), "stopped": asking.stopped}

    def batched(self, path: Path, model: str) -> Metrics:
        """Writes the calls whose parents are known, each once, and sends nothing."""
        deferred: list[Call] = []
        asyncio.run(grow(self.planner, self.asking(deferred), self.disciplines, accepts=self.accepts))
        calls = {(call.kind, call.key): call for call in deferred}
        return {
            "batch": write_batch(path, calls.values(), model),
            "batch_file": str(path),
            "kinds": dict(Counter(call.kind for call in calls.values())),
        }

    def estimated(self, *, pilot_size: int) -> Metrics:
        """What is still to be asked for, after a pilot if one is wanted."""
        asking, planner = self.asking(), self.planner
        piloted = asyncio.run(pilot(planner, asking, self.disciplines, pilot_size)) if pilot_size else None
        _check(asking)
        expected = estimate(planner, self.ledger, self.disciplines, accepts=self.accepts, piloted=piloted)
        return {
            "dry_run": True,
            "calls": expected.spending.calls,
            "calls_by_kind": expected.calls,
            "prompt_tokens": expected.spending.prompt_tokens,
            "completion_tokens": expected.spending.completion_tokens,
            "usd": expected.spending.usd(self.config),
            "measured_kinds": list(expected.from_pilot),
            "pilot_calls": asking.num_asked,
        }


def _check(asking: Asking) -> None:
    if asking.stopped and not asking.is_limited:
        raise UserError(f"{asking.stopped}; check the name and the key, then go on with --resume: all replies are kept")
