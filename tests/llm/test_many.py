"""Nothing lost, nothing repeated, and a busy endpoint, also where one call in ten fails."""

import asyncio
import signal
import time
from collections import Counter

import pytest

from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError, user
from tenfold.llm.endpoint import Endpoint
from tenfold.llm.limits import Limited
from tenfold.llm.many import WORKERS_PER_SLOT, ask_all
from tenfold.llm.retries import Retrying
from tenfold.llm.scripted import Scripted
from tenfold.llm.stub_server import TRANSIENT, Faults, StubServer
from tenfold.llm.wrapping import Wrapper


class Meter(Wrapper):
    """Adds up how many calls are under way, from the first to the moment when the last request was first asked; after
    that only repetitions are left, and nothing could fill their pauses.
    """

    def __init__(self, model: ChatModel) -> None:
        super().__init__(model)
        self.calls: list[tuple[float, float]] = []
        self.first_asked: dict[str, float] = {}

    async def chat(self, request: ChatRequest) -> ChatReply:
        started = time.monotonic()
        self.first_asked.setdefault(request.digest, started)
        try:
            return await self.model.chat(request)
        finally:
            self.calls.append((started, time.monotonic()))

    def share_busy(self, concurrency: int) -> float:
        first, last = min(self.first_asked.values()), max(self.first_asked.values())
        return sum(max(0, min(end, last) - start) for start, end in self.calls) / (concurrency * (last - first))

    @property
    def most_at_once(self) -> int:
        changes = sorted([(start, 1) for start, _ in self.calls] + [(end, -1) for _, end in self.calls])
        level = most = 0
        for _, change in changes:
            level += change
            most = max(most, level)
        return most


def questions(number):
    return {f"q{place}": ChatRequest((user(f"question {place}"),)) for place in range(number)}


def asked(model, requests, concurrency, *, warm_up=None):
    """Every report of `ask_all`, in order."""
    reports = []

    async def main():
        if warm_up:  # the first call of a loop opens the client
            await warm_up.chat(ChatRequest((user("warm up"),)))
        await ask_all(model, requests, concurrency=concurrency, on_reply=lambda *report: reports.append(report))

    asyncio.run(asyncio.wait_for(main(), 60))
    return reports


def test_a_thousand_calls_with_one_in_ten_failing():
    concurrency = 16
    faults = Faults(0.1)
    with StubServer(
        answer=lambda asked: asked.text[::-1],
        latency_s=0.05,
        faults=lambda asked: None if asked.text == "warm up" else faults(asked),
        retry_after="0.1",
    ) as server:
        endpoint = Endpoint("stub", base_url=server.base_url, timeout_s=2.0)
        meter = Meter(endpoint)
        reports = asked(Retrying(meter, attempts=8, first_wait_s=0.1), questions(1000), concurrency, warm_up=endpoint)
    assert len(reports) == 1000
    assert {key: reply.text for key, reply in reports} == {key: f"question {key[1:]}"[::-1] for key in questions(1000)}
    assert set(server.answered.values()) == {1} and len(server.answered) == 1001
    assert set(server.num_faults) == set(TRANSIENT) and 70 <= server.num_faults.total() <= 160
    assert len(server.requests) == 1001 + server.num_faults.total() == 1 + len(meter.calls)
    assert meter.most_at_once == concurrency
    assert meter.share_busy(concurrency) >= 0.95


def test_a_request_that_waits_for_its_next_attempt_lends_its_slot():
    failed = set()

    def fail_first(request):
        if request.digest in failed:
            return "late"
        failed.add(request.digest)
        raise ProviderError("rate_limit", "later", retry_after_s=0.2)

    meter = Meter(Scripted("flaky", fail_first, latency_s=0.002))
    reports = asked(Retrying(meter, first_wait_s=0.01), questions(60), 2)
    assert Counter(reply.text for _, reply in reports) == {"late": 60}
    assert meter.most_at_once == 2
    assert max(end for _, end in meter.calls) - min(start for start, _ in meter.calls) < 2.5  # one after the other: 6 s


