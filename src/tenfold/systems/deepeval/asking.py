"""One reading of one question: an item under an arm, in one prompt format and one order of its options.

    Ask.outstanding(replies) -> the requests that are still to be made       Ask.mark(replies) -> what the answer was

Replies are looked up by the digest of their request. So a request that several questions share, as the four of a quad
without picture do, is made once, and a finished one is never repeated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tenfold.core.errors import ConfigError
from tenfold.evals.permute import rotations
from tenfold.llm.chat import ChatReply, ChatRequest, Image, Message
from tenfold.systems.deepeval import letters
from tenfold.systems.deepeval.arms import NUM_PROMPTS, Arm, collapse, message, question
from tenfold.systems.deepeval.items import LETTERS, Item
from tenfold.systems.deepeval.letters import Method, Scoring
from tenfold.systems.deepeval.parsers import Parser, parse

Circular = Literal["off", "mean", "strict", "vote"]
Mode = Literal["clean", "official"]
Order = tuple[int, ...]
UNSCORED = ("letter_unranked", "apparatus")
"""States that say nothing about the model: the endpoint did not rank a letter, or the call failed."""
Replies = Mapping[str, ChatReply]


@dataclass(frozen=True)
class Manner:
    """How answers are taken, the same for all questions of a run."""

    method: Method = "letter"
    scoring: Scoring = "both"
    circular: Circular = "off"
    prompts: tuple[int, ...] = tuple(range(1, NUM_PROMPTS + 1))
    parser: Parser = "robust"
    mode: Mode = "clean"
    begin_answer: bool = True
    """Whether letters are ranked after an answer that has begun; some endpoints cannot continue one."""

    def check(self, arms: Sequence[Arm] = ()) -> "Manner":
        """Returns itself, if it goes together with itself and with these arms.

        Raises:
            ConfigError: two settings that do not go together.
        """
        if self.mode == "official" and (self.method, self.parser) != ("generate", "official"):
            raise ConfigError(
                f"mode 'official' is the published runner, which writes and uses its own parser; got method "
                f"{self.method!r} and parser {self.parser!r}; give method=generate and parser=official, or mode=clean"
            )
        if self.method == "text" and self.circular != "off":
            raise ConfigError("method 'text' shows no list of options, so there is nothing to rotate; give circular=off")
        seeing = next((arm.name for arm in arms if arm.shows_picture), None)
        if self.method == "text" and seeing:
            raise ConfigError(f"method 'text' scores bare texts, but arm {seeing!r} shows a picture; give method=letter")
        return self

    @property
    def readings(self) -> list[tuple[int, Order]]:
        """Prompt format and order of options of each reading of a question; texts are ranked once, without either."""
        if self.method == "text":
            return [(1, rotations(4)[0])]
        orders = rotations(4)[: 1 if self.circular == "off" else None]
        return [(prompt, order) for prompt in self.prompts for order in orders]


@dataclass(frozen=True)
class Mark:
    """What an answer was: `pick` is the index of the chosen option in the item's own order, None where there is none."""

    state: str
    pick: int | None
    rule: str


@dataclass(frozen=True)
class Ask:
    """One reading of a question."""

    item: Item
    manner: Manner
    order: Order
    shown: tuple[str, ...]
    """The options as the model sees them."""
    message: Message
    description: str | None

    def outstanding(self, replies: Replies) -> list[ChatRequest]:
        """The requests whose replies are needed next; none when the reading is complete."""
        if self.manner.mode == "official":
            return self._next_attempt(replies)
        return [request for request in self.requests() if request.digest not in replies]

    def mark(self, replies: Replies) -> Mark:
        """What the answer was; state `apparatus` where a reply is missing."""
        if self.manner.mode == "official":
            return self._official_mark(replies)
        if self.outstanding(replies):
            return Mark("apparatus", None, "no reply")
        found = [replies[request.digest] for request in self.requests()]
        if self.manner.method == "generate":
            return self._parsed(found[0])
        texts = self.manner.method == "text"
        scores = letters.text_scores(self.manner.scoring, found) if texts else letters.ranked(found[0])
        if scores is None:
            return Mark("letter_unranked", None, "a candidate has no log-probability")
        return Mark("ok", self.order[letters.best(scores)], self.manner.method)

    def requests(self) -> list[ChatRequest]:
        """All requests that the reading may need, in their order."""
        if self.manner.mode == "official":
            return list(self._attempts())
        if self.manner.method == "generate":
            return [letters.to_write(self.message)]
        if self.manner.method == "letter":
            return [letters.to_rank_letters(self.message, begin_answer=self.manner.begin_answer)]
        return self._text_requests(self.manner.scoring)

    def _text_requests(self, scoring: Scoring) -> list[ChatRequest]:
        """In the order in which `letters.text_scores` takes their replies."""
        task, given = self.item.task, self.description
        alone = letters.to_rank_texts(task, self.shown, None)
        if given is None:
            return [alone]
        described = letters.to_rank_texts(task, self.shown, given)
        if scoring in ("sum", "per-token"):
            return [described]
        after_each = [letters.to_rank_description(task, option, given) for option in self.shown]
        return {"pmi": [described, alone], "channel": after_each}.get(scoring, [described, alone, *after_each])

    def _parsed(self, reply: ChatReply) -> Mark:
        if reply.finish_reason == "content_filter":
            return Mark("refusal", None, "content filter")
        cut_off = reply.finish_reason == "length"
        found = parse(reply.text, self.shown, parser=self.manner.parser, cut_off=cut_off)
        pick = None if found.letter is None else self.order[LETTERS.index(found.letter)]
        return Mark(found.state, pick, found.rule)

    def _attempts(self) -> Iterator[ChatRequest]:
        return (letters.to_write_as_published(self.message, attempt) for attempt in range(letters.OFFICIAL_ATTEMPTS))

    def _next_attempt(self, replies: Replies) -> list[ChatRequest]:
        """Samples until one holds a letter, as the published runner does."""
        for request in self._attempts():
            if request.digest not in replies:
                return [request]
            if self._parsed(replies[request.digest]).pick is not None:
                return []
        return []

    def _official_mark(self, replies: Replies) -> Mark:
        if self._next_attempt(replies):
            return Mark("apparatus", None, "no reply")
        known = [replies[request.digest] for request in self._attempts() if request.digest in replies]
        return self._parsed(known[-1])


def read_item(item: Item, manner: Manner, picture: Image | None, description: str | None) -> list[Ask]:
    """All readings of a question under one arm's picture and description."""
    return [_ask(item, manner, prompt, order, picture, description) for prompt, order in manner.readings]


def _ask(item: Item, manner: Manner, prompt: int, order: Order, picture: Image | None, description: str | None) -> Ask:
    tidy: Sequence[str] = item.options if manner.mode == "official" else [collapse(option) for option in item.options]
    shown = tuple(tidy[index] for index in order)
    asked = message(question(item, prompt, shown), picture, description)
    return Ask(item, manner, order, shown, asked, description)
