"""How an answer is taken from a model: by writing, by the letters' probabilities, or by the options' own (section 7).

    generate   the model writes; a parser reads the letter
    letter     log-probability of the four letters after an answer that has begun with `... (`; one reading of the prompt
    text       log-probability of each option as the end of `Cartoon: {description}` newline `Title of the cartoon:`,
               as sum, per token, or less the same without the description (PMI); of the description once the option stands
               before it (channel); or PMI + channel (both): two estimates of one ratio, which err in different places.
               Needs no instruction following.

`text` asks with bare text: a request without messages, whose candidates continue its `answer_prefix`.
"""

from collections.abc import Sequence
from typing import Literal

from tenfold.llm.chat import ChatReply, ChatRequest, Message
from tenfold.systems.deepeval.arms import fill, read_prompt
from tenfold.systems.deepeval.items import LETTERS, Task

Method = Literal["generate", "letter", "text"]
Scoring = Literal["pmi", "per-token", "sum", "channel", "both"]

MAX_TOKENS = 512
OFFICIAL_TEMPERATURE = 0.2
OFFICIAL_ATTEMPTS = 6
OFFICIAL_MAX_TOKENS = 256


def to_write(message: Message) -> ChatRequest:
    """Greedy writing."""
    return ChatRequest((message,), max_tokens=MAX_TOKENS)


def to_write_as_published(message: Message, attempt: int) -> ChatRequest:
    """The published runner's sampling; attempt 0 to 5, each with its own seed."""
    return ChatRequest((message,), max_tokens=OFFICIAL_MAX_TOKENS, temperature=OFFICIAL_TEMPERATURE, seed=attempt)


def to_rank_letters(message: Message, *, begin_answer: bool = True) -> ChatRequest:
    """The four letters as continuations of a begun answer, or as the answer's first token."""
    prefix = read_prompt("answer") if begin_answer else ""
    return ChatRequest((message,), max_tokens=1, candidates=tuple(LETTERS), answer_prefix=prefix)


def to_rank_texts(task: Task, options: Sequence[str], description: str | None) -> ChatRequest:
    """The options as continuations of a bare text, with or without a line that describes the cartoon."""
    given = "" if description is None else fill(read_prompt("text_given"), [description])
    candidates = tuple(f" {option}" for option in options)
    return ChatRequest((), max_tokens=1, candidates=candidates, answer_prefix=given + read_prompt(f"text_{task}"))


def to_rank_description(task: Task, option: str, description: str) -> ChatRequest:
    """The description as the continuation of a bare text that gives one option."""
    begun = fill(read_prompt("channel"), [read_prompt(f"text_{task}"), option])
    return ChatRequest((), max_tokens=1, candidates=(f" {description}",), answer_prefix=begun)


def text_scores(scoring: Scoring, replies: Sequence[ChatReply]) -> list[float] | None:
    """One score per option; None where the model cannot rank one.

    `replies`: of the options with and without description (for pmi and both), then of the description after each option
    (for channel and both). Without description there is one reply, of the options alone: these three are then 0.
    """
    if scoring == "sum":
        return ranked(replies[0])
    if scoring == "per-token":
        scores = ranked(replies[0])
        return scores and [score / tokens for score, tokens in zip(scores, replies[0].candidate_tokens, strict=True)]
    if len(replies) == 1:
        return gain(replies[0], replies[0])
    parts = [gain(*replies[:2])] if scoring != "channel" else []
    parts += [after_each(replies[-len(LETTERS) :])] if scoring != "pmi" else []
    known = [part for part in parts if part is not None]
    return [sum(scores) for scores in zip(*known, strict=True)] if len(known) == len(parts) else None


def gain(given: ChatReply, alone: ChatReply) -> list[float] | None:
    """How much the description raises each option's log-probability."""
    scores, baseline = ranked(given), ranked(alone)
    if scores is None or baseline is None:
        return None
    return [score - less for score, less in zip(scores, baseline, strict=True)]


def after_each(replies: Sequence[ChatReply]) -> list[float] | None:
    """The description's log-probability after each option."""
    found = [score for reply in replies for score in ranked(reply) or []]
    return found if len(found) == len(replies) else None


def ranked(reply: ChatReply) -> list[float] | None:
    """The candidates' log-probabilities, or None where the endpoint ranked not all of them."""
    scores = [score for score in reply.candidate_logprobs if score is not None]
    return scores if scores and len(scores) == len(reply.candidate_logprobs) else None


def best(scores: Sequence[float]) -> int:
    """The index of the highest score; of equal ones the first, so that equal questions get equal answers."""
    return max(range(len(scores)), key=lambda index: (scores[index], -index))