def test_what_waits_is_bounded():
    begun = set()

    async def forever(_):
        await asyncio.Event().wait()

    def fail(request):
        begun.add(request.digest)
        raise ProviderError("server", "down")

    async def main():
        model = Retrying(Scripted("down", fail), sleep=forever)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await ask_all(model, questions(200), concurrency=3, on_reply=lambda *_: None)

    asyncio.run(main())
    assert len(begun) == 3 * WORKERS_PER_SLOT


def test_failures_are_reported_beside_answers():
    def half(request):
        if int(request.messages[0].text.split()[1]) % 2:
            raise ProviderError("rejected", "odd")
        return "even"

    reports = dict(asked(Scripted("half", half), questions(10), 3))
    assert {key: getattr(report, "kind", None) for key, report in reports.items()} == {
        f"q{place}": "rejected" if place % 2 else None for place in range(10)
    }


def test_reports_come_as_they_are_ready():
    class Slow(Wrapper):
        async def chat(self, request):
            await asyncio.sleep(0.05 if request.messages[0].text.endswith(" 0") else 0)
            return await self.model.chat(request)

    assert [key for key, _ in asked(Slow(Scripted("x", lambda _: "x")), questions(4), 4)] == ["q1", "q2", "q3", "q0"]


@pytest.mark.parametrize("place", ["model", "report"])
def test_a_bug_ends_everything_and_is_seen(place):
    def broken(*_):
        raise ZeroDivisionError

    answer, report = (broken, lambda *_: None) if place == "model" else (lambda _: "x", broken)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(ask_all(Scripted("x", answer), questions(5), concurrency=2, on_reply=report))


@pytest.mark.parametrize("waits", [False, True])
def test_a_cancelled_run_ends_as_cancelled_and_leaves_nothing_behind(waits):
    """As at Ctrl-C: calls are under way, and some wait for a next attempt or for their slot."""

    def answer(request):
        if waits and int(request.messages[0].text.split()[1]) % 3:
            raise ProviderError("server", "down")
        return "x"

    async def main(after):
        model = Retrying(Scripted("x", answer, latency_s=0.002), first_wait_s=0.002)
        run = asyncio.create_task(ask_all(model, questions(100), concurrency=3, on_reply=lambda *_: None))
        await asyncio.sleep(after)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert asyncio.all_tasks() == {asyncio.current_task()}

    for after in (0.001, 0.006, 0.011, 0.02):
        asyncio.run(main(after))


@pytest.fixture
def listens_to_ctrl_c():
    """A shell starts its background jobs deaf to Ctrl-C, and Python keeps it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_ctrl_c_ends_a_run_with_one_keyboard_interrupt():
    async def main():
        asyncio.get_running_loop().call_later(0.02, signal.raise_signal, signal.SIGINT)
        await ask_all(Scripted("x", lambda _: "x", latency_s=5), questions(9), concurrency=3, on_reply=lambda *_: None)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


def test_requests_are_built_when_they_are_due():
    built = []

    class Lazy(dict):
        def __getitem__(self, key):
            built.append(key)
            return ChatRequest((user(key),))

    most = []
    model = Scripted("x", lambda request: most.append(len(built)) or "x", latency_s=0.001)
    asked(model, Lazy.fromkeys(map(str, range(50))), 2)
    assert len(built) == 50
    assert all(number <= place + 3 for place, number in enumerate(most, start=1))


def test_limits_hold_for_all_callers_together():
    meter = Meter(Scripted("x", lambda _: "x", latency_s=0.005))
    limited = Limited(meter, 3)

    async def main():
        ignore = {"concurrency": 5, "on_reply": lambda *_: None}
        await asyncio.gather(*(ask_all(limited, questions(12), **ignore) for _ in range(3)))

    asyncio.run(main())
    asyncio.run(main())  # in another event loop, too
    assert meter.most_at_once == 3
    assert len(meter.calls) == 72
