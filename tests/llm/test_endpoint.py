"""What is sent, what is read, and the kind of every failure, against a real socket."""

import asyncio
import json
import math
import time
import urllib.error
import urllib.request
from dataclasses import replace
from email.utils import formatdate

import openai
import pytest

from tenfold.core.errors import UserError
from tenfold.llm import completions
from tenfold.llm.chat import ChatRequest, Image, ProviderError, Usage, assistant, system, user
from tenfold.llm.endpoint import Endpoint
from tenfold.llm.stub_server import FAULTS, StubServer

HELLO = ChatRequest((user("hello"),))
PNG = Image(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def ask(server, request=HELLO, **settings):
    return asyncio.run(Endpoint("stub", base_url=server.base_url, **settings).chat(request))


def failure(server, request=HELLO, **settings):
    with pytest.raises(ProviderError) as raised:
        ask(server, request, **settings)
    return raised.value


def test_an_answer_with_its_usage_and_reasoning():
    whole = {
        "choices": [{"finish_reason": "length", "message": {"content": "hi", "reasoning_content": "hm"}}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}},
    }
    with StubServer(answer=lambda _: whole) as server:
        reply = ask(server)
    assert (reply.text, reply.finish_reason, reply.reasoning) == ("hi", "length", "hm")
    assert reply.usage == Usage(5, 9, 7)


def test_all_that_the_answer_depends_on_is_sent():
    schema = {"type": "object", "properties": {"b": {"type": "string"}, "a": {"type": "string"}}}
    request = ChatRequest(
        (system("be brief"), user("look: ", PNG, " what is it?"), assistant("A"), user("sure?")),
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        seed=3,
        stop=("\n",),
        json_schema=schema,
    )
    with StubServer() as server:
        ask(server, request)
        (asked,) = server.requests
    assert asked.images == (PNG.data,)
    body = asked.body
    assert [part["type"] for part in body["messages"][1]["content"]] == ["text", "image_url", "text"]
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert (body["model"], body["max_tokens"], body["temperature"], body["top_p"]) == ("stub", 9, 0.5, 0.9)
    assert (body["seed"], body["stop"]) == (3, ["\n"])
    assert json.dumps(body["response_format"]["json_schema"]["schema"]) == json.dumps(schema)  # in the same order


def test_what_was_not_asked_for_is_not_sent():
    with StubServer() as server:
        ask(server)
    assert set(server.requests[0].body) == {"model", "messages", "max_tokens", "temperature"}


def test_a_request_with_a_seed_names_itself_for_those_who_bill():
    seeded = replace(HELLO, seed=3)
    with StubServer() as server:
        for request in (HELLO, seeded, seeded, replace(seeded, seed=4)):
            ask(server, request)
    keys = [asked.headers.get("idempotency-key") for asked in server.requests]
    assert keys[0] is None and keys[1] == keys[2] == seeded.digest and keys[3] not in (None, keys[1])


@pytest.mark.parametrize(
    ("told", "is_too_long"),
    [
        ("This model's maximum context length is 4096 tokens", True),
        ("the request exceeds the available context size, try increasing it", True),
        ("The input (5000 tokens) is longer than the model's context length", True),
        ("prompt is too long: 210000 tokens > 200000 maximum", True),
        ("Unsupported parameter: max_tokens", False),
        ("model not found", False),
    ],
)
def test_servers_say_in_many_words_that_it_is_too_long(told, is_too_long):
    assert completions.is_too_long(400, told) is is_too_long and not completions.is_too_long(500, told)


def test_every_byte_of_a_picture_arrives_and_the_server_checks_it():
    with StubServer() as server:
        ask(server, ChatRequest((user(PNG, Image(b"\xff\xd8\xff", "image/jpeg")),)))
        assert server.requests[0].images == (PNG.data, b"\xff\xd8\xff")
        assert failure(server, ChatRequest((user(Image(b"x", "text/plain")),))).kind == "rejected"


