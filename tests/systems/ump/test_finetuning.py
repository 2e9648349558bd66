"""The verb `finetune` on a tiny random model: rows, resume, and a page; the verb `report` over runs."""

import pytest

from tenfold.apps import wiring
from tenfold.core import jsonl
from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.llm.chat import ChatReply
from tenfold.llm.scripted import Scripted
from tenfold.nn import opening
from tenfold.store import runs
from tenfold.systems.ump import data, finetuning, page
from tenfold.systems.ump.finetuning import FinetuneVerbConfig, build_page, rows, summary, train
from tenfold.systems.ump.reporting import ReportConfig, report
from tenfold.systems.ump.running import RunConfig, run
from tenfold.train.finetune import FinetuneConfig
from tiny_tokenizer import tiny_tokenizer


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory, new_tiny_model):
    folder = tmp_path_factory.mktemp("tiny-model")
    tokenizer = tiny_tokenizer()
    new_tiny_model(vocab_size=len(tokenizer), max_position_embeddings=1024).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_rows_ask_in_both_orders_and_name_the_right_letter():
    problems = data.load("builtin", limit_blocks=2)
    made = rows(problems)
    assert len(made) == 2 * len(problems)
    for problem, first, second in zip(problems, made[::2], made[1::2], strict=True):
        assert {first.completion, second.completion} == {"(A)", "(B)"}
        assert (first.completion == "(A)") == (not problem.sound)
        assert problem.question in first.prompt[0]["content"]


def test_training_is_measured_before_and_after_and_goes_on_after_a_kill(tmp_path, tiny_folder):
    training = parse(FinetuneConfig, {"max_steps": 2, "batch_size": 2, "save_every": 1})
    config = parse(
        FinetuneVerbConfig,
        {"model": str(tiny_folder), "train_blocks": 1, "test_blocks": 2, "max_length": 1000, "training": training},
    )
    opened = runs.start(tmp_path, "ump-finetune", config)
    metrics = train(config, opened)
    assert metrics["steps"] == 2 and 0 <= metrics["after"]["value"] <= 1 and 0 < metrics["p"] <= 1
    assert (opened.folder / metrics["folder"] / "config.json").is_file()
    assert "2 steps" in summary(metrics)
    built = build_page(list(opened.rows.values()), metrics)
    assert "After 2 steps" in built.verdict and len(built.exhibits) == 2
    assert train(config, runs.resume(tmp_path, "ump-finetune", config)) == metrics


def test_another_homes_method_trains_by_name(tmp_path, tiny_folder):
    settings = {"model": str(tiny_folder), "train_blocks": 1, "test_blocks": 2, "max_length": 1000}
    training = parse(FinetuneConfig, {"max_steps": 4, "batch_size": 2})
    periodic = {"method": "plora", "method_settings": {"interval": 2}, "training": training}
    config = parse(wiring.verb("ump.finetune").config, settings | periodic)
    opened = runs.start(tmp_path, "ump-finetune", config)
    assert wiring.verb("ump.finetune").run(config, opened)["steps"] == 4
    assert len(list(jsonl.read(opened.folder / "stages.jsonl"))) == 1
    assert (opened.folder / "merged" / "config.json").is_file()


def test_problems_without_blocks_cannot_be_learned_from(tmp_path, monkeypatch):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "a", "question": "How many?", "answer": "3", "split": "train"}\n')
    config = parse(FinetuneVerbConfig, {"data": str(path)})
    monkeypatch.setattr(finetuning, "models", None)
    with pytest.raises(UserError, match="no block"):
        train(config, runs.start(tmp_path, "ump-finetune", config))


def run_of(tmp_path, monkeypatch, name: str, **settings):
    monkeypatch.setattr(opening, "open_model", lambda name, dtype="auto": Scripted(name, lambda _: ChatReply("ANSWER: 12")))
    config = parse(RunConfig, {"models": name, "limit_blocks": 5, "templates": "direct,cot"} | settings)
    opened = runs.start(tmp_path, "ump-run", config)
    opened.finish(run(config, opened))
    return opened


def reported(tmp_path, *folders, **settings):
    config = parse(ReportConfig, {"runs": ",".join(str(folder) for folder in folders)} | settings)
    return report(config, runs.start(tmp_path, "ump-report", config))


def test_runs_are_set_side_by_side_without_asking(tmp_path, monkeypatch):
    first, second = run_of(tmp_path, monkeypatch, "one"), run_of(tmp_path, monkeypatch, "two")
    monkeypatch.setattr(opening, "open_model", None)
    metrics = reported(tmp_path, first.folder, second.folder)
    assert set(metrics["models"]) == {"one", "two"}
    assert metrics["models"]["one"] == first.metrics["models"]["one"]
    assert metrics["compared"]["two"]["cot"]["acc"] == second.metrics["compared"]["two"]["cot"]["acc"]
    assert page.build([], metrics).exhibits
    assert reported(tmp_path, first.folder, base="cot")["base"] == "cot"


def test_runs_that_differ_are_refused(tmp_path, monkeypatch):
    first = run_of(tmp_path, monkeypatch, "one")
    other = run_of(tmp_path, monkeypatch, "two", limit_blocks=10)
    with pytest.raises(UserError, match="limit_blocks"):
        reported(tmp_path, first.folder, other.folder)
    with pytest.raises(UserError, match="another run"):
        reported(tmp_path, first.folder, run_of(tmp_path, monkeypatch, "one").folder)
    with pytest.raises(UserError, match="base that all have"):
        reported(tmp_path, first.folder, base="ccc")
