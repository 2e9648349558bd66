"""How a problem is put to a model: a template, for CCC its stages and mode, and how the answer is taken.

    direct, cot, hint, padding, ccc          one message
    ccc:critical+conclusion                  some of the three stages
    ccc@turns, ccc:critical+calculation@gate one message a stage; behind a gate

A conversation is a function of the replies so far: what to ask next, or what was answered. So it needs no state of its own,
and a killed run goes on from the replies it kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import exp
from typing import Literal

from tenfold.core.errors import ConfigError
from tenfold.llm.chat import ChatReply, ChatRequest, Message, assistant, user
from tenfold.systems.ump import templates
from tenfold.systems.ump.problems import Problem
from tenfold.systems.ump.templates import CCC, STAGES, Mode

Method = Literal["generate", "logprob"]
LETTERS = ("A", "B")
Replies = Mapping[str, ChatReply]


@dataclass(frozen=True)
class Way:
    """One way of putting problems; `name` is as the user wrote it."""

    name: str
    template: str
    stages: tuple[str, ...] = STAGES
    mode: Mode = "one"


@dataclass(frozen=True)
class Written:
    """What a model answered: the text of all its turns, and how the last one ended."""

    text: str
    finish: str
    tokens: int
    reasoning_tokens: int


def parse_way(name: str) -> Way:
    """A way from its name.

    Raises:
        UserError: an unknown template, stage or mode, or stages of a template that has none.
    """
    rest, _, mode = name.partition("@")
    template, colon, stages = rest.partition(":")
    templates.check_template(template)
    if template != CCC and (colon or mode):
        raise ConfigError(f"template {name!r}: only {CCC} has stages and modes; write {template}")
    chosen = templates.parse_stages(stages.replace("+", ",")) if colon else STAGES
    return Way(name, template, chosen, templates.parse_mode(mode or "one", chosen))


def outstanding(way: Way, problem: Problem, method: Method, max_tokens: int, replies: Replies) -> Iterator[ChatRequest]:
    """The requests that can be made now: the next turn of a conversation, or both orders of the letters."""
    if method == "logprob":
        yield from (request for request in letter_requests(way, problem) if request.digest not in replies)
        return
    last = list(turns(way, problem, max_tokens, replies))[-1]
    if last.digest not in replies:
        yield last


def turns(way: Way, problem: Problem, max_tokens: int, replies: Replies) -> Iterator[ChatRequest]:
    """The requests of a conversation up to the first one without a reply."""
    messages: list[Message] = []
    previous = ""
    for stage, text in _texts(way, problem).items():
        if way.mode == "gate" and stage == "calculation" and not templates.is_passed(previous):
            continue
        request = ChatRequest((*messages, user(text)), max_tokens=max_tokens)
        yield request
        if request.digest not in replies:
            return
        previous = replies[request.digest].text
        messages += [user(text), assistant(previous)]


def written(way: Way, problem: Problem, max_tokens: int, replies: Replies) -> Written | None:
    """The whole answer; None where a call failed."""
    found = [replies.get(request.digest) for request in turns(way, problem, max_tokens, replies)]
    known = [reply for reply in found if reply is not None]
    if len(known) < len(found):
        return None
    return Written(
        text="\n\n".join(reply.text for reply in known),
        finish=known[-1].finish_reason,
        tokens=sum(reply.usage.completion_tokens for reply in known),
        reasoning_tokens=sum(reply.usage.reasoning_tokens for reply in known),
    )


def letter_requests(way: Way, problem: Problem) -> list[ChatRequest]:
    """`Is it flawed?` with `flawed` as the first and as the second letter."""
    texts = [
        templates.letter_question(way.template, problem.question, way.stages, flawed_first=first) for first in (True, False)
    ]
    return [ChatRequest((user(text),), candidates=LETTERS, answer_prefix="(") for text in texts]


def flawed_probability(way: Way, problem: Problem, replies: Replies) -> float | None:
    """P(flawed), the mean over both orders; None where a call failed or a letter has no rank."""
    shares = []
    for request, flawed in zip(letter_requests(way, problem), (0, 1), strict=True):
        reply = replies.get(request.digest)
        ranked = [logprob for logprob in reply.candidate_logprobs if logprob is not None] if reply else []
        if len(ranked) < len(LETTERS):
            return None
        shares.append(1 / (1 + exp(ranked[1 - flawed] - ranked[flawed])))
    return sum(shares) / len(shares)


def _texts(way: Way, problem: Problem) -> Mapping[str, str]:
    """The user's messages by stage; one message has one."""
    if way.mode == "one":
        return {way.template: templates.in_one(way.template, problem.question, way.stages)}
    return templates.in_turns(problem.question, way.stages, gate=way.mode == "gate")
