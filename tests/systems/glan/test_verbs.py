"""The verbs end to end with the scripted teacher: yields, resume, additions, estimates, exports, refusals."""

import json

import pytest

from tenfold.core import jsonl
from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, UserError
from tenfold.store import runs
from tenfold.systems.glan.exporting import level_rank
from tenfold.systems.glan.generating import GenerateConfig, settled
from tenfold.systems.glan.planner import Planner
from tenfold.systems.glan.taxonomy import load_taxonomy, read_disciplines
from tenfold.systems.glan.verbs import VERBS


def do(verb, tmp_path, **settings):
    config = parse(VERBS[verb].config, settings)
    run = runs.start(tmp_path / "runs", verb, config)
    metrics = run.finish(VERBS[verb].run(config, run))
    assert VERBS[verb].summary(metrics)
    if VERBS[verb].page:
        assert VERBS[verb].page(list(run.rows.values()), json.loads(json.dumps(metrics))).verdict
    return run.folder, metrics


SMALL = {"teacher": "scripted", "questions": 6, "subjects": 3, "queries": 2}


def test_generate_writes_every_pair_and_says_what_was_lost(tmp_path):
    folder, metrics = do("generate", tmp_path, **SMALL | {"teacher": "scripted:defects", "rounds": 1})
    rows = jsonl.recover(folder / "pairs.jsonl")
    assert metrics["pairs"] == metrics["wanted"] == len(rows) == 36
    assert metrics["accepted"] == len(jsonl.recover(folder / "accepted.jsonl")) == 36 - sum(metrics["gates"].values())
    assert {"truncation", "echo", "refusal"} & set(metrics["gates"])
    rejected = jsonl.recover(folder / "rejected.jsonl")
    assert len(rejected) == sum(metrics["gates"].values()) and all(row["gate"] and row["detail"] for row in rejected)
    assert (metrics["session_coverage"], metrics["missing"], metrics["unread"]) == (1.0, {}, {})
    config = parse(GenerateConfig, SMALL | {"teacher": "scripted:defects", "rounds": 1})
    again = VERBS["generate"].run(config, runs.Run(folder, config))
    assert again["asked"] == 0 and again["sha256"] == metrics["sha256"]


def test_what_the_gates_stop_is_replaced_by_further_draws(tmp_path):
    once, _ = do("generate", tmp_path, **SMALL | {"teacher": "scripted:defects", "rounds": 1})
    folder, metrics = do("generate", tmp_path, **SMALL | {"teacher": "scripted:defects", "rounds": 4})
    assert metrics["replaced"] > 0 and metrics["accepted"] >= 35 and metrics["wanted"] == 36
    assert metrics["pairs"] == 36 + metrics["replaced"]
    rows = jsonl.recover(folder / "pairs.jsonl")
    first = {row["id"] for row in jsonl.recover(once / "pairs.jsonl")}
    assert first < {row["id"] for row in rows}
    assert len({(row["subject"], *row["concepts"]) for row in rows}) == len(rows), "no combination comes twice"


@pytest.mark.parametrize(("teacher", "tolerance"), [("scripted", 0.1), ("scripted:defects", 0.2)])
def test_a_pilot_of_eight_makes_the_estimate_good(tmp_path, teacher, tolerance):
    """How many pairs the gates will stop is the hard part: of eight, one or two are."""
    tree = {"disciplines": ["Mathematics and logic"], "prompt_price": 1.0, "completion_price": 1.0}
    settings = tree | {"teacher": teacher, "subjects": 5, "questions": 10}
    _, pilot = do("generate", tmp_path, **settings, dry_run=True, pilot=8)
    assert 8 * 6 <= pilot["pilot_calls"] <= 8 * 6 + 8  # an answer without an end is asked for again
    assert set(pilot["measured_kinds"]) >= {"subjects", "syllabus", "question", "answer"}
    _, whole = do("generate", tmp_path, **settings)
    _, piloted = do("generate", tmp_path, **settings | {"ledger": str(tmp_path / "l.sqlite")}, dry_run=True, pilot=8)
    _, later = do("generate", tmp_path, **settings | {"ledger": str(tmp_path / "l.sqlite")})
    assert later["asked"] + piloted["pilot_calls"] == whole["asked"], "what the pilot asked is not asked again"
    total = {name: piloted[name] for name in ("calls", "prompt_tokens", "completion_tokens")}
    spent = {name: later[name] for name in total}
    pilot_tokens = spent["prompt_tokens"] * piloted["pilot_calls"] / spent["calls"]
    assert total["calls"] + piloted["pilot_calls"] == pytest.approx(spent["calls"], rel=tolerance)
    assert total["prompt_tokens"] + pilot_tokens == pytest.approx(spent["prompt_tokens"], rel=tolerance)
    assert piloted["usd"] > 0
    with pytest.raises(UserError, match="pilot is set without dry_run"):
        do("generate", tmp_path, **SMALL, pilot=8)


