"""What was answered is never asked again: not by equal requests, not after a kill, not by a second process."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from tenfold.core.errors import UserError
from tenfold.llm.cache import Cached
from tenfold.llm.chat import ChatReply, ChatRequest, Image, ProviderError, Usage, user
from tenfold.llm.endpoint import Endpoint
from tenfold.llm.many import ask_all
from tenfold.llm.opening import open_endpoint
from tenfold.llm.scripted import Scripted
from tenfold.llm.stub_server import Faults, StubServer

RICH = ChatReply("text\ud83d", "length", Usage(1, 2, 3), "reasons", (-0.5, None, float("-inf")), (1, 2, 1))


def ask(model, *requests):
    async def main():
        return await asyncio.gather(*map(model.chat, requests))

    return asyncio.run(main())


def test_a_reply_comes_back_as_it_was(tmp_path):
    script = Scripted("x", lambda _: RICH)
    request = ChatRequest((user("x"),))
    first, again = (ask(Cached(script, tmp_path / "new" / "cache"), request)[0] for _ in range(2))
    assert first == RICH and not first.cached
    assert again == ChatReply(**{**vars(RICH), "cached": True})
    assert len(script.requests) == 1


def test_one_changed_byte_of_a_picture_is_another_request(tmp_path):
    script = Scripted("x", lambda request: request.images[0].sha256, takes_images=True)
    model = Cached(script, tmp_path / "cache")
    pictures = [Image(b"one"), Image(b"two"), Image(b"one", "image/jpeg"), Image(b"one")]
    replies = ask(model, *(ChatRequest((user("look", picture),)) for picture in pictures))
    assert [reply.text for reply in replies] == [picture.sha256 for picture in pictures]
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"max_tokens": 1},
        {"temperature": 0.1},
        {"top_p": 0.5},
        {"seed": 0},
        {"stop": ("a",)},
        {"json_schema": {"type": "object"}},
        {"candidates": ("A",)},
        {"answer_prefix": "A"},
        {"messages": (user("x", ""),)},
    ],
)
def test_whatever_changes_the_answer_changes_the_key(change):
    request = ChatRequest((user("x"),))
    assert ChatRequest(**{"messages": request.messages, **change}).digest != request.digest


def test_the_order_of_a_schemas_properties_counts():
    names = ({"a": {}, "b": {}}, {"b": {}, "a": {}})
    first, second = (ChatRequest((user("x"),), json_schema={"properties": properties}) for properties in names)
    assert first.digest != second.digest


def test_models_do_not_share_answers(tmp_path):
    path = tmp_path / "cache"
    texts = [ask(Cached(Scripted(name, [name]), path), ChatRequest((user("x"),)))[0].text for name in ("a", "b")]
    assert texts == ["a", "b"]


def test_equal_requests_at_the_same_time_are_asked_once(tmp_path):
    script = Scripted("x", lambda _: "x", latency_s=0.02)
    replies = ask(Cached(script, tmp_path / "cache"), *[ChatRequest((user("x"),))] * 5)
    assert {reply.text for reply in replies} == {"x"} and len(script.requests) == 1


def test_failures_are_recorded_and_asked_again(tmp_path):
    def answer(_):
        if len(script.requests) == 1:
            raise ProviderError("server", "down")
        return "up"

    script = Scripted("x", answer)
    model = Cached(script, tmp_path / "cache")
    with pytest.raises(ProviderError, match="down"):
        ask(model, ChatRequest((user("x"),)))
    assert ask(model, ChatRequest((user("x"),)))[0].text == "up"
    assert model.answers.failures() == [("server", "down")] and len(model.answers) == 1


def test_when_the_first_of_equal_requests_fails_the_next_one_asks(tmp_path):
    def answer(_):
        if len(script.requests) == 1:
            raise ProviderError("server", "down")
        return "up"

    script = Scripted("x", answer, latency_s=0.01)
    model = Cached(script, tmp_path / "cache")

    async def main():
        return await asyncio.gather(*[model.chat(ChatRequest((user("x"),))) for _ in range(3)], return_exceptions=True)

    outcomes = asyncio.run(main())
    assert sorted(getattr(outcome, "text", "failed") for outcome in outcomes) == ["failed", "up", "up"]
    assert len(script.requests) == 2


def test_a_file_that_is_something_else_is_left_alone(tmp_path):
    other = tmp_path / "notes.txt"
    other.write_text("these are my notes, and no data base " * 50)
    with pytest.raises(UserError, match="cannot keep answers"):
        Cached(Scripted("x", ["x"]), other)
    assert other.read_text().startswith("these are my notes")


ASK_ALL = """
import asyncio, sys
from pathlib import Path
from tenfold.llm.chat import ChatRequest, user
from tenfold.llm.endpoint import Endpoint
from tenfold.llm.many import ask_all
from tenfold.llm.opening import open_endpoint

