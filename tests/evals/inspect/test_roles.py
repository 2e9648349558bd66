"""A judge of ours over a model of Inspect's: letters, texts, pictures and failures arrive."""

import asyncio

import pytest
from inspect_ai.model import get_model

from tenfold.evals.inspect.backends import offer
from tenfold.evals.inspect.roles import InspectChat
from tenfold.evals.judges.grader import ModelJudge
from tenfold.evals.judges.judgement import JudgeError
from tenfold.llm.chat import ChatReply, ChatRequest, Image, ProviderError, assistant, system, user
from tenfold.llm.scripted import Scripted


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path))


def test_request_arrives_whole():
    asked = Scripted("grader", lambda request: ChatReply("fine", "length"), takes_images=True)
    picture = Image(b"bytes")
    request = ChatRequest(
        (system("s"), user("look ", picture), assistant("seen"), user("so?")),
        max_tokens=5,
        temperature=0.3,
        seed=1,
        stop=("X",),
    )
    chat = InspectChat(get_model(offer(asked)))
    reply = asyncio.run(chat.chat(request))
    assert (reply.text, reply.finish_reason) == ("fine", "length")
    assert asked.requests == [request]
    asyncio.run(chat.chat(request))
    assert len(asked.requests) == 1  # the second answer came from the cache
    assert (chat.fingerprint, chat.takes_images) == ("scripted:grader", True)


SCHEMA = {"type": "object", "properties": {"label": {"type": "string", "enum": ["a", "b"]}}, "required": ["label"]}


def test_schema_and_begun_answer_arrive_or_are_refused():
    asked = Scripted("grader3", lambda request: "{}")
    request = ChatRequest((user("?"),), json_schema=SCHEMA, answer_prefix="Answer: ")
    asyncio.run(InspectChat(get_model(offer(asked))).chat(request))
    assert asked.requests == [request]
    other = InspectChat(get_model("mockllm/model"))
    for refused in (
        ChatRequest((user("?"),), answer_prefix="Answer: "),
        ChatRequest((user("?"),), json_schema={"type": "array", "minItems": 2}),
    ):
        with pytest.raises(ProviderError) as raised:
            asyncio.run(other.chat(refused))
        assert raised.value.kind == "unsupported"


def judge(answer):
    chat = InspectChat(get_model(offer(Scripted("grader2", answer))))
    return ModelJudge("model", chat, lambda case, options: [user(f"{case} {options}")], options=("flawed", "sound"))


def test_judge_over_a_role():
    def answer(request):
        return ChatReply("", candidate_logprobs=(-0.1, -3.0) if "('flawed'" in request.messages[0].text else (-3.0, -0.1))

    assert asyncio.run(judge(answer).probability("t")) > 0.9


def test_failure_of_a_role_is_the_judges():
    def answer(request):
        raise ProviderError("rejected", "the key is wrong")

    with pytest.raises(JudgeError, match=r"could not be asked .*the key is wrong"):
        asyncio.run(judge(answer).probability("t"))
