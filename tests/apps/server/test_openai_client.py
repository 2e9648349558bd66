"""OpenAI's own client, unchanged, against the server."""

import json

import openai
import pytest

from serving_tiny import NAME

QUESTION = [{"role": "user", "content": "what is the answer?"}]


def ask(server, **more):
    return server.client().chat.completions.create(**{"model": NAME, "messages": QUESTION, "temperature": 0, **more})


def test_a_chat_is_the_plain_greedy_text(server):
    reply = ask(server, max_tokens=20)
    assert reply.choices[0].message.content == server.chat_text(QUESTION[0]["content"], 20)
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert reply.usage.completion_tokens <= 20
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_a_stream_is_the_same_text_in_pieces_and_tells_its_usage(server):
    chunks = list(ask(server, max_tokens=20, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == server.chat_text(QUESTION[0]["content"], 20)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] in ("stop", "length")
    assert chunks[-1].usage.completion_tokens <= 20 and not chunks[-1].choices


def test_pieces_say_who_guessed_them(server):
    chunks = list(ask(server, max_tokens=24, stream=True, stream_options={"include_usage": True}, extra_body=None))
    sourced = list(
        server.client().chat.completions.create(
            model=NAME,
            messages=QUESTION,
            temperature=0,
            max_tokens=24,
            stream=True,
            extra_body={"stream_options": {"include_sources": True}},
        )
    )
    spans = [span for chunk in sourced for span in chunk.choices[0].model_extra.get("sources", [])]
    assert "".join(span["text"] for span in spans) == "".join(
        chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices
    )
    assert {span["source"] for span in spans} <= {"target", "ngram"}
    report = sourced[-1].choices[0].model_extra["speculation"]
    assert report["accepted"] <= report["drafted"]


def test_without_speculation_the_text_is_the_same_and_nothing_is_guessed(server):
    reply = ask(server, max_tokens=24, extra_body={"speculate": False})
    assert reply.choices[0].message.content == server.chat_text(QUESTION[0]["content"], 24)
    assert reply.choices[0].model_extra["speculation"]["drafted"] == 0


def test_one_seed_one_text_and_several_answers_differ(server):
    first, second = (ask(server, temperature=1.0, seed=7, n=3, max_tokens=16) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert len(set(texts)) > 1
    assert [choice.index for choice in first.choices] == [0, 1, 2]
    other = ask(server, temperature=1.0, seed=8, max_tokens=16)
    assert other.choices[0].message.content not in texts


def test_text_completions_of_several_prompts_and_of_tokens(server):
    client = server.client()
    one = client.completions.create(model=NAME, prompt="the answer", max_tokens=12, temperature=0)
    ids = server.service.prompts.loaded.tokenizer("the answer")["input_ids"]
    several = client.completions.create(model=NAME, prompt=["the answer", "user: "], max_tokens=12, temperature=0)
    from_ids = client.completions.create(model=NAME, prompt=ids, max_tokens=12, temperature=0)
    assert several.choices[0].text == one.choices[0].text == from_ids.choices[0].text
    assert len(several.choices) == 2
    chunks = list(client.completions.create(model=NAME, prompt="the answer", max_tokens=12, temperature=0, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == one.choices[0].text


def test_a_stop_string_ends_the_text_and_is_not_part_of_it(server):
    whole = ask(server, max_tokens=24).choices[0].message.content
    stop = whole[len(whole) // 2 :][:2]
    reply = ask(server, max_tokens=24, stop=[stop])
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in ask(server, max_tokens=24, stop=stop, stream=True))
    assert reply.choices[0].message.content == streamed == whole[: whole.index(stop)]
    assert reply.choices[0].finish_reason == "stop"


def test_an_answer_may_have_to_follow_a_schema(server):
    schema = {"type": "object", "properties": {"is": {"type": "boolean"}}, "required": ["is"]}
    asked = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    for temperature in (0, 1.0):
        reply = ask(server, max_tokens=40, temperature=temperature, response_format=asked)
        assert json.loads(reply.choices[0].message.content).keys() == {"is"}


def test_models_are_listed_and_an_unknown_one_is_an_error(server):
    client = server.client()
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).id == NAME
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'"):
        client.models.retrieve("gpt")
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'"):
        ask(server, model="gpt")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_tokens": 100_000}, "ask for at most"),
        ({"messages": [{"role": "user", "content": "the answer " * 400}]}, "shorten it"),
        ({"messages": [{"role": "user", "content": "x" * 30_000}]}, "no more than"),
        ({"messages": []}, "messages"),
        ({"temperature": 3}, "temperature"),
        ({"n": 99}, "at most 8"),
        ({"logit_bias": {"5": 100}}, "logit_bias"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"extra_body": {"temprature": 1}}, "did you mean 'temperature'"),
        ({"stream_options": {"include_usage": True}}, "stream is not true"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": 5}}}}, "schema"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(server, wrong, said):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(server, **wrong)
    assert said in refused.value.body["message"]
    assert "\n" not in refused.value.body["message"]
