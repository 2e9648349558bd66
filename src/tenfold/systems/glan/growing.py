"""How a node of the tree grows, as conversations: generators that yield calls and are sent replies.

Whoever has the replies drives them: the pipeline by asking the teacher, the reader by looking into the ledger. So both
build the same tree, and what a node becomes depends on replies only, never on when they came.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from tenfold.systems.glan.parsing import ParseError, parse_sessions, parse_subjects
from tenfold.systems.glan.planner import Call, Planner, Reply
from tenfold.systems.glan.sampling import Draw, draws
from tenfold.systems.glan.tree import Discipline, Pair, Session, Subject, Syllabus

Grown = TypeVar("Grown")
Conversation = Generator[Call, Reply, Grown]
REPAIRS = 1
"""How often a reply that cannot be read is asked for once more."""


def list_subjects(planner: Planner, discipline: Discipline, query: int) -> Conversation[tuple[Subject, ...]]:
    """The subjects that one query finds; raises ParseError."""
    _, subjects = yield from _read_list(planner, planner.subjects(discipline, query), parse_subjects)
    return subjects


def write_syllabus(planner: Planner, discipline: Discipline, subject: Subject) -> Conversation[Syllabus]:
    """A subject's syllabus with its sessions; raises ParseError."""
    text, sessions = yield from _read_list(planner, planner.syllabus(discipline, subject), parse_sessions)
    kept = sessions[: planner.config.sessions]
    return Syllabus(discipline, subject, text if planner.config.turns == 2 else _outline(kept), kept)


def make_pair(planner: Planner, syllabus: Syllabus, draw: Draw) -> Conversation[Pair]:
    """A question about the drawn concepts, and its answer; raises ParseError where one of them is empty."""
    asking = planner.question(syllabus, draw)
    question = yield asking
    if question.too_long:
        asking = planner.question(syllabus, draw, brief=True)
        question = yield asking
    answering = planner.answer(_not_empty(question, "question"))
    answer = yield answering
    return Pair(
        id=answering.key[:16] + asking.key[:8],
        instruction=question.text.strip(),
        answer=_not_empty(answer, "answer"),
        field=syllabus.discipline.field,
        branch=syllabus.discipline.branch,
        discipline=syllabus.discipline.name,
        subject=syllabus.subject.name,
        level=syllabus.subject.level,
        sessions=syllabus.sessions_of(draw.combination),
        concepts=syllabus.concepts_of(draw.combination),
        strategy=draw.strategy,
        draw=draw.index,
        split="test" if draw.index < planner.config.held_out else "train",
        truncated=question.truncated or answer.truncated,
        lineage=(syllabus.discipline.digest, syllabus.digest, asking.key, answering.key),
    )


def stream_of(planner: Planner, syllabus: Syllabus) -> Iterator[Draw]:
    """The syllabus's draws, those held out first, until no combination is left."""
    config = planner.config
    return draws(syllabus.sizes, syllabus.digest, mode=config.mode, mix=config.mix, reserved=config.held_out)


def _read_list(
    planner: Planner, first: Call, parse: Callable[[str], Sequence[Grown]]
) -> Conversation[tuple[str, tuple[Grown, ...]]]:
    """The first reply's text, and what is read from the last reply of the chat."""
    reply = text = _fitting((yield first))
    call = first
    if planner.config.turns == 2:
        call = planner.second_turn(first, reply)
        reply = _fitting((yield call))
    for _ in range(REPAIRS):
        try:
            return text.text.strip(), tuple(parse(reply.text))
        except ParseError as failure:
            call = planner.repair(call, reply, failure.kind)
            reply = _fitting((yield call))
    return text.text.strip(), tuple(parse(reply.text))


def _outline(sessions: Sequence[Session]) -> str:
    """Sessions as the syllabus that questions are shown, where no free text was asked for."""
    return "\n".join(f"{number}. {s.name}: {'; '.join(s.concepts)}" for number, s in enumerate(sessions, 1))


def _fitting(reply: Reply) -> Reply:
    if reply.too_long:
        raise ParseError("too_long", "the conversation does not fit into the teacher")
    return reply


def _not_empty(reply: Reply, what: str) -> str:
    _fitting(reply)
    if not reply.text.strip():
        raise ParseError("empty", f"the {what} has no text")
    return reply.text.strip()
