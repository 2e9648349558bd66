"""No slot is ever lost or doubled, whoever lends, waits or is cancelled."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tenfold.llm.chat import ChatRequest, ProviderError, user
from tenfold.llm.many import ask_all
from tenfold.llm.retries import Retrying
from tenfold.llm.scripted import Scripted
from tenfold.llm.slots import Slots, holding, lent

steps = st.lists(st.lists(st.sampled_from(["work", "lend", "nest"]), max_size=4), min_size=1, max_size=8)


@given(number=st.integers(1, 3), plans=steps, cancelled=st.sets(st.integers(0, 7)), after=st.integers(0, 12))
def test_slots_are_conserved(number, plans, cancelled, after):
    slots, inner = Slots(number), Slots(1)
    level = [0]

    async def tick():
        level[0] += 1
        assert level[0] <= number
        await asyncio.sleep(0)
        level[0] -= 1

    async def call(plan):
        async with holding(slots):
            for step in plan:
                if step == "lend":
                    async with lent():
                        await asyncio.sleep(0)
                elif step == "nest":
                    async with holding(inner):
                        async with lent():
                            await asyncio.sleep(0)
                else:
                    try:
                        await tick()
                    except asyncio.CancelledError:
                        level[0] -= 1
                        raise

    async def main():
        tasks = [asyncio.create_task(call(plan)) for plan in plans]
        for _ in range(after):
            await asyncio.sleep(0)
        for place in cancelled & set(range(len(tasks))):
            tasks[place].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)

    asyncio.run(main())
    assert (slots.free, inner.free) == (number, 1)


@given(failures=st.lists(st.integers(0, 3), min_size=1, max_size=40), concurrency=st.integers(1, 5))
def test_asking_keeps_to_its_slots_and_ends(failures, concurrency):
    """Requests that fail so many times and wait in between, more and fewer than there are slots."""
    left = {str(place): number for place, number in enumerate(failures)}
    level, most, reported = [0], [0], []

    class Model(Scripted):
        async def chat(self, request):
            level[0] += 1
            most[0] = max(most[0], level[0])
            await asyncio.sleep(0)
            level[0] -= 1
            key = request.messages[0].text
            left[key] -= 1
            if left[key] >= 0:
                raise ProviderError("server", "again")
            return await super().chat(request)

    async def nap(_):
        await asyncio.sleep(0)

    model = Retrying(Model("x", lambda _: "x"), attempts=4, sleep=nap)
    requests = {key: ChatRequest((user(key),)) for key in left}
    asyncio.run(
        asyncio.wait_for(ask_all(model, requests, concurrency=concurrency, on_reply=lambda key, _: reported.append(key)), 10)
    )
    assert sorted(reported) == sorted(left)
    assert most[0] <= concurrency
