"""The Inspect task with scripted models: gold answers score 1, empty ones 0, and logs can be judged again."""

import pytest

from tenfold.core.errors import UserError
from tenfold.evals.inspect.backends import offer
from tenfold.evals.inspect.logs import read_log
from tenfold.evals.inspect.running import run_tasks
from tenfold.llm.chat import ChatReply, ChatRequest
from tenfold.llm.scripted import Scripted
from tenfold.systems.ump import data
from tenfold.systems.ump.tasks import ump

PROBLEMS = {problem.question: problem for problem in data.load("builtin", limit_blocks=2)}


def knows(request: ChatRequest) -> str:
    problem = next(p for question, p in PROBLEMS.items() if question in request.messages[0].text)
    verdict = f"VERDICT: SOLVABLE\nANSWER: {problem.answer}" if problem.sound else "It cannot be answered.\nVERDICT: FLAWED"
    return f"We looked at it.\n{verdict}"


def values(tmp_path, answer, **settings) -> list[float | None]:
    model = offer(Scripted("scripted", answer))
    (log,) = run_tasks([ump(limit_blocks=2, **settings)], model, tmp_path / "logs", cache=tmp_path / "cache")
    return [next(iter(sample.scores.values())).value for sample in read_log(log)]


@pytest.mark.parametrize("settings", [{}, {"template": "ccc"}, {"template": "ccc", "mode": "gate"}])
def test_gold_answers_score_one(tmp_path, settings):
    assert values(tmp_path, knows, **settings) == [1.0] * 8


def test_empty_answers_score_nothing_for_flawed_and_sound_alike(tmp_path):
    assert values(tmp_path, lambda _: "") == [0.0] * 8


def test_letters_alone(tmp_path):
    answer = lambda _: ChatReply("", candidate_logprobs=(-1.0, -1.0))  # noqa: E731
    assert values(tmp_path, answer, method="logprob") == [1.0, 1.0, 0.0, 0.0] * 2, "one half is not called flawed"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "guess"}, "unknown method 'guess'"),
        ({"template": "cc"}, "unknown template"),
        ({"template": "direct", "mode": "gate"}, "has no stages and modes"),
        ({"category": "odd"}, "unknown category"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        ump(**settings)
