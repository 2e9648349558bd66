"""What the teacher is asked: every call of the pipeline with its key.

A call's key names everything on which its reply may depend: kind, messages (which hold the parents' content), sampling,
schema, teacher, seed and number. The token limit is left out. Siblings never enter a key, so adding, editing or removing a
discipline touches the calls of its own subtree only.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.seeds import derive
from tenfold.llm.chat import ChatRequest, Message, assistant, user
from tenfold.store.ledger import work_key
from tenfold.systems.glan.sampling import Draw, Mode
from tenfold.systems.glan.schemas import sessions_schema, subjects_schema
from tenfold.systems.glan.tree import Discipline, Subject, Syllabus

PAPER_TEMPERATURE = 1.0
QUESTION_TOKENS, ANSWER_TOKENS = 512, 2048
ROUNDS = 3


class PlanConfig(Config):
    """What is asked of the teacher, and how much."""

    turns: int = Field(2, ge=1, le=2)
    """2: a free text first, then the same as JSON (as the paper does); 1: JSON at once, under a grammar where it can be."""
    queries: int = Field(1, ge=1)
    """How often each discipline is asked for its subjects; the lists are united. The paper asks 10 times."""
    subjects: int = Field(2, ge=1)
    """Most subjects of a discipline that are grown, in the order of the united lists. The paper has 100 to 200."""
    sessions: int = Field(20, ge=1)
    """Most sessions that a one-turn request asks for, and most that are kept of a syllabus."""
    questions: int = Field(4, ge=0)
    """Questions for each subject, beside those that are held out."""
    rounds: int | None = Field(None, ge=1)
    """Rounds of questions: what the gates stop in one is replaced in the next; by default 3, and 1 for a local teacher."""
    held_out: int = Field(0, ge=0)
    """Questions for each subject that are kept for a test; no combination of theirs is used for training."""
    mode: Mode = "cover"
    """How key concepts are drawn: cover, by_size or uniform."""
    mix: float = Field(0.5, ge=0, le=1)
    """Share of questions about two sessions."""
    temperature: float | None = Field(None, ge=0)
    """For subjects, syllabi and questions; by default 1.0 as in the paper, and 0.7 for a local teacher."""
    answer_temperature: float = Field(0.7, ge=0)
    """For answers."""
    top_p: float = Field(0.95, gt=0, le=1)
    """Nucleus of all calls."""
    list_tokens: int = Field(4096, ge=16)
    """Most tokens of a list of subjects or a syllabus."""
    question_tokens: int | None = Field(None, ge=8)
    """Most tokens of a question; by default 512, and 128 for a local teacher."""
    answer_tokens: int | None = Field(None, ge=8)
    """Most tokens of an answer; by default 2,048, and 256 for a local teacher, which may not stop by itself."""
    seed: int = 0
    """Another seed is another data set."""


@dataclass(frozen=True)
class Call:
    """One request with its kind and key."""

    kind: str
    key: str
    request: ChatRequest


@dataclass(frozen=True)
class Reply:
    """What came of a call."""

    text: str
    truncated: bool = False
    """Cut off by the token limit or by a content filter."""
    too_long: bool = False
    """There is no text: the conversation did not fit into the teacher."""


class Planner:
    """Builds calls for a teacher, named by its fingerprint."""

    def __init__(self, config: PlanConfig, teacher: str) -> None:
        self.config, self.teacher = config, teacher
        self.temperature = PAPER_TEMPERATURE if config.temperature is None else config.temperature
        self.question_tokens = config.question_tokens or QUESTION_TOKENS
        self.answer_tokens = config.answer_tokens or ANSWER_TOKENS
        self.rounds = config.rounds or ROUNDS

    def subjects(self, discipline: Discipline, query: int) -> Call:
        """Asks for the subjects of a discipline, for the `query`-th time."""
        scope = f" It includes {', '.join(discipline.scope)}." if discipline.scope else ""
        if self.config.turns == 1:
            count = min(self.config.subjects, 12)
            text = render("subjects_json", discipline=discipline.name, scope=scope, count=count)
            return self._list_call("subjects", text, query, subjects_schema(count))
        return self._list_call("subjects", render("subjects", discipline=discipline.name, scope=scope), query)

    def syllabus(self, discipline: Discipline, subject: Subject) -> Call:
        """Asks for a subject's syllabus."""
        values = {
            "subject": subject.name,
            "discipline": discipline.name,
            "level": subject.level or "any",
            "subtopics": ", ".join(subject.subtopics) or "what is usual",
        }
        if self.config.turns == 1:
            text = render("syllabus_json", count=self.config.sessions, **values)
            return self._list_call("syllabus", text, 0, sessions_schema(self.config.sessions))
        return self._list_call("syllabus", render("syllabus", **values), 0)

    def second_turn(self, first: Call, reply: Reply) -> Call:
        """Asks in the same chat for the free text as JSON lines."""
        kind = {"subjects": "subjects_jsonl", "syllabus": "syllabus_extract"}[first.kind]
        return self._following(first, reply, kind, render(kind))

    def repair(self, call: Call, reply: Reply, problem: str) -> Call:
        """Asks once more for what could not be read."""
        return self._following(call, reply, "repair", render("repair", problem=problem))

    def question(self, syllabus: Syllabus, draw: Draw, *, brief: bool = False) -> Call:
        """Asks for a question about the drawn concepts; `brief` shows other sessions by their titles only."""
        text = render(
            "question",
            subject=syllabus.subject.name,
            discipline=syllabus.discipline.name,
            level=syllabus.subject.level or "any",
            syllabus=syllabus.brief(draw.combination) if brief else syllabus.text,
            sessions="; ".join(syllabus.sessions_of(draw.combination)),
            concepts="; ".join(syllabus.concepts_of(draw.combination)),
            combine=render("combine") + " " if draw.strategy == "two sessions" else "",
        )
        return self._call("question", (user(text),), draw.index, self.question_tokens, self.temperature)

    def answer(self, question: str) -> Call:
        """Asks the question, alone and as it is."""
        return self._call("answer", (user(question),), 0, self.answer_tokens, self.config.answer_temperature)

    def _list_call(self, kind: str, text: str, number: int, schema: dict[str, object] | None = None) -> Call:
        return self._call(kind, (user(text),), number, self.config.list_tokens, self.temperature, schema)

    def _following(self, call: Call, reply: Reply, kind: str, text: str) -> Call:
        messages = (*call.request.messages, assistant(reply.text), user(text))
        number = call.request.seed or 0
        return self._call(kind, messages, number, self.config.list_tokens, self.temperature, call.request.json_schema)

    def _call(
        self,
        kind: str,
        messages: Sequence[Message],
        number: int,
        max_tokens: int,
        temperature: float,
        schema: dict[str, object] | None = None,
    ) -> Call:
        key = work_key(
            kind=kind,
            messages=[[message.role, message.text] for message in messages],
            sampling=[temperature, self.config.top_p],
            schema=json.dumps(schema),
            teacher=self.teacher,
            seed=self.config.seed,
            number=number,
        )
        request = ChatRequest(
            tuple(messages),
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=self.config.top_p,
            seed=derive(0, key) >> 32,
            json_schema=schema,
        )
        return Call(kind, key, request)


@cache
def _template(name: str) -> str:
    return (files("tenfold.systems.glan") / "prompts" / f"{name}.txt").read_text(encoding="utf-8").strip()


def render(name: str, **values: object) -> str:
    """A prompt with its places filled in; a missing value is our own mistake."""
    return _template(name).format(**values)