def test_more_questions_than_combinations_are_said_to_be_short(tmp_path):
    _, metrics = do("generate", tmp_path, **SMALL | {"subjects": 1, "disciplines": "Algebra", "mix": 0.0, "questions": 400})
    assert metrics["short"] > 0 and metrics["wanted"] + metrics["short"] == 400 and metrics["pairs"] == metrics["wanted"]


def test_clean_teacher_loses_nothing(tmp_path):
    _, metrics = do("generate", tmp_path, **SMALL)
    assert metrics["accepted"] == metrics["pairs"] == 36 and metrics["gates"] == {}


def test_the_estimate_after_a_pilot_is_within_a_tenth(tmp_path):
    ledger = {"ledger": str(tmp_path / "ledger.sqlite"), **SMALL}
    do("generate", tmp_path, **ledger | {"questions": 2, "disciplines": ["Optics", "Astronomy", "Baking", "Mechanics"]})
    pilot = runs.read_metrics(next((tmp_path / "runs/generate").iterdir()))
    wide = ledger | {"disciplines": ["Physics", "Food"], "prompt_price": 1.0, "completion_price": 2.0}
    _, expected = do("generate", tmp_path, **wide, dry_run=True)
    _, actual = do("generate", tmp_path, **wide)
    spent = {name: actual[name] - pilot[name] for name in ("calls", "prompt_tokens", "completion_tokens")}
    assert actual["asked"] == spent["calls"]
    assert all(abs(expected[name] - spent[name]) <= 0.1 * spent[name] for name in spent)
    assert expected["usd"] > 0


def test_a_dry_run_asks_nothing_and_knows_what_is_done(tmp_path):
    ledger = {"ledger": str(tmp_path / "ledger.sqlite"), **SMALL}
    _, before = do("generate", tmp_path, **ledger, dry_run=True)
    assert before["calls"] == 4 * 2 + 6 * 2 + 36 * 2 and before["measured_kinds"] == []
    do("generate", tmp_path, **ledger)
    _, after = do("generate", tmp_path, **ledger, dry_run=True)
    assert after["calls"] == 0 and after["prompt_tokens"] == 0


def test_money_needs_prices(tmp_path):
    with pytest.raises(UserError, match="price is missing"):
        do("generate", tmp_path, **SMALL, max_usd=1.0)
    _, metrics = do("generate", tmp_path, **SMALL, max_usd=0.001, prompt_price=1.0, completion_price=1.0)
    assert "max_usd is 0.001; 0 is spent and the next call may need" in metrics["stopped"] and metrics["pairs"] == 0
    _, metrics = do("generate", tmp_path, **SMALL, max_usd=0.02, prompt_price=1.0, completion_price=1.0)
    assert metrics["stopped"] and 0.01 < metrics["usd"] <= 0.02 and metrics["lost_tokens"] == 0


def test_gate_judges_again_against_a_benchmark(tmp_path):
    folder, _ = do("generate", tmp_path, **SMALL)
    rows = jsonl.recover(folder / "pairs.jsonl")
    rows[5]["instruction"] = (
        "A farmer has 17 sheep and sells all but 9 of them at the market; how many sheep are left with him?"
    )
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "mine.jsonl").write_text(json.dumps({"question": rows[5]["instruction"].upper()}) + "\n")
    gated, metrics = do("gate", tmp_path, data=str(tmp_path / "pairs.jsonl"), against=[str(tmp_path / "mine.jsonl")])
    assert metrics["gates"] == {"benchmark": 1}
    (rejected,) = jsonl.recover(gated / "rejected.jsonl")
    assert rejected["id"] == rows[5]["id"] and "mine" in rejected["detail"] and "exact" in rejected["detail"]


