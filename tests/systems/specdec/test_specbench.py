"""The benchmark runner on a tiny model: identity, rows, resumption, failures, and the promised keys."""

import json

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, UserError
from tenfold.store import runs
from tenfold.systems.specdec.comparison import summary
from tenfold.systems.specdec.data import SUBTASKS, load_questions
from tenfold.systems.specdec.page import build
from tenfold.systems.specdec.specbench import Bench, SpecBenchConfig, specbench

TASKS = SUBTASKS[:-1]
"""Those that have texts, without the random prompts."""

QUESTIONS = [
    {"question_id": 1, "category": "writing", "turns": ["ab ab ab ab", "again, please"]},
    {"question_id": 2, "category": "qa", "turns": ["who? who? who?"]},
    {"question_id": 3, "category": "rag", "turns": ["x" * 2000]},
]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return path


def settings(tiny_folder, data, **changes):
    table = {
        "model": str(tiny_folder),
        "data": str(data),
        "max_new_tokens": 12,
        "baselines": ["greedy", "transformers", "transformers-pld"],
    }
    return parse(SpecBenchConfig, table | changes)


@pytest.fixture
def finished(tiny_folder, data, tmp_path):
    run = runs.start(tmp_path / "runs", "specdec-specbench", settings(tiny_folder, data))
    return run, specbench(run.config, run)


def test_the_promised_keys_are_there_and_texts_are_identical(finished):
    _, metrics = finished
    promised = {
        "speedup_vs_transformers",
        "speedup_vs_transformers_pld",
        "speedup_vs_greedy",
        "mean_accepted_tokens",
        "per_task",
    }
    assert promised <= metrics.keys()
    assert metrics["identical_fraction"] == 1.0
    assert metrics["exactness"] == "bit"
    assert metrics["per_task"].keys() == {"mt_bench", "qa"}
    assert "12" in summary(metrics) or metrics["prompts"] == 2
    json.dumps(metrics, allow_nan=False)


def test_a_prompt_that_does_not_fit_is_counted_and_averaged_into_nothing(finished):
    run, metrics = finished
    assert (metrics["prompts"], metrics["failures"]) == (2, 1)
    assert "positions" in run.rows["3"]["failure"]


def test_rows_carry_spec_benchs_own_format(finished):
    run, _ = finished
    choice = run.rows["1"]["choices"][0]
    assert {"turns", "decoding_steps", "new_tokens", "wall_time", "accept_lengths"} <= choice.keys()
    assert len(choice["turns"]) == len(choice["new_tokens"]) == 2
    assert sum(choice["accept_lengths"]) + 2 == sum(choice["new_tokens"])


def test_coloured_spans_make_up_the_text(finished):
    run, _ = finished
    assert "".join(text for text, _ in run.rows["2"]["spans"]) == run.rows["2"]["choices"][0]["turns"][0].rstrip("\ufffd")


def test_answered_prompts_are_not_asked_again(tiny_folder, data, tmp_path, monkeypatch):
    config = settings(tiny_folder, data, baselines=["greedy"])
    run = runs.start(tmp_path / "runs", "specdec-specbench", config)
    asked = []
    whole = Bench.row

    def row(self, question, *, reverse):
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(question.question_id)
        return whole(self, question, reverse=reverse)

    monkeypatch.setattr(Bench, "row", row)
    with pytest.raises(KeyboardInterrupt):
        specbench(config, run)
    monkeypatch.setattr(
        Bench,
        "row",
        lambda self, question, *, reverse: asked.append(question.question_id) or whole(self, question, reverse=reverse),
    )
    again = runs.resume(tmp_path / "runs", "specdec-specbench", config)
    metrics = specbench(config, again)
    assert asked == [1, 2, 3]
    assert metrics["prompts"] == 2


def test_repeats_must_agree_and_the_median_counts(tiny_folder, data, tmp_path):
    config = settings(tiny_folder, data, baselines=["greedy"], repeats=3, limit_per_task=1, max_new_tokens=4)
    run = runs.start(tmp_path / "runs", "specdec-specbench", config)
    assert specbench(config, run)["identical_fraction"] == 1.0


def test_other_drafters_are_timed_in_the_same_run(tiny_folder, data, tmp_path):
    config = settings(tiny_folder, data, compare_drafters=["hybrid:shape=tree"])
    run = runs.start(tmp_path / "runs", "specdec-specbench", config)
    metrics = specbench(config, run)
    assert list(metrics["per_drafter"]) == ["tenfold", "tenfold:hybrid:shape=tree"]
    assert all(record["identical_fraction"] == 1 for record in metrics["per_drafter"].values())
    assert metrics["per_drafter"]["tenfold"]["speedup_vs_greedy"] == metrics["speedup_vs_greedy"]
    assert "tenfold:hybrid:shape=tree is" in summary(metrics)
    tables = {exhibit.title: exhibit for exhibit in build(list(run.rows.values()), metrics).exhibits}
    assert [cells[0] for cells in tables["Who guesses"].rows] == ["ngram", "hybrid:shape=tree"]


def test_an_unknown_drafter_to_compare_is_refused(tiny_folder, data):
    with pytest.raises(UserError, match="nogram"):
        settings(tiny_folder, data, compare_drafters=["nogram"])


def test_nothing_answered_is_an_error_not_a_number(tiny_folder, tmp_path):
    data = tmp_path / "long.jsonl"
    data.write_text(json.dumps(QUESTIONS[2]))
    run = runs.start(tmp_path / "runs", "specdec-specbench", settings(tiny_folder, data))
    with pytest.raises(UserError, match="no prompt could be answered"):
        specbench(run.config, run)


def test_our_own_prompts_cover_every_subtask_four_times():
    questions = load_questions("demo")
    assert len({question.question_id for question in questions}) == len(questions) == 24
    assert {task: sum(question.subtask == task for question in questions) for task in SUBTASKS[:-1]} == dict.fromkeys(
        SUBTASKS[:-1], 4
    )
    assert all(len(question.turns) == (2 if question.subtask == "mt_bench" else 1) for question in questions)


def test_a_limit_takes_one_of_each_mt_bench_category_first(tmp_path):
    rows = [{"question_id": i, "category": c, "turns": ["t"]} for i, c in enumerate(["writing", "writing", "coding", "qa"])]
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [question.question_id for question in load_questions(str(path), limit_per_task=2)] == [0, 2, 3]


@pytest.mark.parametrize(
    "row", ["{}", '{"question_id": 1, "category": "qa", "turns": [""]}', '{"question_id": 1}', "[1]", ""]
)
def test_files_in_another_format_are_refused(tmp_path, row):
    path = tmp_path / "q.jsonl"
    path.write_text(row)
    with pytest.raises(ConfigError):
        load_questions(str(path))


def test_random_prompts_are_ids_that_stay_the_same(tiny_folder):
    config = settings(tiny_folder, "random", limit_per_task=3, baselines=["greedy"])
    bench = Bench.load(config)
    questions = load_questions("random", limit_per_task=3)
    prompts = [bench._random_prompt(question) for question in questions]
    assert [len(prompt) for prompt in prompts] == [16, 64, 256]
    assert prompts == [bench._random_prompt(question) for question in questions]
    row = bench.row(questions[0], reverse=False)
    assert row["subtask"] == "random"
    assert row["identical"]
