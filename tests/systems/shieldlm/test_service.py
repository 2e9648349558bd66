"""The service with the unmodified OpenAI client: forms, refusals, load, the proxy, and a guard that fails closed."""

import asyncio
import json
import threading
import time
from contextlib import contextmanager

import openai
import pytest

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.audit import AuditLog, verify
from tenfold.systems.shieldlm.calibrator import Calibrator
from tiny_guard import tiny_guard

fastapi = pytest.importorskip("fastapi", reason="the service needs fastapi: pip install fastapi uvicorn")
uvicorn = pytest.importorskip("uvicorn", reason="the service needs uvicorn: pip install fastapi uvicorn")
httpx = pytest.importorskip("httpx", reason="the load test needs httpx")

from tenfold.systems.shieldlm.service import GuardService, guard_router  # noqa: E402
from tenfold.systems.shieldlm.service.guarding import CATEGORY_KEYS  # noqa: E402

ANSWER = "the answer is a word. " * 60


class Scripted:
    """An upstream that says a text, whole or in pieces of five characters."""

    def __init__(self, text=ANSWER):
        self.text = text
        self.num_sent = 0

    def _base(self):
        return {"id": "c", "created": 1, "model": "m"}

    async def complete(self, body):
        message = {"role": "assistant", "content": self.text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**self._base(), "object": "chat.completion", "choices": [choice]}

    async def stream(self, body):
        pieces = [self.text[at : at + 5] for at in range(0, len(self.text), 5)]
        for number, piece in enumerate(pieces):
            delta = {"content": piece} | ({"role": "assistant"} if number == 0 else {})
            self.num_sent += 1
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            yield {**self._base(), "object": "chat.completion.chunk", "choices": [choice]}


@contextmanager
def serving(service, upstream=None):
    app = fastapi.FastAPI()
    app.include_router(guard_router(service, upstream=upstream))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def limits(block_above):
    labels = [False] * 40 + [True] * 40
    scores = [block_above] * 80
    plain = Calibrator()
    for has_rules in ("en", "en+rules"):
        plain = plain.with_limits(has_rules, scores, labels, alpha=0.05, beta=0.05)
    return plain.with_limits("en", scores, labels, alpha=0.05, beta=0.05, stream=True)


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "log.jsonl", sync=False)


def open_client(url):
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def test_the_moderation_endpoint_serves_the_unmodified_client(log):
    with serving(GuardService(tiny_guard(), log=log, covered={"hate": "bias", "harassment": "insult"})) as url:
        client = open_client(url)
        one = client.moderations.create(input="a word")
        assert len(one.results) == 1 and one.model == "tenfold-guard"
        scores = one.results[0].category_scores.model_dump(by_alias=True)
        assert set(CATEGORY_KEYS) <= set(scores) and len(CATEGORY_KEYS) == 13
        assert scores["hate"] > 0 and scores["violence"] == 0
        assert len(client.moderations.create(input=["one", "two", "three"]).results) == 3
        parts = client.moderations.create(input=[{"type": "text", "text": "one"}, {"type": "text", "text": "two"}])
        assert len(parts.results) == 1
        described = httpx.get(f"{url}/v1/guard").json()
        assert "violence" in described["uncovered"] and "hate" not in described["uncovered"]
    assert verify(log.path).num_records == 5 and verify(log.path).problem is None


def test_check_takes_rules_and_explains():
    with serving(GuardService(tiny_guard())) as url:
        body = {"query": "q", "response": "a word", "rules": ["bias:strict"], "explain": True}
        found = httpx.post(f"{url}/v1/guard/check", json=body, timeout=60).json()
        assert found["explanation"]["label"] == found["label"] and len(found["attributions"]) == 1


BAD = [
    (b"\xff\xfe{", 400, "UTF-8"),
    (b"{", 400, "JSON"),
    (b"[1]", 400, "object"),
    (b"[" * 100_000, 400, "JSON"),
    (b"{}", 400, "response|input"),
    (json.dumps({"response": ""}).encode(), 400, "empty"),
    (json.dumps({"response": "x", "rules": ["nonsense"]}).encode(), 400, "unknown rule"),
    (json.dumps({"response": "x", "rules": ["a\nb c"]}).encode(), 400, "line-break"),
    (json.dumps({"response": "x", "lang": "fr"}).encode(), 400, "en"),
    (json.dumps({"response": "x", "other": 1}).encode(), 400, "other"),
    (json.dumps({"response": "x", "alpha": 0.01}).encode(), 400, "calibrate"),
    (json.dumps({"response": "\ud800"}).encode(), 400, "surrogate"),
    (json.dumps({"response": "word " * 20_000}).encode(), 400, "at most"),
    (b" " * 3_000_000, 413, "larger"),
]