def test_gate_refuses_another_file(tmp_path):
    (tmp_path / "other.jsonl").write_text('{"question": "?"}\n')
    with pytest.raises(ConfigError, match="line 1 is no pair"):
        do("gate", tmp_path, data=str(tmp_path / "other.jsonl"))


@pytest.fixture
def accepted(tmp_path):
    folder, _ = do("generate", tmp_path, **SMALL, held_out=1)
    return folder / "accepted.jsonl"


@pytest.mark.parametrize("form", ["chat", "alpaca", "sharegpt"])
def test_export_forms(form, accepted, tmp_path):
    folder, metrics = do("export", tmp_path, data=str(accepted), format=form)
    rows, pairs = jsonl.recover(folder / "train.jsonl"), jsonl.recover(accepted)
    train = [pair for pair in pairs if pair["split"] == "train"]
    assert metrics["rows"] == len(rows) == len(train) == 36
    texts = {
        "chat": lambda row: [message["content"] for message in row["messages"]],
        "alpaca": lambda row: [row["instruction"], row["output"]],
        "sharegpt": lambda row: [turn["value"] for turn in row["conversations"]],
    }[form]
    assert [texts(row) for row in rows] == [[pair["instruction"], pair["answer"]] for pair in train]
    assert all(row["lineage"] and row["level"] for row in rows)
    assert "36 pairs" in (folder / "README.md").read_text()


def test_export_as_parquet_is_read_by_datasets(accepted, tmp_path):
    from datasets import Dataset

    _, metrics = do("export", tmp_path, data=str(accepted), format="parquet", out=str(tmp_path / "out"))
    data = Dataset.from_parquet(str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path / "cache"))
    chat, _ = do("export", tmp_path, data=str(accepted))
    assert data.to_list() == jsonl.recover(chat / "train.jsonl") and metrics["rows"] == 36
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "manifest.json", "train.parquet"]


def test_export_by_level_is_a_curriculum(accepted, tmp_path):
    folder, _ = do("export", tmp_path, data=str(accepted), order="level")
    ranks = [level_rank(row["level"]) for row in jsonl.recover(folder / "train.jsonl")]
    assert ranks == sorted(ranks) and len(set(ranks)) > 1


def test_held_out_pairs_are_exported_apart(accepted, tmp_path):
    _, metrics = do("export", tmp_path, data=str(accepted), split="test")
    assert metrics["rows"] == 6


def test_bundled_taxonomy_covers_academic_and_vocational_fields(tmp_path):
    _, metrics = do("taxonomy", tmp_path)
    assert metrics["disciplines"] >= 100 and metrics["kinds"]["vocational"] >= 60 and len(metrics["fields"]) >= 10
    names = {discipline.name for discipline in load_taxonomy()}
    assert {"Algebra", "Statistics", "Logic"} <= names
    assert all(len(discipline.scope) >= 4 for discipline in load_taxonomy())


def test_unknown_disciplines_and_broken_taxonomies_are_refused(tmp_path):
    with pytest.raises(UserError, match="nearest are 'algebra'"):
        do("taxonomy", tmp_path, disciplines=["Algbra"])
    twins = {"field": [{"name": "F", "branches": {"B": ["D: x", "D: y"]}}]}
    with pytest.raises(ConfigError, match="twice"):
        read_disciplines(twins, where="mine.toml")
    for broken in ({}, {"field": [{"name": "F"}]}, {"field": [{"name": "F", "branches": {"B": "D"}}]}):
        with pytest.raises(ConfigError, match="not a taxonomy"):
            read_disciplines(broken, where="mine.toml")


@pytest.mark.parametrize(
    ("teacher", "given", "expected"),
    [
        ("smollm2", {}, (0.7, 128, 256)),
        ("smollm2", {"temperature": 0.0, "answer_tokens": 900}, (0.0, 128, 900)),
        ("scripted", {}, (1.0, 512, 2048)),
        ("openai:some", {"question_tokens": 64}, (1.0, 64, 2048)),
    ],
)
def test_a_local_teacher_is_less_hot_and_more_brief_unless_told_otherwise(teacher, given, expected):
    planner = Planner(settled(parse(GenerateConfig, {"teacher": teacher} | given)), "t")
    assert (planner.temperature, planner.question_tokens, planner.answer_tokens) == expected
