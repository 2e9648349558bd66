"""What the teacher may cost: calls, tokens and money, counted over everything that the ledger holds.

Before a call is sent, the most that it can cost is reserved: the bytes of its prompt, which no byte-level tokenizer exceeds
in tokens, and its token limit. It is sent only if what was spent and all that is reserved stay within the limits; otherwise
it waits for calls under way to be settled, and where none is, the run stops. So spending never passes a limit, unless an
endpoint bills more than it was allowed to write. Reservations lie in the ledger: those of a killed process count as spent.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.llm.chat import ChatRequest
from tenfold.store.ledger import Ledger

BYTES_PER_TOKEN = 4
TOKENS_PER_TURN = 16
"""What a chat template writes around a turn, at most."""


class BudgetConfig(Config):
    """Limits of a data set, over all runs that share its ledger."""

    max_calls: int | None = Field(None, ge=0)
    """Most calls."""
    max_tokens: int | None = Field(None, ge=0)
    """Most tokens, those of prompts included."""
    max_usd: float | None = Field(None, ge=0)
    """Most dollars; needs the prices."""
    prompt_price: float | None = Field(None, ge=0)
    """Dollars for a million tokens of prompts."""
    completion_price: float | None = Field(None, ge=0)
    """Dollars for a million tokens of replies."""


@dataclass
class Spending:
    """What was spent so far, or what is expected or reserved."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def usd(self, config: BudgetConfig) -> float | None:
        """Dollars, or None where a price is missing."""
        if config.prompt_price is None or config.completion_price is None:
            return None
        return (self.prompt_tokens * config.prompt_price + self.completion_tokens * config.completion_price) / 1e6

    def add_tokens(self, result: dict[str, Any]) -> None:
        """Counts a reply as the ledger holds it, or what was claimed for one."""
        self.prompt_tokens += result["prompt_tokens"]
        self.completion_tokens += result["completion_tokens"]

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class Reservation:
    """What a call under way may cost, and the name of its claim in the ledger."""

    bound: Spending
    claim: str | None = None


class LimitReachedError(UserError):
    """The next call could pass a limit, and nothing is under way that would free any of what is reserved."""


@dataclass
class Budget:
    """Reserves before, settles after. Without a limit on tokens or money nothing is written into the ledger for it."""

    config: BudgetConfig
    spent: Spending
    ledger: Ledger | None = None
    """Where claims are kept; None for a budget that nobody has to remember."""
    under_way: dict[int, Reservation] = field(default_factory=dict)
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """UserError: dollars are limited, but a price is missing."""
        if self.config.max_usd is not None and self.spent.usd(self.config) is None:
            raise UserError("max_usd is set, but a price is missing; give prompt_price and completion_price too")

    @property
    def is_metered(self) -> bool:
        """Whether tokens or money are limited."""
        return self.config.max_tokens is not None or self.config.max_usd is not None

    async def reserve(self, request: ChatRequest) -> Reservation:
        """Waits until the request is sure to fit, and reserves what it may cost.

        Raises:
            LimitReachedError: it does not fit, and nothing is under way that could make room.
        """
        bound = bound_of(request)
        while (limit := self._passed_by(bound)) is not None:
            if not self.under_way:
                raise LimitReachedError(limit)
            self._settled.clear()
            await self._settled.wait()
        return self._reserved(bound)

    def settle(self, reservation: Reservation, result: dict[str, Any] | None) -> None:
        """Counts what a reply has cost instead of what was reserved; None where nothing was billed; the call counts."""
        del self.under_way[id(reservation)]
        self.spent.calls += 1
        if result is not None:
            self.spent.add_tokens(result)
        if reservation.claim is not None and self.ledger is not None:
            self.ledger.settle(reservation.claim)
        self._settled.set()

    def lose(self, request: ChatRequest) -> None:
        """An attempt went without a reply and may have been billed all the same: counts the most that it can have cost."""
        bound = bound_of(request)
        self.spent += Spending(0, bound.prompt_tokens, bound.completion_tokens)
        self._claim(bound)

    def _reserved(self, bound: Spending) -> Reservation:
        reservation = Reservation(bound, self._claim(bound))
        self.under_way[id(reservation)] = reservation
        return reservation

    def _claim(self, bound: Spending) -> str | None:
        if self.ledger is None or not self.is_metered:
            return None
        cost = {"prompt_tokens": bound.prompt_tokens, "completion_tokens": bound.completion_tokens}
        return self.ledger.claim(cost)

    def _passed_by(self, bound: Spending) -> str | None:
        """The limit that could be passed, in words, or None."""
        config = self.config
        if config.max_calls is None and not self.is_metered:
            return None
        reserved = sum((each.bound for each in self.under_way.values()), Spending())
        most = self.spent + reserved + bound
        for name, limit, value in (
            ("max_calls", config.max_calls, most.calls),
            ("max_tokens", config.max_tokens, most.tokens),
            ("max_usd", config.max_usd, most.usd(config)),
        ):
            if limit is not None and value is not None and value > limit:
                return self._told(name, limit, bound)
        return None

    def _told(self, name: str, limit: float, bound: Spending) -> str:
        if name == "max_calls":
            return f"max_calls of {limit} is reached"
        spent = {"max_tokens": self.spent.tokens, "max_usd": self.spent.usd(self.config)}[name]
        need = {"max_tokens": bound.tokens, "max_usd": bound.usd(self.config)}[name]
        return f"{name} is {limit:g}; {spent:g} is spent and the next call may need {need:g}"


def bound_of(request: ChatRequest) -> Spending:
    """The most that one attempt can cost."""
    turns = len(request.messages)
    prompt = sum(len(message.text.encode(errors="replace")) for message in request.messages) + TOKENS_PER_TURN * (turns + 1)
    return Spending(1, prompt, request.max_tokens)


def spent_in(ledger: Ledger, kinds: tuple[str, ...]) -> Spending:
    """What the calls of these kinds in a ledger have cost; a failed one counts as a call without tokens."""
    spending = Spending()
    for kind in kinds:
        for entry in ledger.entries(kind):
            result = entry.result if entry.status == "done" else None
            spending.calls += result.get("attempts", 1) if result else 1
            if result:
                spending.add_tokens(result)
    return spending


def owed_in(ledger: Ledger) -> Spending:
    """What was claimed and never settled: attempts without a reply, and what killed processes had under way."""
    spending = Spending()
    for cost in ledger.claims().values():
        spending.add_tokens(cost)
    return spending


def estimated_tokens(text: str) -> int:
    """Tokens of a text where nobody counts them."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)
