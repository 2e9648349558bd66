"""Nothing is lost on the way from Inspect to a request and back, and what cannot be honoured is refused."""

import asyncio

import pytest
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentAudio,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    ResponseSchema,
    get_model,
)
from inspect_ai.tool import ToolInfo
from inspect_ai.util import JSONSchema

from tenfold.core.errors import ConfigError
from tenfold.evals.inspect.backends import offer
from tenfold.evals.inspect.messages import to_output, to_request
from tenfold.llm.chat import ChatReply, Image, Message, ProviderError, Usage
from tenfold.llm.scripted import Scripted

IMAGE = Image(b"\x89PNG bytes", "image/png")


def test_messages_and_settings_arrive():
    request = to_request(
        [
            ChatMessageSystem(content="be brief"),
            ChatMessageUser(content=[ContentText(text="look: "), ContentImage(image=IMAGE.data_uri)]),
            ChatMessageAssistant(content=[ContentReasoning(reasoning="hm"), ContentText(text="seen")]),
        ],
        GenerateConfig(max_tokens=7, temperature=0.5, top_p=0.9, seed=3, stop_seqs=["END"], max_retries=4, timeout=9),
    )
    assert request.messages == (
        Message("system", ("be brief",)),
        Message("user", ("look: ", IMAGE)),
        Message("assistant", ("seen",)),
    )
    assert (request.max_tokens, request.temperature, request.top_p) == (7, 0.5, 0.9)
    assert (request.seed, request.stop) == (3, ("END",))


def test_defaults_are_greedy():
    request = to_request([ChatMessageUser(content="hi")], GenerateConfig())
    assert (request.temperature, request.top_p, request.max_tokens, request.candidates) == (0.0, 1.0, 1024, ())


def test_schema_arrives_as_plain_json():
    number = JSONSchema(type="object", properties={"n": JSONSchema(type="integer")})
    config = GenerateConfig(response_schema=ResponseSchema(name="answer", json_schema=number))
    schema = to_request([ChatMessageUser(content="hi")], config).json_schema
    assert schema is not None
    assert schema["properties"] == {"n": {"type": "integer"}}


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (GenerateConfig(top_k=5, logprobs=True), "logprobs, top_k"),
        (GenerateConfig(extra_body={"min_p": 0.1}), r"extra_body\['min_p'\]"),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(config, named):
    with pytest.raises(ConfigError, match=f"do not take {named}; they take max_tokens"):
        to_request([ChatMessageUser(content="hi")], config)


def test_tools_and_other_media_are_refused():
    with pytest.raises(ConfigError, match="do not take tools"):
        to_request([ChatMessageTool(content="42", tool_call_id="1")], GenerateConfig())
    with pytest.raises(ConfigError, match="do not take 'audio' content"):
        audio = ContentAudio(audio="data:audio/wav;base64,AA==", format="wav")
        to_request([ChatMessageUser(content=[audio])], GenerateConfig())
    with pytest.raises(ConfigError, match=r"a picture is given as 'cat\.png'; give it as a data: URI"):
        to_request([ChatMessageUser(content=[ContentImage(image="cat.png")])], GenerateConfig())
    with pytest.raises(ConfigError, match=r"is not base64 .*; encode its bytes again"):
        to_request([ChatMessageUser(content=[ContentImage(image="data:image/png;base64,@@")])], GenerateConfig())
    model = get_model(offer(Scripted("toolless", ["hi"])))
    tool = ToolInfo(name="add", description="adds")
    with pytest.raises(ConfigError, match="do not take tools"):
        asyncio.run(model.generate("hi", tools=[tool]))


def test_reply_arrives():
    reply = ChatReply("yes", "length", Usage(10, 5, 2), "because", (-0.5, None), (1, 2))
    output = to_output(reply, model="m", fingerprint="f")
    assert (output.completion, output.stop_reason) == ("yes", "max_tokens")
    assert output.metadata == {"fingerprint": "f", "candidate_logprobs": [-0.5, None], "candidate_tokens": [1, 2]}
    assert output.usage is not None
    assert (output.usage.input_tokens, output.usage.output_tokens, output.usage.reasoning_tokens) == (10, 5, 2)
    assert output.usage.total_tokens == 15


@pytest.mark.parametrize(
    ("kind", "retried", "as_kind"),
    [
        ("rate_limit", True, "rate_limit"),
        ("timeout", True, "transient"),
        ("server", True, "transient"),
        ("rejected", False, "transient"),
        ("unsupported", False, "transient"),
    ],
)
def test_only_failures_that_may_pass_are_tried_again(kind, retried, as_kind):
    api = get_model(offer(Scripted("flaky", ["hi"]))).api
    decision = api.should_retry(ProviderError(kind, "no", retry_after_s=2.0 if retried else None))
    assert (bool(decision), decision.kind, decision.retry_after) == (retried, as_kind, 2.0 if retried else None)
    assert not api.should_retry(ValueError("ours"))
