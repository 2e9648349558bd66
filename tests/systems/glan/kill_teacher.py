"""Grows a small tree by a slow scripted teacher, so that a test can kill it: kill_teacher.py LEDGER LOG CONCURRENCY.

Every request is written to the log before it is answered.
"""

import asyncio
import sys
from pathlib import Path

from tenfold.llm.chat import ChatReply, ChatRequest
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import Asking
from tenfold.systems.glan.budget import Budget, BudgetConfig, Spending
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import PlanConfig, Planner
from tenfold.systems.glan.taxonomy import choose, load_taxonomy
from tenfold.systems.glan.teachers import scripted_teacher

PLAN = PlanConfig(queries=2, subjects=3, questions=4)
NAMES = ["Algebra", "Baking"]


class Logged:
    """The scripted teacher, with a log of what it was asked and of what it has answered."""

    def __init__(self, log: Path) -> None:
        self.inner = scripted_teacher(defects=0.2, latency_s=0.004)
        self.log = log
        self.name, self.fingerprint, self.takes_images = self.inner.name, self.inner.fingerprint, False

    async def chat(self, request: ChatRequest) -> ChatReply:
        with self.log.open("a") as file:
            file.write(f"{request.digest}\n")
        return await self.inner.chat(request)


def main(ledger_path: str, log: str, concurrency: str) -> None:
    teacher = Logged(Path(log))
    with Ledger(Path(ledger_path)) as ledger:
        asking = Asking(teacher, ledger, Budget(BudgetConfig(), Spending()), concurrency=int(concurrency))
        asyncio.run(grow(Planner(PLAN, teacher.fingerprint), asking, choose(load_taxonomy(), NAMES)))


if __name__ == "__main__":
    main(*sys.argv[1:])
