"""Answers are asked for once per scope and weights; candidates are scored under our provider and under others."""

import asyncio
import math

import pytest
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessageAssistant,
    Logprob,
    Logprobs,
    ModelOutput,
    ModelUsage,
    TopLogprob,
    get_model,
)

from tenfold.evals.inspect.backends import offer
from tenfold.evals.inspect.generating import generate_cached, score_candidates
from tenfold.llm.chat import ChatReply
from tenfold.llm.scripted import Scripted
from tenfold.llm.stub_server import StubServer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def asked(model, text="hi", **scopes):
    return asyncio.run(generate_cached(text, model=get_model(offer(model)), scopes=scopes)).completion


def test_scopes_and_weights_name_the_answer():
    model = Scripted("a", lambda request: f"answer {len(model.requests)}")
    assert asked(model, data="1", template="t") == "answer 1"
    assert asked(model, template="t", data="1") == "answer 1"  # whatever the order of the scopes
    assert asked(model, data="2", template="t") == "answer 2"
    assert asked(model, "ho", data="1", template="t") == "answer 3"

    class OtherWeights(Scripted):
        fingerprint = "other weights"

    other = OtherWeights("a", lambda request: "from other weights")
    assert asked(other, data="1", template="t") == "from other weights"
    assert asked(model, data="1", template="t") == "answer 1"


def test_candidates_of_our_provider():
    model = Scripted("b", lambda request: ChatReply("", candidate_logprobs=(-0.1, -2.0), candidate_tokens=(1, 1)))
    name = offer(model)
    scores = asyncio.run(score_candidates("A or B?", ["A", "B"], model=name, answer_prefix="(", scopes={}))
    assert scores.ranked == (-0.1, -2.0)
    assert (model.requests[0].candidates, model.requests[0].answer_prefix) == (("A", "B"), "(")


def test_letter_that_our_provider_cannot_rank():
    model = Scripted("c", lambda request: ChatReply("", candidate_logprobs=(-0.1, None)))
    scores = asyncio.run(score_candidates("A or B?", ["A", "B"], model=offer(model), scopes={}))
    assert scores.logprobs == (-0.1, None)
    assert scores.ranked is None


def told(*top: tuple[str, float]) -> ModelOutput:
    first = Logprob(token=top[0][0], logprob=top[0][1], top_logprobs=[TopLogprob(token=t, logprob=p) for t, p in top])
    message = ChatMessageAssistant(content=top[0][0], source="generate")
    return ModelOutput(model="m", choices=[ChatCompletionChoice(message=message, logprobs=Logprobs(content=[first]))])


def mock(output):
    output.usage = ModelUsage()  # else Inspect counts tokens with a file from the network
    return get_model("mockllm/model", custom_outputs=[output], memoize=False)


def test_candidates_of_another_provider_are_read_from_the_first_token():
    output = told(("A", math.log(0.5)), (" A", math.log(0.1)), ("(B", math.log(0.2)), ("None", math.log(0.1)))
    scores = asyncio.run(score_candidates("A or B?", ["A", "B", "C", "No"], model=mock(output), scopes={}))
    assert scores.logprobs[:2] == (pytest.approx(math.log(0.6)), pytest.approx(math.log(0.2)))
    assert scores.logprobs[2:] == (None, None)
    assert scores.ranked is None


def test_tokens_too_unlikely_to_be_ranked():
    output = told(("A", -0.1), ("B", -9999.0), ("C", -900.0))
    scores = asyncio.run(score_candidates("A or B?", ["A", "B", "C"], model=mock(output), scopes={}))
    assert scores.logprobs == (pytest.approx(-0.1), None, pytest.approx(-900.0))


def test_model_of_ours_that_answers_without_ranks():
    scores = asyncio.run(score_candidates("A or B?", ["A", "B"], model=offer(Scripted("d", lambda _: "A")), scopes={}))
    assert (scores.logprobs, scores.ranked) == ((None, None), None)


def test_provider_without_log_probabilities_ranks_nothing():
    output = ModelOutput.from_content("m", "A")
    scores = asyncio.run(score_candidates("A or B?", ["A", "B"], model=mock(output), scopes={}))
    assert scores.logprobs == (None, None)


def test_any_openai_compatible_endpoint_under_inspects_own_provider(tmp_path, monkeypatch):
    """Text and letters, by way of `openai-api/...`, with nothing of ours between Inspect and the server."""
    with StubServer(answer=lambda asked: asked.text[::-1], logprobs={"A": -0.1, "B": -2.5, "C": -9999.0}) as server:
        monkeypatch.setenv("STUB_BASE_URL", server.base_url)
        monkeypatch.setenv("STUB_API_KEY", "any")
        model = get_model("openai-api/stub/name", memoize=False)

        async def ask():
            texts = [(await generate_cached("abc", model=model, scopes={"data": "1"})).completion for _ in range(2)]
            scores = await score_candidates("A?", ["A", "B", "C"], model=model, scopes={})
            await model.api.aclose()
            return texts, scores

        texts, scores = asyncio.run(ask())
        assert texts == ["cba", "cba"]
        assert scores.logprobs == (pytest.approx(-0.1), pytest.approx(-2.5), None)
        assert len(server.requests) == 2