def test_whatever_comes_in_gets_one_clear_line():
    with serving(GuardService(tiny_guard())) as url:
        for content, status, match in BAD:
            reply = httpx.post(f"{url}/v1/guard/check", content=content, timeout=60)
            assert reply.status_code == status, (content[:40], reply.text[:200])
            message = reply.json()["error"]["message"]
            assert any(word in message for word in match.split("|")) and len(message) < 500
        for body in ({"input": []}, {"input": ["x"] * 65}, {"input": [{"type": "image_url"}]}, {"input": 3}):
            assert httpx.post(f"{url}/v1/moderations", json=body).status_code == 400
        assert httpx.post(f"{url}/v1/guard/check", json={"response": "still here"}).status_code == 200


def test_two_hundred_clients_lose_nothing(log):
    async def burst(url):
        pool = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(timeout=120, limits=pool) as client:
            posts = [client.post(f"{url}/v1/guard/check", json={"response": f"word {n % 7}"}) for n in range(200)]
            return await asyncio.gather(*posts)

    with serving(GuardService(tiny_guard(), log=log)) as url:
        replies = asyncio.run(burst(url))
    assert {reply.status_code for reply in replies} == {200}
    by_text = {}
    for number, reply in enumerate(replies):
        by_text.setdefault(number % 7, set()).add(reply.json()["score"])
    assert all(len(scores) == 1 for scores in by_text.values())
    assert verify(log.path).num_records == 200 and verify(log.path).problem is None


def test_more_than_may_wait_are_sent_away():
    with serving(GuardService(tiny_guard(), max_waiting=0)) as url:
        reply = httpx.post(f"{url}/v1/guard/check", json={"response": "x"})
        assert reply.status_code == 429 and reply.headers["retry-after"] == "1"


def test_a_guard_that_fails_lets_nothing_pass():
    guard = tiny_guard()
    guard.scores = None  # pyright: ignore
    with serving(GuardService(guard), Scripted()) as url:
        assert httpx.post(f"{url}/v1/guard/check", json={"response": "x"}).status_code == 503
        with pytest.raises(openai.InternalServerError, match="guard failed"):
            open_client(url).chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])


def streamed(client):
    chunks = list(client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    return text, chunks[-1].choices[0].finish_reason


def test_the_proxy_lets_pass_what_the_guard_allows(log):
    with serving(GuardService(tiny_guard(calibrator=limits(1.0)), log=log), Scripted()) as url:
        client = open_client(url)
        assert streamed(client) == (ANSWER, "stop")
        whole = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        assert whole.choices[0].message.content == ANSWER
    assert verify(log.path).num_records == 4


def test_the_proxy_stops_the_question_and_the_answer():
    with serving(GuardService(tiny_guard(calibrator=limits(0.0))), Scripted()) as url:
        client = open_client(url)
        with pytest.raises(openai.BadRequestError, match="stopped by the guard"):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        upstream = Scripted()
    with serving(GuardService(tiny_guard(calibrator=limits(0.0))), upstream) as url:
        client = open_client(url)
        reply = client.chat.completions.create(model="m", messages=[{"role": "assistant", "content": "x"}])
        assert (reply.choices[0].message.content, reply.choices[0].finish_reason) == ("", "content_filter")
        system = [{"role": "system", "content": "s"}]
        chunks = list(client.chat.completions.create(model="m", messages=system, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ""
        assert chunks[-1].choices[0].finish_reason == "content_filter"
        assert upstream.num_sent < len(ANSWER) / 5


def test_messages_with_pictures_are_refused():
    with serving(GuardService(tiny_guard()), Scripted()) as url:
        content = [{"type": "image_url", "image_url": {"url": "data:,"}}]
        body = {"model": "m", "messages": [{"role": "user", "content": content}]}
        assert httpx.post(f"{url}/v1/chat/completions", json=body).status_code == 400


def test_an_unknown_category_is_refused():
    with pytest.raises(ConfigError, match="violence"):
        GuardService(tiny_guard(), covered={"weather": "rain"})
