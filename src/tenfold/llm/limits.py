"""At most so many requests under way at one model, whoever asks.

`Limited` keeps to a fixed number. `Adaptive` starts there and finds out what the endpoint bears: where more than a tenth of
the requests are refused as too many, the number is halved; a window of replies adds one, up to where it started (additive
increase, multiplicative decrease). Single refusals, as busy endpoints throw in at any load, are the retries' business.
"""

from dataclasses import dataclass, field

from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError
from tenfold.llm.slots import PerLoop, Slots, holding
from tenfold.llm.wrapping import Wrapper

BEARABLE = 0.1
"""Share of refusals that says nothing about the number of requests."""


class Limited(Wrapper):
    """A `ChatModel` that lets `concurrency` requests through at a time; the others wait in line."""

    def __init__(self, model: ChatModel, concurrency: int) -> None:
        super().__init__(model)
        self.concurrency = concurrency
        self._slots = PerLoop(lambda: Slots(concurrency))

    async def chat(self, request: ChatRequest) -> ChatReply:
        async with holding(self._slots.get()):
            return await self.model.chat(request)


@dataclass
class Window:
    """How many requests may be under way now, and what is known since that number last changed."""

    most: int
    current: int = field(init=False)
    num_good: int = 0
    """Replies since the number last changed."""
    num_refused: int = 0
    """Refusals since then."""
    num_begun: int = 0
    """Requests that have been sent; a refusal of one from before the last change says nothing about the new number."""
    last_change: int = 0

    def __post_init__(self) -> None:
        self.current = self.most

    def begin(self) -> int:
        """Counts a request; returns its number."""
        self.num_begun += 1
        return self.num_begun

    def good(self) -> int:
        """A reply came: how many slots to add."""
        self.num_good += 1
        if self.num_good < self.current or self.current == self.most:
            return 0
        return self._change(self.current + 1)

    def refused(self, number: int) -> int:
        """The request of this number came too many: how many slots to take away."""
        if number <= self.last_change:
            return 0
        self.num_refused += 1
        is_rare = self.num_refused == 1 or self.num_refused <= BEARABLE * (self.num_good + self.num_refused)
        if is_rare or self.current == 1:
            return 0
        return -self._change(self.current // 2)

    def _change(self, current: int) -> int:
        difference, self.current = current - self.current, current
        self.num_good = self.num_refused = 0
        self.last_change = self.num_begun
        return difference


class Adaptive(Wrapper):
    """A `ChatModel` that lets up to `most` requests through at a time, and fewer while the endpoint refuses some."""

    def __init__(self, model: ChatModel, most: int) -> None:
        super().__init__(model)
        self.window = Window(most)
        self._slots = PerLoop(lambda: self._new_slots())

    async def chat(self, request: ChatRequest) -> ChatReply:
        slots = self._slots.get()
        async with holding(slots):
            number = self.window.begin()
            try:
                reply = await self.model.chat(request)
            except ProviderError as failure:
                if failure.kind == "rate_limit" and (fewer := self.window.refused(number)):
                    slots.shrink(fewer)
                raise
        for _ in range(self.window.good()):
            slots.grow()
        return reply

    def _new_slots(self) -> Slots:
        """Of another event loop: nothing of the old one is under way any more."""
        return Slots(self.window.current)
