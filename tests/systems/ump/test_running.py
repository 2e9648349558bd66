"""The verb `run` and its page with scripted models: laws of blind answerers, paired comparisons, kills, failures."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.llm.chat import ChatReply, ChatRequest, ProviderError
from tenfold.llm.scripted import Scripted
from tenfold.nn import opening
from tenfold.nn.models import text_ids
from tenfold.store import runs
from tenfold.systems.ump import data, page, templates
from tenfold.systems.ump.asking import outstanding, parse_way, turns
from tenfold.systems.ump.running import RunConfig, run, summary

PROBLEMS = {problem.question: problem for problem in data.load("builtin", limit_blocks=5)}


def question_of(request: ChatRequest) -> str:
    text = next(message.text for message in request.messages if message.role == "user")
    return next(question for question in PROBLEMS if question in text)


def knows(request: ChatRequest) -> str:
    """Solves what is sound and names what is flawed."""
    problem = PROBLEMS[question_of(request)]
    if problem.sound:
        return f"Step by step it comes out as {problem.answer}.\nVERDICT: SOLVABLE\nANSWER: {problem.answer}"
    return "This cannot be answered: the conditions contradict each other.\nVERDICT: FLAWED\nFLAW: it makes no sense"


def start(tmp_path, monkeypatch, answer, **settings):
    model = Scripted("scripted", answer)
    monkeypatch.setattr(opening, "open_model", lambda name, dtype="auto": model)
    config = parse(RunConfig, {"models": "scripted", "limit_blocks": 5, "templates": "direct,ccc"} | settings)
    return model, config, runs.start(tmp_path, "ump-run", config)


def test_whoever_knows_scores_one(tmp_path, monkeypatch):
    _, config, opened = start(tmp_path, monkeypatch, knows)
    metrics = run(config, opened)
    for row in metrics["models"]["scripted"].values():
        assert [row[key]["value"] for key in ("acc", "abs_strict", "false_alarm", "pair_sep")] == [1, 1, 0, 1]
    assert metrics["compared"]["scripted"]["ccc"]["abs_strict"]["value"] == 0
    assert "ccc against direct" in summary(metrics)
    built = page.build(list(opened.rows.values()), metrics)
    assert "better than chance" in built.verdict and len(built.exhibits) == 5


def test_an_empty_answer_scores_nothing(tmp_path, monkeypatch):
    _, config, opened = start(tmp_path, monkeypatch, lambda _: "")
    row = run(config, opened)["models"]["scripted"]["direct"]
    assert row["acc"]["value"] == row["abs_strict"]["value"] == 0
    assert row["non_conv"]["value"] == 1


@pytest.mark.parametrize("text", ["The answer is 12.", "I cannot tell, something is missing.", "VERDICT: FLAWED", "84"])
@pytest.mark.parametrize("method", ["generate", "logprob"])
def test_whoever_does_not_look_is_exactly_blind(tmp_path, monkeypatch, text, method):
    def answer(request: ChatRequest) -> ChatReply | str:
        return ChatReply("", candidate_logprobs=(-0.1 * len(text), -2.0)) if request.candidates else text

    _, config, opened = start(tmp_path, monkeypatch, answer, method=method)
    for row in run(config, opened)["models"]["scripted"].values():
        assert row["pair_sep"]["value"] == 0.5


def test_letters_are_asked_in_both_orders(tmp_path, monkeypatch):
    """A model that always prefers the first letter is undecided, not certain."""
    answer = lambda request: ChatReply("", candidate_logprobs=(-0.1, -5.0))  # noqa: E731
    model, config, opened = start(tmp_path, monkeypatch, answer, method="logprob")
    run(config, opened)
    assert len(model.requests) == 2 * 2 * 20
    shares = [row["probability"] for row in opened.rows.values() if row["kind"] == "answer"]
    assert shares == pytest.approx([0.5] * 40)


def test_failed_calls_count_against_nobody(tmp_path, monkeypatch):
    def answer(request: ChatRequest) -> str:
        if PROBLEMS[question_of(request)].cell == "u2":
            raise ProviderError("server", "down")
        return knows(request)

    _, config, opened = start(tmp_path, monkeypatch, answer)
    row = run(config, opened)["models"]["scripted"]["direct"]
    assert row["unanswered"] == 5 and row["n"] == 15
    assert row["abs_strict"]["value"] == row["acc"]["value"] == 1


def test_a_gate_leaves_out_the_calculation():
    way = parse_way("ccc@gate")
    problem = next(iter(PROBLEMS.values()))
    replies: dict[str, ChatReply] = {}
    said = {1: "All conditions agree.\nUNSOUND", 2: "VERDICT: FLAWED"}
    for turn in said:
        (request,) = outstanding(way, problem, "generate", 64, replies)
        replies[request.digest] = ChatReply(said[turn])
    assert not list(outstanding(way, problem, "generate", 64, replies))
    asked = [request.messages[-1].text for request in turns(way, problem, 64, replies)]
    assert len(asked) == 2 and "Conclusion." in asked[1]
    passing = {next(outstanding(way, problem, "generate", 64, {})).digest: ChatReply("Fine.\nSOUND")}
    assert "Calculation" in next(outstanding(way, problem, "generate", 64, passing)).messages[-1].text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cc", "unknown template 'cc'"),
        ("ccc:critcal", "unknown stage 'critcal'"),
        ("ccc@gates", "unknown mode 'gates'"),
        ("ccc:conclusion@gate", "gate needs the stage critical"),
        ("direct@gate", "only ccc has stages and modes"),
    ],
)
def test_wrong_ways_are_named(name, words):
    with pytest.raises(UserError, match=words):
        parse_way(name)


def test_every_subset_of_stages_is_a_prompt():
    names = [
        "critical",
        "calculation",
        "conclusion",
        "critical+calculation",
        "critical+conclusion",
        "calculation+conclusion",
    ]
    problem = next(iter(PROBLEMS.values()))
    prompts = {next(outstanding(parse_way(f"ccc:{name}"), problem, "generate", 9, {})).digest for name in names}
    assert len(prompts) == 6
    assert all(problem.question in templates.in_one(name, problem.question) for name in templates.TEMPLATES)


@pytest.mark.model
def test_padding_is_as_long_as_ccc(smollm2):

    lengths = {name: len(text_ids(smollm2.tokenizer, templates.in_one(name, ""))) for name in ("ccc", "padding")}
    assert abs(lengths["padding"] / lengths["ccc"] - 1) <= 0.05, lengths


def test_a_killed_run_repeats_no_call(tmp_path):
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        from tenfold.core.config import parse
        from tenfold.llm.scripted import Scripted
        from tenfold.nn import opening
        from tenfold.store import runs
        from tenfold.systems.ump.running import RunConfig, run

        folder, deadly = Path(sys.argv[1]), int(sys.argv[2])

        def answer(request):
            with (folder / "asked.txt").open("a") as file:
                file.write(request.digest + "\\n")
            if deadly and len((folder / "asked.txt").read_text().split()) == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            return "The answer is 12."

        opening.open_model = lambda name, dtype="auto": Scripted("scripted", answer)
        config = parse(RunConfig, {"models": "scripted", "limit_blocks": 2, "templates": "direct,ccc"})
        opened = runs.resume_or_start(folder, "ump-run", config)
        opened.finish(run(config, opened))
        """
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def go(deadly: int) -> int:
        words = [sys.executable, "-c", script, str(tmp_path), str(deadly)]
        return subprocess.run(words, env=environment, capture_output=True).returncode

    assert go(7) == -signal.SIGKILL
    assert go(0) == 0
    asked = (tmp_path / "asked.txt").read_text().split()
    assert len(set(asked)) == 16 and len(asked) == 17, "only the call under way at the kill is asked again"
    (metrics,) = tmp_path.glob("ump-run/*/metrics.json")
    assert json.loads(metrics.read_text())["models"]["scripted"]["direct"]["pair_sep"]["value"] == 0.5
