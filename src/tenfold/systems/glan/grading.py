"""A judge as a gate: a model grades each pair from 1 to 10, and what earns less than asked for is stopped.

Only pairs that pass all other gates are graded. Every grade is in a ledger, so judging again asks for what is new only. A
reply that cannot be read, or a call that failed, stops nothing and is counted: it is no fault of the pair.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ApparatusError
from tenfold.core.records import Metrics
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError, user
from tenfold.llm.many import ask_all
from tenfold.store.ledger import Ledger, work_key
from tenfold.store.progress import counter
from tenfold.systems.glan.gates import Reason
from tenfold.systems.glan.planner import render
from tenfold.systems.glan.sieve import Sieve
from tenfold.systems.glan.teachers import is_local, open_teacher
from tenfold.systems.glan.tree import Pair

KIND = "grade"
LEAST, MOST = 1, 10
MOST_TOKENS = 64
BATCH = 500
"""Pairs whose grades are under way together."""
SCHEMA = {
    "type": "object",
    "properties": {"grade": {"type": "integer", "minimum": LEAST, "maximum": MOST}},
    "required": ["grade"],
}


class GradeConfig(Config):
    """Who grades pairs, and what they must earn."""

    judge: str = ""
    """Also let a model grade each pair, openai:NAME for example, and stop what earns less than least_grade."""
    least_grade: int = Field(6, ge=LEAST, le=MOST)
    """Lowest grade of 10 that passes the judge."""
    judge_ledger: Path | None = None
    """File of the judge's grades, to use them again; by default it lies in the run directory."""
    judge_concurrency: int = Field(16, ge=1)
    """Most requests to the judge in flight."""


def grade(sieve: Sieve, pairs: Callable[[], Iterable[Pair]], config: GradeConfig, folder: Path) -> Metrics:
    """Grades what the sieve lets pass, and stops in it what earns too little.

    Raises:
        ApparatusError: the judge answered no call, or none of its grades can be read.
    """
    judge = open_teacher(config.judge, concurrency=config.judge_concurrency)
    passing = [reason is None for reason in sieve.reasons()]
    numbered = ((number, pair) for number, pair in enumerate(pairs()) if passing[number])
    graded = unreadable = 0
    with (
        Ledger(config.judge_ledger or folder / "grades.sqlite") as ledger,
        counter("Grades", sum(passing)) as show,
    ):
        for number, found in _grades(judge, numbered, ledger, config):
            graded += found is not None
            unreadable += found is None
            if found is not None and found < config.least_grade:
                sieve.reject(number, Reason("judge", f"grade {found}; {config.least_grade} or more pass"))
            show(graded + unreadable)
    if unreadable and not graded:
        raise ApparatusError(
            f"{config.judge} gave no grade that can be read for any of {unreadable} pairs; take another judge"
        )
    return {"judge": config.judge, "graded": graded, "unreadable": unreadable}


def _grades(
    judge: ChatModel, pairs: Iterator[tuple[int, Pair]], ledger: Ledger, config: GradeConfig
) -> Iterator[tuple[int, int | None]]:
    """Each pair's number with its grade, batch by batch."""
    schema = SCHEMA if is_local(config.judge) else None
    while some := list(islice(pairs, BATCH)):
        calls = {number: _call(judge, pair, schema) for number, pair in some}
        _ask(judge, dict(calls.values()), ledger, config.judge_concurrency)
        for number, (key, _) in calls.items():
            entry = ledger.get(KIND, key)
            yield number, read_grade(entry.result["text"]) if entry and entry.status == "done" else None


def _ask(judge: ChatModel, requests: dict[str, ChatRequest], ledger: Ledger, concurrency: int) -> None:
    todo = {key: request for key, request in requests.items() if not _is_done(ledger, key)}

    def on_reply(key: str, reply: ChatReply | ProviderError) -> None:
        if isinstance(reply, ProviderError):
            ledger.fail(KIND, key, str(reply))
        else:
            ledger.put(KIND, key, {"text": reply.text})

    asyncio.run(ask_all(judge, todo, concurrency=concurrency, on_reply=on_reply))


def _is_done(ledger: Ledger, key: str) -> bool:
    entry = ledger.get(KIND, key)
    return entry is not None and entry.status == "done"


def _call(judge: ChatModel, pair: Pair, schema: dict[str, object] | None) -> tuple[str, ChatRequest]:
    text = render("grade", question=pair.instruction, answer=pair.answer)
    key = work_key(kind=KIND, text=text, judge=judge.fingerprint)
    return key, ChatRequest((user(text),), max_tokens=MOST_TOKENS, json_schema=schema)


def read_grade(text: str) -> int | None:
    """The grade in a reply: a named one, or the only whole number; None where there is none from 1 to 10."""
    named = re.search(r'"grade"\s*:\s*(\d+)\b(?!\.)', text)
    found = [named[1]] if named else re.findall(r"(?<![\d.])\d+(?![\d.])", text)
    is_grade = len(found) == 1 and LEAST <= int(found[0]) <= MOST
    return int(found[0]) if is_grade else None
