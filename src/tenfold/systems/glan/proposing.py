"""A taxonomy proposed by a model: several differently worded requests, whose lines `Field > Branch > Discipline` are united.

Every reply is in a ledger, so a second run asks for nothing again. What several replies name comes first by their order;
lines that do not have three parts are counted and left out. A person decides about the result by vote (`voting`).
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tenfold.core.errors import ApparatusError
from tenfold.core.seeds import derive
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError, user
from tenfold.llm.many import ask_all
from tenfold.store.ledger import Ledger, work_key
from tenfold.systems.glan.planner import render
from tenfold.systems.glan.tree import Discipline

WORDINGS = ("taxonomy_1", "taxonomy_2", "taxonomy_3")
KIND = "taxonomy"
BULLET = re.compile(r"^[\s\-*•\d.)]+")
TEMPERATURE, TOP_P, MOST_TOKENS = 1.0, 0.95, 4096


@dataclass
class Proposal:
    """What the replies name."""

    disciplines: list[Discipline] = field(default_factory=list)
    unread_lines: int = 0


def propose(teacher: ChatModel, ledger: Ledger, *, queries: int, concurrency: int, seed: int) -> Proposal:
    """Asks every wording `queries` times, as far as the ledger does not know the reply, and unites the lines.

    Raises:
        ApparatusError: no request was answered.
    """
    calls = dict(_call(wording, number, teacher, seed) for wording in WORDINGS for number in range(queries))
    todo = {key: request for key, request in calls.items() if ledger.get(KIND, key) is None}
    failures: list[str] = []

    def on_reply(key: str, reply: ChatReply | ProviderError) -> None:
        if isinstance(reply, ProviderError):
            failures.append(str(reply))
        else:
            ledger.put(KIND, key, {"text": reply.text})

    asyncio.run(ask_all(teacher, todo, concurrency=concurrency, on_reply=on_reply))
    found = [entry.result["text"] for key in calls if (entry := ledger.get(KIND, key)) is not None]
    if not found:
        raise ApparatusError(f"no request for a taxonomy was answered: {failures[0]}")
    return united(found)


def _call(wording: str, number: int, teacher: ChatModel, seed: int) -> tuple[str, ChatRequest]:
    text = render(wording)
    key = work_key(kind=KIND, text=text, teacher=teacher.fingerprint, number=number, seed=seed)
    settings = {"max_tokens": MOST_TOKENS, "temperature": TEMPERATURE, "top_p": TOP_P}
    return key, ChatRequest((user(text),), seed=derive(seed, key) >> 32, **settings)


def united(texts: Iterable[str]) -> Proposal:
    """The disciplines of all replies in the order of first mention; one is the same however its letters' case."""
    proposal, seen = Proposal(), set[tuple[str, str, str]]()
    spelling: dict[str, str] = {}
    for line in (line for text in texts for line in text.splitlines() if line.strip()):
        parts = _parts(line)
        if parts is None:
            proposal.unread_lines += 1
            continue
        domain, branch, name = (spelling.setdefault(part.lower(), part) for part in parts)
        if (domain, branch, name) not in seen:
            seen.add((domain, branch, name))
            proposal.disciplines.append(Discipline(domain, branch, name))
    return proposal


def _parts(line: str) -> Sequence[str] | None:
    parts = [part.strip() for part in BULLET.sub("", line).split(">")]
    return parts if len(parts) == 3 and all(parts) else None
