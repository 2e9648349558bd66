"""Adaptive limits: fewer requests while an endpoint refuses, more again later, never above the start, no slot lost."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tenfold.llm.chat import ChatReply, ChatRequest, ProviderError, user
from tenfold.llm.limits import Adaptive, Window
from tenfold.llm.scripted import Scripted
from tenfold.llm.slots import Slots, holding


def requests(number):
    return [ChatRequest((user(f"question {place}"),)) for place in range(number)]


class Crowd:
    """An endpoint that refuses what comes while `bearable` requests are under way."""

    name = fingerprint = "crowd"
    takes_images = False

    def __init__(self, bearable):
        self.bearable, self.under_way, self.most, self.refused = bearable, 0, 0, 0

    async def chat(self, request):
        if self.under_way >= self.bearable:
            self.refused += 1
            raise ProviderError("rate_limit", "too many")
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.001)
        self.under_way -= 1
        return ChatReply("yes")


async def ask_all(model, number):
    async def one(request):
        while True:
            try:
                return await model.chat(request)
            except ProviderError:
                await asyncio.sleep(0.002)

    return await asyncio.gather(*(one(request) for request in requests(number)))


def test_the_number_finds_what_the_endpoint_bears():
    crowd = Crowd(5)
    model = Adaptive(crowd, 32)
    assert len(asyncio.run(ask_all(model, 300))) == 300
    assert 2 <= model.window.current <= 8
    assert crowd.refused < 150, "most requests are let through"
    crowd.bearable = 100
    asyncio.run(ask_all(model, 1500))
    assert model.window.current > 16, "and it grows again when the endpoint bears more"


def test_rare_refusals_leave_the_number_alone():
    window = Window(8)
    for place in range(400):
        number = window.begin()
        window.refused(number) if place % 25 == 0 else window.good()
    assert window.current == 8


def test_it_never_goes_above_its_start_and_loses_no_slot():
    model = Adaptive(Scripted("easy", lambda _: "yes", latency_s=0.001), 4)
    asyncio.run(ask_all(model, 100))
    assert model.window.current == 4


@given(st.lists(st.sampled_from(["good", "refused", "old"]), max_size=200))
def test_window_stays_within_its_bounds(events):
    window = Window(8)
    slots = 8
    for event in events:
        number = window.begin()
        if event == "good":
            slots += window.good()
        else:
            slots -= window.refused(number if event == "refused" else 0)
        assert 1 <= window.current <= 8 and slots == window.current


def test_slots_that_shrink_while_held_come_back_when_they_grow():
    async def scenario():
        slots = Slots(3)
        async with holding(slots), holding(slots):
            slots.shrink(2)
            assert slots.free == 0
        assert slots.free == 1
        slots.grow()
        slots.grow()
        return slots.free

    assert asyncio.run(scenario()) == 3
