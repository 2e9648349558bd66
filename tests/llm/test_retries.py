"""What is asked again, how long it waits, and what the caller hears."""

import asyncio

import pytest

from tenfold.llm.chat import TRANSIENT, ChatRequest, ProviderError, user
from tenfold.llm.retries import Retrying
from tenfold.llm.scripted import Scripted


class Flaky:
    """Fails as told, then answers; keeps the waits in between."""

    def __init__(self, *failures, **settings):
        self.failures, self.waits = list(failures), []
        self.inner = Scripted("flaky", self.answer)
        self.model = Retrying(self.inner, sleep=self.sleep, **settings)

    def answer(self, _):
        if self.failures:
            raise self.failures.pop(0)
        return "at last"

    async def sleep(self, seconds):
        self.waits.append(seconds)

    def ask(self, text="x"):
        return asyncio.run(self.model.chat(ChatRequest((user(text),))))


@pytest.mark.parametrize("kind", sorted(TRANSIENT))
def test_passing_failures_are_asked_again(kind):
    flaky = Flaky(ProviderError(kind, "x"), ProviderError(kind, "x"))
    assert flaky.ask().text == "at last"
    assert len(flaky.waits) == 2 and flaky.model.failures == {kind: 2}


@pytest.mark.parametrize("kind", ["rejected", "unsupported"])
def test_lasting_failures_are_not(kind):
    flaky = Flaky(ProviderError(kind, "bad request"))
    with pytest.raises(ProviderError, match="bad request") as raised:
        flaky.ask()
    assert raised.value.kind == kind and len(flaky.inner.requests) == 1 and not flaky.waits


def test_waits_double_up_to_a_limit_with_jitter_that_repeats():
    def waits(text):
        flaky = Flaky(*[ProviderError("server", "x")] * 9, attempts=10, first_wait_s=1, longest_wait_s=20)
        flaky.ask(text)
        return flaky.waits

    whole = [1, 2, 4, 8, 16, 20, 20, 20, 20]
    assert all(full / 2 <= wait <= full for wait, full in zip(waits("a"), whole, strict=True))
    assert waits("a") == waits("a") != waits("b")


def test_no_wait_is_shorter_than_asked_for():
    flaky = Flaky(ProviderError("rate_limit", "x", retry_after_s=7))
    flaky.ask()
    assert 7 <= flaky.waits[0] <= 7.5


def test_an_endpoint_that_asks_for_too_long_is_given_up():
    flaky = Flaky(ProviderError("rate_limit", "x", retry_after_s=3600))
    with pytest.raises(ProviderError) as raised:
        flaky.ask()
    assert raised.value.retry_after_s == 3600 and not flaky.waits


def test_the_last_failure_says_how_often_it_was_tried():
    heard = []
    flaky = Flaky(*[ProviderError("server", "down")] * 5, attempts=3, on_failure=lambda _, failure: heard.append(failure))
    with pytest.raises(ProviderError, match=r"server: down \(attempt 3 of 3\)"):
        flaky.ask()
    assert len(flaky.inner.requests) == len(heard) == 3 and len(flaky.waits) == 2
