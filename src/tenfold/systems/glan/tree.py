"""The tree of knowledge as frozen records: discipline > subject > syllabus > session > key concept > instruction > answer.

A record holds content and nothing of when or in which order it came, so equal trees are equal bytes. `digest` names a
record by its content and that of its parents; siblings never enter it.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from tenfold.store.ledger import work_key
from tenfold.systems.glan.combinations import Combination
from tenfold.systems.glan.sampling import Strategy


@dataclass(frozen=True)
class Discipline:
    """A leaf of the taxonomy."""

    field: str
    branch: str
    name: str
    scope: tuple[str, ...] = ()
    """What it is about, in a few words each; may be empty."""
    kind: str = ""
    """academic, vocational, or what the user's own taxonomy says."""

    @property
    def path(self) -> str:
        """Names it within its taxonomy."""
        return f"{self.field} > {self.branch} > {self.name}"

    @cached_property
    def digest(self) -> str:
        return work_key(discipline=asdict(self))


@dataclass(frozen=True)
class Subject:
    """What a student of the discipline should learn."""

    name: str
    level: str
    subtopics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Session:
    """A class session with its key concepts."""

    name: str
    concepts: tuple[str, ...]


@dataclass(frozen=True)
class Syllabus:
    """A subject's syllabus: the teacher's text and the sessions read from it."""

    discipline: Discipline
    subject: Subject
    text: str
    sessions: tuple[Session, ...]

    @cached_property
    def digest(self) -> str:
        """Names the syllabus; also the key of its stream of draws."""
        return work_key(
            discipline=self.discipline.digest,
            subject=asdict(self.subject),
            text=self.text,
            sessions=[asdict(session) for session in self.sessions],
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of key concepts of each session."""
        return tuple(len(session.concepts) for session in self.sessions)

    def brief(self, combination: Combination) -> str:
        """A combination's sessions with their key concepts, all others by their titles: for a teacher with little room."""
        shown = set(combination.sessions)
        return "\n".join(
            f"{number + 1}. {session.name}" + (f": {'; '.join(session.concepts)}" if number in shown else "")
            for number, session in enumerate(self.sessions)
        )

    def concepts_of(self, combination: Combination) -> tuple[str, ...]:
        """The key concepts of a combination, by name."""
        return tuple(self.sessions[session].concepts[concept] for session, concept in combination.concepts)

    def sessions_of(self, combination: Combination) -> tuple[str, ...]:
        """The sessions of a combination, by name."""
        return tuple(self.sessions[session].name for session in combination.sessions)


@dataclass(frozen=True)
class Pair:
    """An instruction and its answer, with where they come from."""

    id: str
    instruction: str
    answer: str
    field: str
    branch: str
    discipline: str
    subject: str
    level: str
    sessions: tuple[str, ...]
    concepts: tuple[str, ...]
    strategy: Strategy
    draw: int
    split: str
    """train, or test for the draws that were held out."""
    truncated: bool
    """The teacher's answer was cut off by its token limit."""
    lineage: tuple[str, ...]
    """Digests of discipline, syllabus, question's call and answer's call."""

    @property
    def row(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self) | {name: list(getattr(self, name)) for name in ("sessions", "concepts", "lineage")}


def pair_of(row: dict[str, Any]) -> Pair:
    """Undoes `Pair.row`."""
    values: dict[str, Any] = row | {name: tuple(row[name]) for name in ("sessions", "concepts", "lineage")}
    return Pair(**values)
