"""The guard as the server's seam (`llm.guard`): conversations in, verdicts out, answers watched as they grow."""

import hashlib
from collections.abc import Mapping, Sequence

from tenfold.core.config import canonical_json
from tenfold.llm.chat import Message
from tenfold.llm.guard import GuardVerdict
from tenfold.systems.shieldlm.guard import Guard, Verdict
from tenfold.systems.shieldlm.opening import open_guard, read_guard
from tenfold.systems.shieldlm.prompting import language_of
from tenfold.systems.shieldlm.stream import StreamGuard


def open_served(name: str) -> "ServedGuard":
    """The guard of a run's folder or a model, ready for a server."""
    return ServedGuard(open_guard(name), covered=read_guard(name).covered)


class ServedGuard:
    """Judges the last message of a conversation; what the user said before it is the query."""

    def __init__(self, guard: Guard, *, covered: Mapping[str, str] | None = None) -> None:
        """`covered`: OpenAI's categories that the model was trained to name."""
        self.guard = guard
        self.covered = dict(covered or {})

    @property
    def fingerprint(self) -> str:
        """Names model, prompts, packs and thresholds."""
        said = canonical_json([dict(self.guard.ids), self.guard.calibrator.model_dump(mode="json")])
        return hashlib.sha256(said.encode()).hexdigest()

    def check(self, messages: Sequence[Message], rules: Sequence[str] = ()) -> GuardVerdict:
        """Judges the last message; ConfigError if it is empty or too long, or there is none."""
        query, response = exchange(messages)
        return as_seen(self.guard.check(query, response, rules))

    def watch(self, messages: Sequence[Message], rules: Sequence[str] = ()) -> "ServedWatch":
        """Begins to judge an answer to `messages`."""
        query = messages[-1].text if messages else ""
        return ServedWatch(StreamGuard(self.guard.twin(), query, rules, lang=language_of(query)))


class ServedWatch:
    """One answer under observation."""

    def __init__(self, stream: StreamGuard) -> None:
        self.stream = stream

    @property
    def verdict(self) -> GuardVerdict | None:
        """The latest; its decision is block exactly if the stream has tripped."""
        latest = self.stream.latest
        return None if latest is None else as_seen(latest)

    def feed(self, chunk: str) -> str:
        return self.stream.feed(chunk)

    def finish(self) -> str:
        return self.stream.finish()


def exchange(messages: Sequence[Message]) -> tuple[str, str]:
    """Query and response: the last message, and the user's last one before it where the assistant spoke last."""
    if not messages:
        return "", ""
    *before, last = messages
    asked = [message.text for message in before if message.role == "user"] if last.role == "assistant" else []
    return (asked[-1] if asked else ""), last.text


def as_seen(verdict: Verdict) -> GuardVerdict:
    """A verdict in the seam's form."""
    return GuardVerdict(verdict.label, verdict.decision, verdict.score, verdict.probabilities, verdict.ids)
