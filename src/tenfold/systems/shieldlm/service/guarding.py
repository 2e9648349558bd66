"""What the routes share: the guard in a thread of its own, its categories, and the log of decisions.

One thread computes, as the guard judges one text at a time; requests wait in its queue without holding the server up.
"""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from openai.types import moderation

from tenfold.core.config import canonical_json
from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.audit import AuditLog
from tenfold.systems.shieldlm.checking import audit_record
from tenfold.systems.shieldlm.guard import Guard, Verdict
from tenfold.systems.shieldlm.prompting import CATEGORY

Result = TypeVar("Result")
CATEGORY_KEYS = tuple(field.alias or name for name, field in moderation.Categories.model_fields.items())
"""The names of OpenAI's categories, as its own package spells them."""


class GuardService:
    """A guard for many clients at once."""

    def __init__(
        self,
        guard: Guard,
        *,
        name: str = "tenfold-guard",
        log: AuditLog | None = None,
        covered: Mapping[str, str] | None = None,
        max_waiting: int = 1000,
    ) -> None:
        """`covered`: for each OpenAI category that the model was trained to name, the text that it writes for it.

        Raises:
            ConfigError: a category that OpenAI does not have.
        """
        self.guard = guard
        self.name = name
        self.log = log
        self.covered = dict(covered or {})
        self.max_waiting = max_waiting
        self.num_waiting = 0
        if unknown := sorted(set(self.covered) - set(CATEGORY_KEYS)):
            raise ConfigError(f"unknown category {unknown[0]!r}; OpenAI has {', '.join(CATEGORY_KEYS)}")
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="guard")

    @property
    def fingerprint(self) -> str:
        """Sixteen digits that name model, prompts, packs and thresholds."""
        said = canonical_json([dict(self.guard.ids), self.guard.calibrator.model_dump(mode="json")])
        return hashlib.sha256(said.encode()).hexdigest()[:16]

    @property
    def uncovered(self) -> list[str]:
        """Categories that the model was not trained to name; their scores are 0 and mean nothing."""
        return [key for key in CATEGORY_KEYS if key not in self.covered]

    async def run(self, work: Callable[[], Result]) -> Result:
        """Runs work on the guard's thread.

        Raises:
            ServerBusyError: too many requests are waiting.
        """
        if self.num_waiting >= self.max_waiting:
            raise ServerBusyError(f"{self.num_waiting} requests are waiting; try again later")
        self.num_waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self.num_waiting -= 1

    async def check(self, query: str, response: str, rules: Sequence[str] = (), **options: Any) -> Verdict:
        """A verdict, put on record."""

        def work() -> Verdict:
            verdict = self.guard.check(query, response, rules, **options)
            self.record(response, verdict)
            return verdict

        return await self.run(work)

    async def moderate(self, text: str) -> tuple[Verdict, dict[str, float]]:
        """A verdict and the categories' scores."""

        def work() -> tuple[Verdict, dict[str, float]]:
            verdict = self.guard.check("", text)
            self.record(text, verdict)
            return verdict, self._categories(text, verdict)

        return await self.run(work)

    def record(self, text: str, verdict: Verdict) -> None:
        """Appends a decision to the log, if there is one."""
        if self.log:
            self.log.append(text, audit_record(verdict))

    def _categories(self, text: str, verdict: Verdict) -> dict[str, float]:
        """p(category | unsafe) of the covered ones, times the score; 0 for the others."""
        found = dict.fromkeys(CATEGORY_KEYS, 0.0)
        if not self.covered:
            return found
        scorer = self.guard.scorer
        prompt = scorer.prompt("", text, lang=verdict.lang)
        said = {key: prompt.verdicts["unsafe"] + CATEGORY.format(name) for key, name in self.covered.items()}
        shares = scorer.score_prompt(prompt, said).probabilities
        return found | {key: share * verdict.score for key, share in shares.items()}


class ServerBusyError(Exception):
    """More requests wait than the service holds; HTTP 429."""
