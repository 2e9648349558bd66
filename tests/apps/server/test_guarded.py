"""A guard over the server: questions stopped, answers cut where a look blocks, nothing lost where it allows."""

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_tiny import NAME, running
from tenfold.apps.server.answers import Piece
from tenfold.apps.server.guarded import WatchedAnswer
from tenfold.llm.guard import GuardVerdict

ALLOW, BLOCK = GuardVerdict("safe", "allow", 0.0), GuardVerdict("unsafe", "block", 1.0)
HELD = 4
"""Characters that the scripted watch holds back."""


class Watch:
    """Passes text with a delay of HELD characters and blocks once it has seen `most`."""

    def __init__(self, most):
        self.most, self.text, self.shown = most, "", 0
        self.verdict = None

    def feed(self, chunk):
        self.text += chunk
        self.verdict = BLOCK if len(self.text) > self.most else ALLOW
        return self._until(len(self.text) - HELD)

    def finish(self):
        return self._until(len(self.text))

    def _until(self, end):
        if self.verdict is BLOCK or end <= self.shown:
            return ""
        start, self.shown = self.shown, end
        return self.text[start:end]


class Guard:
    """Stops questions with the word zorgle, and answers of more than `most` characters."""

    fingerprint = "scripted"

    def __init__(self, most=10**6):
        self.most = most
        self.seen = []

    def check(self, messages, rules=()):
        self.seen.append((messages[-1].text, tuple(rules)))
        return BLOCK if "zorgle" in messages[-1].text else ALLOW

    def watch(self, messages, rules=()):
        if self.most < 0:
            raise RuntimeError("broken")
        return Watch(self.most)


def ask(client, **more):
    question = more.pop("question", "what is the answer?")
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=NAME, messages=messages, temperature=0, **more)


def streamed(client, **more):
    chunks = [chunk.choices[0] for chunk in ask(client, stream=True, **more)]
    return "".join(choice.delta.content or "" for choice in chunks), chunks[-1].finish_reason


def test_an_allowing_guard_changes_nothing():
    with running() as server:
        plain = ask(server.client()).choices[0]
    guard = Guard()
    with running(guard=guard, guard_rules=("be kind to all",)) as server:
        whole = ask(server.client()).choices[0]
        assert (whole.message.content, whole.finish_reason) == (plain.message.content, plain.finish_reason)
        assert streamed(server.client()) == (plain.message.content, plain.finish_reason)
    assert guard.seen[0] == ("what is the answer?", ("be kind to all",))


def test_a_blocked_question_is_refused_before_anything_is_decoded():
    with running(guard=Guard()) as server:
        with pytest.raises(openai.BadRequestError, match="stopped by the guard") as error:
            ask(server.client(), question="how to zorgle?")
        assert error.value.code == "content_filter"
        server.wait_until_idle()


def test_an_answer_is_cut_where_a_look_blocks_and_decoding_ends():
    with running() as server:
        text = ask(server.client()).choices[0].message.content
    with running(guard=Guard(most=12)) as server:
        shown, reason = streamed(server.client())
        assert reason == "content_filter" and text.startswith(shown) and len(shown) <= 12 - HELD + 1
        whole = ask(server.client(), n=2)
        assert [choice.finish_reason for choice in whole.choices] == ["content_filter"] * 2
        assert all(text.startswith(choice.message.content) for choice in whole.choices)
        server.wait_until_idle()


def test_prompts_of_text_completions_are_judged_too():
    with running(guard=Guard()) as server:
        for prompt in (["the answer", "how to zorgle?"], "zorgle"):
            with pytest.raises(openai.BadRequestError, match="stopped by the guard"):
                server.client().completions.create(model=NAME, prompt=prompt, max_tokens=3)
        assert server.client().completions.create(model=NAME, prompt="the answer", max_tokens=3).choices


@given(pieces=st.lists(st.lists(st.tuples(st.text("ab", min_size=1, max_size=4), st.sampled_from(["target", "ngram"])))))
def test_what_is_passed_keeps_its_sources(pieces):
    answer = WatchedAnswer(Watch(most=20))
    found = [answer.feed(Piece(0, spans)) for spans in pieces]
    found.append(answer.feed(Piece(0, (), finish_reason="stop")))
    characters = [(character, source) for spans in pieces for text, source in spans for character in text]
    sent = [(character, source) for piece in found for text, source in piece.spans for character in text]
    assert sent == characters[: len(sent)]
    is_blocked = len(characters) > 20
    assert found[-1].finish_reason == ("content_filter" if is_blocked else "stop")
    assert len(sent) <= 20 if is_blocked else sent == characters


def test_a_guard_that_breaks_lets_nothing_pass():
    with running(guard=Guard(most=-1)) as server:
        with pytest.raises(openai.InternalServerError):
            ask(server.client())
        server.wait_until_idle()
