"""The verb `judge` over a run's answers and over stored ones, and rates corrected by labels of one's own."""

import json

import numpy as np
import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.llm.chat import ChatReply, ProviderError
from tenfold.llm.scripted import Scripted
from tenfold.nn import opening
from tenfold.store import runs
from tenfold.systems.ump import data
from tenfold.systems.ump.labels import corrected, read_labels
from tenfold.systems.ump.measures import Answered
from tenfold.systems.ump.replaying import JudgeConfig, judge, summary
from tenfold.systems.ump.running import RunConfig, run

FLAGGING = "The conditions contradict each other, so this cannot be answered."
FIRST = data.load("builtin", limit_blocks=5)[0]


def asked(tmp_path, monkeypatch, answer, **settings):
    monkeypatch.setattr(opening, "open_model", lambda name, dtype="auto": Scripted(name, answer))
    config = parse(RunConfig, {"models": "one", "limit_blocks": 5, "templates": "direct,cot"} | settings)
    opened = runs.start(tmp_path, "ump-run", config)
    opened.finish(run(config, opened))
    return opened


def judged(tmp_path, **settings):
    config = parse(JudgeConfig, settings)
    opened = runs.start(tmp_path, "ump-judge", config)
    return judge(config, opened), opened


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_run_judged_again_gives_the_same_numbers(tmp_path, monkeypatch):
    first = asked(tmp_path, monkeypatch, lambda _: ChatReply(FLAGGING))
    metrics, opened = judged(tmp_path, data=str(first.folder))
    for template, row in first.metrics["models"]["one"].items():
        again = metrics["models"]["one"][template]
        assert all(row[key] == again[key] for key in ("acc", "abs_strict", "abs_graded", "false_alarm", "pair_sep", "j"))
    assert metrics["compared"]["one"]["cot"]["harm"]["verdict"] in summary(metrics)
    assert metrics["corrected"] == {} and metrics["agreement"] is None
    assert judge(opened.config, opened) == metrics
    assert judged(tmp_path, data=first.folder.name)[0]["models"] == metrics["models"]


def test_a_call_that_failed_stays_unscored(tmp_path, monkeypatch):
    def broken(request):
        if FIRST.question in request.messages[-1].text:
            raise ProviderError("rejected", "no")
        return ChatReply(FLAGGING)

    first = asked(tmp_path, monkeypatch, broken)
    row = judged(tmp_path, data=str(first.folder))[0]["models"]["one"]["direct"]
    assert row["n"] - row["unscored"] == first.metrics["problems"] - 1


def test_a_run_without_words_or_with_other_problems_cannot_be_judged(tmp_path, monkeypatch):
    first = asked(tmp_path, monkeypatch, lambda _: ChatReply(FLAGGING))
    rows = first.folder / "results.jsonl"
    rows.write_text(rows.read_text().replace(FIRST.id, "nobody"))
    with pytest.raises(UserError, match="run it anew"):
        judged(tmp_path, data=str(first.folder))
    rows.write_text("")
    with pytest.raises(UserError, match="no answers in words"):
        judged(tmp_path, data=str(first.folder))


def test_labels_of_ones_own_correct_the_rates(tmp_path, monkeypatch):
    first = asked(tmp_path, monkeypatch, lambda _: ChatReply(FLAGGING))
    flawed = [problem.id for problem in data.load("builtin", limit_blocks=5) if not problem.sound]
    rows = [
        {"model": "one", "template": "direct", "problem": key, "flagged": place % 2 == 0}
        for place, key in enumerate(flawed[:6])
    ]
    metrics, _ = judged(tmp_path, data=str(first.folder), labels=write(tmp_path / "labels.jsonl", rows))
    row = metrics["corrected"]["one"]["direct"]
    assert row["flawed"]["judge"] == 1 and row["flawed"]["labels"] == 6
    assert row["flawed"]["value"] == pytest.approx(0.5), "a judge that says the same of all tells nothing"
    assert row["sound"]["labels"] == 0 and row["sound"]["value"] is None
    assert "by 6 labels 50.0%" in summary(metrics) and "give two or more" in summary(metrics)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"model": "one", "template": "direct", "problem": FIRST.id}], "label 1"),
        ([{"model": "one", "problem": FIRST.id, "flagged": True}], "lacks 'template'"),
        ([{"model": "one", "template": "direct", "problem": FIRST.id, "flagged": True}] * 2, "second one"),
        ([["one"]], "is accepted"),
        ([{"model": "one", "template": "direct", "problem": "nobody", "flagged": True}], "no answer here"),
    ],
)
def test_wrong_labels_are_named_and_nothing_runs(tmp_path, monkeypatch, rows, words):
    first = asked(tmp_path, monkeypatch, lambda _: ChatReply(FLAGGING))
    with pytest.raises(UserError, match=words):
        judged(tmp_path, data=str(first.folder), labels=write(tmp_path / "labels.jsonl", rows))


def answers_of(probabilities):
    flawed = next(problem for problem in data.load("builtin", limit_blocks=5) if not problem.sound)
    return [
        Answered(flawed.model_copy(update={"id": str(place)}), "", "ok", float(p), float(p >= 0.5), solved=False)
        for place, p in enumerate(probabilities)
    ]


def test_a_biased_judge_is_corrected_with_the_coverage_that_is_promised():
    generator = np.random.default_rng(5)
    truth = generator.random(1500) < 0.4
    answers = answers_of(np.clip(np.where(truth, 0.75, 0.35) + generator.normal(0, 0.2, 1500), 0, 1))
    found = []
    for _ in range(200):
        known = {str(place): bool(truth[place]) for place in generator.choice(1500, 150, replace=False)}
        found.append(corrected(answers, known)["flawed"])
    assert abs(np.mean([row["value"] for row in found]) - truth.mean()) < 0.01
    assert np.mean([row["low"] <= truth.mean() <= row["high"] for row in found]) >= 0.9


def test_where_all_is_labelled_the_labels_are_the_rate():
    answers = answers_of([0.9, 0.9, 0.1, 0.1])
    row = corrected(answers, {str(place): place == 0 for place in range(4)})["flawed"]
    assert (row["value"], row["low"], row["high"], row["judge"]) == (0.25, 0.25, 0.25, 0.5)
    assert corrected(answers, {})["sound"] is None


def test_a_missing_file_of_labels_is_named(tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_labels(tmp_path / "none.jsonl")