KINDS = {
    "rate_limit": "rate_limit",
    "server": "server",
    "hang": "timeout",
    "malformed": "malformed",
    "no_choices": "malformed",
    "truncated": "connection",
    "reset": "connection",
    "rejected": "rejected",
    "too_long": "too_long",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_kind(fault):
    with StubServer(faults=[fault], retry_after="1.5") as server:
        error = failure(server, timeout_s=0.3)
        assert error.kind == KINDS[fault], error
        assert error.retry_after_s == (1.5 if fault == "rate_limit" else None)
        assert len(server.requests) == 1  # the SDK does not ask again by itself


def test_nobody_listens():
    with StubServer() as server:
        pass
    assert failure(server).kind == "connection"


def test_the_wrong_key_is_refused():
    with StubServer(api_key="right") as server:
        error = failure(server, api_key="wrong")
        assert (error.kind, error.message.partition(" ")[2]) == ("rejected", "answered 401: wrong key")
        assert ask(server, api_key="right\n").text == "ok"


def test_an_address_without_its_path_is_told():
    with StubServer() as server, pytest.raises(ProviderError, match="ends where its API begins, often in /v1"):
        asyncio.run(Endpoint("stub", base_url=server.base_url.removesuffix("/v1")).chat(HELLO))


@pytest.mark.parametrize("body", [[], {"choices": []}, {"choices": [{}]}, {"choices": 1}, {"error": {"message": "full"}}])
def test_a_reply_without_a_message_is_malformed(body):
    with StubServer(answer=lambda _: body if isinstance(body, dict) else {"choices": None}) as server:
        error = failure(server)
    assert error.kind == "malformed"
    assert "error" not in body or "full" in str(error)


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_an_answer_that_broke_off_is_no_answer(reason):
    choice = {"finish_reason": reason, "message": {"content": "The answ"}, "error": {"message": "worker died"}}
    with StubServer(answer=lambda _: {"choices": [choice]}) as server:
        error = failure(server)
    assert error.kind == "server" and reason in str(error) and "worker died" in str(error)


def a_message(content, **more):
    return json.dumps({"choices": [{"message": {"content": content}, **more}]})


@pytest.mark.parametrize("text", ["", "null", "[" * 100_000, '{"a":' + "1" * 5000 + "}", a_message({"a": 1}), a_message(5)])
def test_a_body_that_is_no_answer_is_malformed(text):
    with pytest.raises(ProviderError) as raised:
        completions.read(text, HELLO)
    assert raised.value.kind == "malformed" and len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("body", "text"),
    [(a_message("a", finish_reason=["x"]), "a"), (a_message([{"text": "a"}, {"text": None}, "b"]), "a")],
)
def test_odd_additions_are_read_leniently(body, text):
    assert completions.read(body, HELLO).text == text


@pytest.mark.parametrize(
    ("listed", "score"),
    [
        ([{"token": "A"}], None),
        ([{"token": "A", "logprob": None}], None),
        ([{"token": "A", "logprob": -math.inf}], None),
        ([{"token": "A", "logprob": -800.0}], -800.0),
        ([{"token": "A", "logprob": -800.0}, {"token": "A", "logprob": -800.0}], -800 + math.log(2)),
    ],
)
def test_odd_and_tiny_log_probabilities(listed, score):
    body = a_message("A", logprobs={"content": [{"top_logprobs": listed}]})
    (found,) = completions.read(body, ChatRequest((user("?"),), candidates=("A",))).candidate_logprobs
    assert found == (None if score is None else pytest.approx(score))


def test_a_refusal_and_parts_are_text():
    for message, text in [
        ({"content": None, "refusal": "no"}, "no"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"content": None}, ""),
    ]:
        with StubServer(answer=lambda _, m=message: {"choices": [{"message": m, "finish_reason": None}]}) as server:
            reply = ask(server)
        assert (reply.text, reply.finish_reason, reply.usage) == (text, "stop", Usage())


@pytest.mark.parametrize(("header", "seconds"), [("7", 7), ("0.25", 0.25), ("soon", None), (None, None), ("-3", 0)])
def test_retry_after(header, seconds):
    with StubServer(faults=["rate_limit"], retry_after=header) as server:
        assert failure(server).retry_after_s == seconds


def test_retry_after_as_a_date():
    with StubServer(faults=["rate_limit"], retry_after=formatdate(time.time() + 30, usegmt=True)) as server:
        assert failure(server).retry_after_s == pytest.approx(30, abs=3)


LETTERS = ("A", "B", "C", "D")


