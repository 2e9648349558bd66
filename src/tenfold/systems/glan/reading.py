"""The tree as the ledger holds it, in the taxonomy's order: the same whoever asked, in which order, after how many kills.

Nothing is asked. A node whose calls have no reply is missing, one whose reply cannot be read is unread; both are counted.
Pairs come one by one, so memory does not grow with their number.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import NotAskedError, known_reply
from tenfold.systems.glan.growing import Conversation, list_subjects, make_pair, write_syllabus
from tenfold.systems.glan.parsing import ParseError, unite
from tenfold.systems.glan.planner import Planner
from tenfold.systems.glan.rounds import Accepts, Rounds, accept_all
from tenfold.systems.glan.tree import Discipline, Pair, Subject, Syllabus

Grown = TypeVar("Grown")


@dataclass
class Tally:
    """What a discipline has become."""

    subjects: int = 0
    syllabi: int = 0
    sessions: int = 0
    concepts: int = 0
    sessions_used: int = 0
    concepts_used: int = 0
    wanted: int = 0
    """Questions that its syllabi allow and the settings ask for."""
    short: int = 0
    """Questions that were asked for, but have no combination of key concepts left."""
    replaced: int = 0
    """Further questions, in place of those that the gates had stopped."""
    pairs: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    """Nodes without a reply, by kind."""
    unread: Counter[str] = field(default_factory=Counter)
    """Nodes whose reply cannot be read, by kind and reason."""

    @property
    def row(self) -> dict[str, Any]:
        """As plain JSON values."""
        return vars(self) | {"missing": dict(self.missing), "unread": dict(self.unread)}


class Reader:
    """Reads pairs; `tallies` fills up as disciplines are read, by their path."""

    def __init__(self, planner: Planner, ledger: Ledger, accepts: Accepts = accept_all) -> None:
        self.planner, self.ledger, self.accepts = planner, ledger, accepts
        self.tallies: dict[str, Tally] = {}
        self.calls: Counter[str] = Counter()
        """Calls with a reply that were met, by kind."""
        self.listed: list[int] = []
        """How many subjects each query brought."""

    def pairs(self, disciplines: Sequence[Discipline]) -> Iterator[Pair]:
        """All whole pairs, in the order of taxonomy, subjects and draws."""
        for discipline in disciplines:
            tally = self.tallies[discipline.path] = Tally()
            for subject in self.subjects(discipline, tally):
                syllabus = self.grown(write_syllabus(self.planner, discipline, subject), "syllabus", tally)
                if syllabus is not None:
                    yield from self.pairs_of(syllabus, tally)

    def subjects(self, discipline: Discipline, tally: Tally) -> tuple[Subject, ...]:
        """The united subjects; none while a query has no reply."""
        lists = []
        for query in range(self.planner.config.queries):
            before = tally.missing["subjects"]
            subjects = self.grown(list_subjects(self.planner, discipline, query), "subjects", tally)
            if tally.missing["subjects"] == before:
                lists.append(subjects or ())
                self.listed.append(len(lists[-1]))
        if len(lists) < self.planner.config.queries:
            return ()
        united = unite(lists, self.planner.config.subjects)
        tally.subjects = len(united)
        return united

    def pairs_of(self, syllabus: Syllabus, tally: Tally) -> Iterator[Pair]:
        """A syllabus's pairs, with what they use of it counted."""
        used: set[tuple[int, int]] = set()
        rounds, num_drawn = Rounds(self.planner, syllabus, self.accepts), 0
        while drawn := rounds.next():
            num_drawn += len(drawn)
            for draw in drawn:
                before = tally.missing["pair"]
                pair = self.grown(make_pair(self.planner, syllabus, draw), "pair", tally)
                if tally.missing["pair"] > before:
                    rounds.missing()
                if pair is not None:
                    rounds.came(draw, pair)
                    tally.pairs += 1
                    used |= set(draw.combination.concepts)
                    yield pair
        config, first = self.planner.config, num_drawn - rounds.num_replaced
        tally.wanted += first
        tally.short += config.held_out + config.questions - first
        tally.replaced += rounds.num_replaced
        tally.syllabi += 1
        tally.sessions += len(syllabus.sessions)
        tally.concepts += sum(syllabus.sizes)
        tally.sessions_used += len({session for session, _ in used})
        tally.concepts_used += len(used)

    def grown(self, conversation: Conversation[Grown], kind: str, tally: Tally) -> Grown | None:
        """What a conversation came to, or None, counted."""
        try:
            return self.replay(conversation)
        except NotAskedError:
            tally.missing[kind] += 1
        except ParseError as failure:
            tally.unread[f"{kind}: {failure.kind}"] += 1
        return None

    def replay(self, conversation: Conversation[Grown]) -> Grown:
        call = next(conversation)
        while True:
            reply = known_reply(self.ledger, call)
            if reply is None:
                raise NotAskedError(call.kind)
            self.calls[call.kind] += 1
            try:
                call = conversation.send(reply)
            except StopIteration as end:
                return end.value
