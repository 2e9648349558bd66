"""What the teacher may cost: calls, tokens and money, counted over everything that the ledger holds.

A call is counted when it is sent and its tokens when its reply is there; nothing is sent once a limit is reached. So the
limit on calls is exact, and tokens and money exceed theirs by the requests in flight at most.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.store.ledger import Ledger

BYTES_PER_TOKEN = 4


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
    """What was spent so far, or what is expected to be."""

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
        """Counts a reply as the ledger holds it."""
        self.prompt_tokens += result["prompt_tokens"]
        self.completion_tokens += result["completion_tokens"]


class Budget:
    """Says whether another call may be sent."""

    def __init__(self, config: BudgetConfig, spent: Spending) -> None:
        """Begins with what has been spent before.

        Raises:
            UserError: dollars are limited, but a price is missing.
        """
        if config.max_usd is not None and spent.usd(config) is None:
            raise UserError("max_usd is set, but a price is missing; give prompt_price and completion_price too")
        self.config, self.spent = config, spent

    @property
    def reached(self) -> str | None:
        """The limit that has been reached, in words, or None."""
        config, spent = self.config, self.spent
        for name, limit, value in (
            ("max_calls", config.max_calls, spent.calls),
            ("max_tokens", config.max_tokens, spent.tokens),
            ("max_usd", config.max_usd, spent.usd(config)),
        ):
            if limit is not None and value is not None and value >= limit:
                return f"{name} of {limit} is reached"
        return None


def spent_in(ledger: Ledger, kinds: tuple[str, ...]) -> Spending:
    """What the calls of these kinds in a ledger have cost; a failed one counts as a call without tokens."""
    spending = Spending()
    for kind in kinds:
        for entry in ledger.entries(kind):
            spending.calls += 1
            if entry.status == "done":
                spending.add_tokens(entry.result)
    return spending


def estimated_tokens(text: str) -> int:
    """Tokens of a text where nobody counts them."""
    return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN)