def test_letters_are_scored_and_what_is_not_listed_is_none():
    ranks = {"A": math.log(0.5), " B": math.log(0.3), "B": math.log(0.1), "C": -9999.0}
    ranks |= {f"x{place}": -5.0 - place for place in range(16)} | {"D": -30.0}  # D is the 21st
    request = ChatRequest((user("A, B, C or D?"),), temperature=0, max_tokens=50, candidates=LETTERS)
    with StubServer(logprobs=ranks) as server:
        reply = ask(server, request)
        body = server.requests[0].body
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"], body["temperature"]) == (True, 20, 1, 1.0)
    assert reply.candidate_logprobs == (pytest.approx(math.log(0.5)), pytest.approx(math.log(0.1)), None, None)
    assert reply.text == "A" and reply.candidate_tokens == ()


def test_tokens_spelled_alike_are_added():
    ranks = [{"token": "A", "logprob": math.log(0.25)}, {"token": "A", "logprob": math.log(0.5)}]
    choice = {"message": {"content": "A"}, "logprobs": {"content": [{"top_logprobs": ranks}]}}
    with StubServer(answer=lambda _: {"choices": [choice]}) as server:
        reply = ask(server, ChatRequest((user("?"),), candidates=("A",)))
    assert reply.candidate_logprobs == (pytest.approx(math.log(0.75)),)
    assert reply.candidate_tokens == (1,)


def test_an_endpoint_without_log_probabilities_cannot_score():
    with StubServer() as server:
        assert failure(server, ChatRequest((user("?"),), candidates=LETTERS)).kind == "unsupported"


def test_a_begun_answer_is_continued_by_local_servers_and_refused_by_openai():
    request = ChatRequest((user("?"),), answer_prefix="The answer is")
    with StubServer() as server:
        ask(server, request)
        body = server.requests[0].body
    assert body["messages"][-1] == {"role": "assistant", "content": "The answer is"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    with pytest.raises(ProviderError) as raised:
        asyncio.run(Endpoint("gpt", api_key="k").chat(request))
    assert raised.value.kind == "unsupported"


def test_bare_text_is_for_local_models():
    with StubServer() as server:
        assert failure(server, ChatRequest((), answer_prefix="Once upon")).kind == "unsupported"
        assert not server.requests


def test_half_a_surrogate_pair_is_an_answerable_or_rejected_request_but_no_crash():
    with StubServer() as server:
        try:
            ask(server, ChatRequest((user("\ud83d"),)))
        except ProviderError as error:
            assert error.kind == "rejected"


def test_keys_and_addresses(monkeypatch):
    with pytest.raises(UserError, match=r"no key for api\.openai\.com; set OPENAI_API_KEY"):
        Endpoint("gpt")
    for odd in ("localhost:8000/v1", "http://", "http://[bad", "http://host:port/v1", "http://host:99999/v1", "ftp://x/v1"):
        with pytest.raises(UserError, match=r"address is .*; write it like http://"):
            Endpoint("x", base_url=odd)
    for near in (
        "http://localhost:8000/v1",
        "http://127.0.0.1/v1",
        "http://[::1]:1/v1",
        "http://10.1.2.3/v1",
        "http://box/v1",
    ):
        assert Endpoint("x", base_url=near).fingerprint == f"openai:{near}:x"
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:secret@llm.example.org/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    endpoint = Endpoint("x")
    assert endpoint.fingerprint == "openai:https://llm.example.org/v1:x"
    assert endpoint.name == "openai:x" and endpoint.takes_images


def test_one_endpoint_serves_one_event_loop_after_another():
    with StubServer() as server:
        endpoint = Endpoint("stub", base_url=server.base_url)
        assert [asyncio.run(endpoint.chat(HELLO)).text for _ in range(3)] == ["ok"] * 3


def test_the_stub_streams():
    async def words():
        client = openai.AsyncOpenAI(base_url=server.base_url, api_key="k")
        async with client:
            models = [model.id async for model in client.models.list()]
            stream = await client.chat.completions.create(
                model="stub",
                messages=[{"role": "user", "content": "x"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            return models, [chunk async for chunk in stream]

    with StubServer(answer="one two three") as server:
        models, chunks = asyncio.run(words())
    assert models == ["stub"]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[-1].usage.completion_tokens == 3


def test_the_stub_refuses_broken_base64():
    body = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}}]}
    with StubServer() as server:
        data = json.dumps({"messages": [body]}).encode()
        with pytest.raises(urllib.error.HTTPError, match="400") as raised:
            urllib.request.urlopen(f"{server.base_url}/chat/completions", data)
        raised.value.close()