requests = {str(number): ChatRequest((user(f"question {number}"),)) for number in range(200)}
model = open_endpoint("openai:stub", cache=Path(sys.argv[1]), concurrency=10, timeout_s=0.5)
report = lambda key, reply: print(key, reply.text, flush=True)
asyncio.run(ask_all(model, requests, concurrency=10, on_reply=report))
"""


def start(server, path):
    environment = {**os.environ, "OPENAI_BASE_URL": server.base_url, "PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", ASK_ALL, str(path)]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    faults = Faults(0.1, kinds=("rate_limit", "server", "malformed", "truncated"))
    with StubServer(answer=lambda asked: asked.text.split()[1], latency_s=0.02, faults=faults) as server:
        first = start(server, tmp_path / "cache")
        reported = [first.stdout.readline().split() for _ in range(60)]
        os.kill(first.pid, signal.SIGKILL)
        first.communicate()
        in_flight = 10
        before = server.answered.copy()
        second = start(server, tmp_path / "cache")
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 0
        assert sorted(line.split()[0] for line in output.splitlines()) == sorted(map(str, range(200)))
        assert all(key == text for key, text in (line.split() for line in output.splitlines()))
        again = {digest for digest, times in server.answered.items() if times > 1}
        told = {asked.digest for asked in server.requests if asked.text.split()[1] in {key for key, _ in reported}}
        assert not told & again  # nothing that had been reported was asked again
        assert len(again) <= in_flight  # answers that were on their way when the process died
        assert len(before) >= 60 and len(server.answered) == 200


def test_two_processes_share_a_cache(tmp_path):
    """Another one and this one at the same time; what either got is what both have afterwards."""
    requests = {str(number): ChatRequest((user(f"question {number}"),)) for number in range(200)}
    with StubServer(answer=lambda asked: asked.text.split()[1], latency_s=0.01) as server:
        with start(server, tmp_path / "cache") as other:
            first = other.stdout.readline()
            model, own = Cached(Endpoint("stub", base_url=server.base_url), tmp_path / "cache"), {}
            asyncio.run(ask_all(model, requests, concurrency=2, on_reply=lambda key, reply: own.update({key: reply.text})))
            output = first + other.stdout.read()  # communicate would lose what readline had fetched ahead
        assert other.returncode == 0
        assert sorted(output.splitlines()) == sorted(f"{key} {text}" for key, text in own.items())
        assert len(own) == 200 and len(server.requests) < 400
        asked = len(server.requests)
        assert all(reply.cached for reply in ask(model, *requests.values()))
        assert len(server.requests) == asked


def test_a_full_cache_is_fast_and_lets_others_run(tmp_path):
    script = Scripted("x", lambda _: "x")
    model = Cached(script, tmp_path / "cache")
    requests = {str(number): ChatRequest((user(str(number)),)) for number in range(300)}
    ticks = []

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0)

    async def main():
        ticking = asyncio.create_task(tick())
        for _ in range(2):
            await ask_all(model, requests, concurrency=4, on_reply=lambda *_: None)
            ticks.append(0.0)
        ticking.cancel()

    asyncio.run(main())
    assert len(script.requests) == 300
    assert len(ticks) - ticks.index(0.0) > 50


def test_opening_needs_the_prefix(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    for name in ("gpt", "openai:"):
        with pytest.raises(UserError, match="openai:NAME"):
            open_endpoint(name)
    assert open_endpoint("openai:gpt").name == "openai:gpt"


@pytest.mark.parametrize("setting", ["concurrency", "attempts", "timeout_s"])
def test_opening_needs_numbers_above_0(setting, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    with pytest.raises(UserError, match=f"{setting} of the endpoint openai:gpt is 0"):
        open_endpoint("openai:gpt", **{setting: 0})
