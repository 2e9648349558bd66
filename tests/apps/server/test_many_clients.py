"""Many clients at a time: each gets the text it would get alone; who leaves frees the row; nobody waits for ever."""

import asyncio
import random

import httpx
import openai
import pytest

from serving_tiny import NAME, running
from tenfold.apps.server.engine import Engine

QUESTIONS = [
    "what is the answer?",
    "the answer is A",
    "user:",
    '{"name": 12}',
    "é is a letter",
    "is it true?",
    "A B C A B C A B",
]


async def stream(client, question, num_tokens, *, leave_after=None):
    """The streamed text; with `leave_after`, the client goes away after so many chunks."""
    chunks = await client.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": question}],
        max_tokens=num_tokens,
        temperature=0,
        stream=True,
    )
    text, count = "", 0
    async for chunk in chunks:
        text += chunk.choices[0].delta.content or ""
        count += 1
        if count == leave_after:
            await chunks.close()
            return None
    return text


def test_every_stream_is_the_text_of_a_lone_request_while_others_come_and_leave():
    chance = random.Random(3)
    asked = [(chance.choice(QUESTIONS), chance.randint(1, 24), chance.choice([None, None, 1, 3])) for _ in range(40)]

    async def ask_all(url):
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(
                *(stream(client, question, number, leave_after=leave) for question, number, leave in asked)
            )

    with running(slow=True) as server:
        texts = asyncio.run(ask_all(server.url))
        for (question, number, leave), text in zip(asked, texts, strict=True):
            if leave is None:
                assert text == server.chat_text(question, number)
        server.wait_until_idle()
        values = httpx.get(server.url + "/metrics").text
        assert "tenfold_cancelled_total 0.0" not in values


def test_a_client_that_leaves_an_unstreamed_answer_ends_its_decoding():
    with running(slow=True, max_new_tokens=200) as server:
        body = {"model": NAME, "messages": [{"role": "user", "content": "A"}], "temperature": 0}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.url + "/v1/chat/completions", json=body, timeout=0.15)
        server.wait_until_idle(0.3)


def test_who_finds_the_queue_full_is_told_to_come_back():
    async def ask_all(url):
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(
                *(stream(client, "what is the answer?", 24) for _ in range(20)), return_exceptions=True
            )

    with running(slow=True, rows=2, max_waiting=3) as server:
        replies = asyncio.run(ask_all(server.url))
        refused = [reply for reply in replies if isinstance(reply, openai.RateLimitError)]
        answered = [reply for reply in replies if isinstance(reply, str)]
        assert refused and len(refused) + len(answered) == 20
        assert refused[0].response.headers["retry-after"] == "1"
        assert set(answered) == {server.chat_text("what is the answer?", 24)}


def test_an_answer_that_takes_too_long_ends_with_an_error_and_frees_its_row():
    with running(slow=True, timeout_s=0.05, max_new_tokens=200) as server:
        ask = {"model": NAME, "messages": [{"role": "user", "content": "A"}], "temperature": 0}
        with pytest.raises(openai.InternalServerError, match=r"within 0\.05 s"):
            server.client().chat.completions.create(**ask)
        with pytest.raises(openai.APIError, match=r"within 0\.05 s"):
            list(server.client().chat.completions.create(**ask, stream=True))
        server.wait_until_idle()


def test_a_broken_pass_ends_what_was_under_way_and_nothing_else():
    with running() as server:
        engine = server.service.desk.loaded.engine
        whole = engine.forward_ragged

        def broken(tokens):
            engine.forward_ragged = whole
            raise RuntimeError("this pass breaks")

        engine.forward_ragged = broken
        with pytest.raises(openai.InternalServerError, match="could not finish"):
            server.client().completions.create(model=NAME, prompt="the answer", max_tokens=9)
        reply = server.client().chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "A"}], max_tokens=9, temperature=0
        )
        assert reply.choices[0].message.content == server.chat_text("A", 9)


def test_a_ticket_of_a_replaced_scheduler_cancels_nobody_else():
    class Numbered:
        """Counts from 0, like each new scheduler."""

        seats = ()
        kept = None
        num_waiting = 0
        is_busy = False

        def __init__(self):
            self.added, self.cancelled = 0, []

        def add(self, request):
            self.added += 1
            return self.added - 1

        def cancel(self, number):
            self.cancelled.append(number)

    engine = Engine(Numbered)
    old = engine.submit(None)
    engine._fail_all(RuntimeError())
    new = engine.submit(None)
    assert old.number == new.number
    assert not engine.cancel(old)
    assert engine._scheduler.cancelled == []
    assert engine.cancel(new)
