"""The seam for whoever watches over a server: a conversation and rules come in, a verdict goes out; or text as it grows.

    verdict = guard.check(messages, rules)              judges the last message in the light of what was said before it
    watch = guard.watch(messages, rules)                of an answer that is being written
    released = watch.feed(chunk); ...; watch.finish()   text that may be shown so far; nothing more once watch.verdict blocks

Checks compute and block; a server calls them in a thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tenfold.llm.chat import Message

GuardDecision = Literal["allow", "review", "block"]


@dataclass(frozen=True)
class GuardVerdict:
    """What a guard found."""

    label: str
    """safe, unsafe or controversial."""
    decision: GuardDecision
    """block and allow are bound to promised error rates; review is what lies between."""
    score: float
    """0 safe to 1 unsafe."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """By label."""
    ids: Mapping[str, str] = field(default_factory=dict)
    """What the verdict depends on: hashes of model, prompt, rules and thresholds."""


class Watch(Protocol):
    """One answer under observation while it is written."""

    @property
    def verdict(self) -> GuardVerdict | None:
        """The latest; None before the first probe."""
        ...

    def feed(self, chunk: str) -> str:
        """Takes text as it comes; returns what may be shown beyond what was returned before."""
        ...

    def finish(self) -> str:
        """The answer is whole: judges all of it and returns the rest that may be shown."""
        ...


class Guard(Protocol):
    """Whoever judges texts."""

    @property
    def fingerprint(self) -> str:
        """Names model, prompt and thresholds."""
        ...

    def check(self, messages: Sequence[Message], rules: Sequence[str] = ()) -> GuardVerdict:
        """Judges the last message.

        Raises:
            UserError: the text is empty, too long, or a rule is unknown.
        """
        ...

    def watch(self, messages: Sequence[Message], rules: Sequence[str] = ()) -> Watch:
        """Begins to judge an answer to `messages`."""
        ...
