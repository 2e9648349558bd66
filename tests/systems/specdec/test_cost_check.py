"""The check of the cost model: its arithmetic on made-up rows, and a whole run on a tiny model."""

import json

import pytest

from tenfold.core.config import parse
from tenfold.store import runs
from tenfold.systems.specdec.cost_check import CheckCostsConfig, check_costs, metrics, summary


def row(task, plain, measured, predicted, lengths):
    cell = {"plain_ms": plain, "ms": measured, "predicted": predicted}
    return {"subtask": task, "oracle": {"a": cell}, "lengths": lengths, "loop_overhead": 0.01, "contention": 0.0}


def test_errors_and_shares_are_those_of_pooled_times():
    rows = [
        row("qa", 100.0, 50.0, 2.0, {"1": 10.0, "3": 8.0, "auto": 8.0}),
        row("rag", 100.0, 40.0, 2.0, {"1": 10.0, "3": 12.0, "auto": 12.5}),
    ]
    found = metrics(rows)
    assert found["per_cell"]["a"] == pytest.approx({"measured": 200 / 90, "predicted": 2.0})
    assert found["median_error"] == pytest.approx(200 / 90 / 2 - 1)
    assert found["per_task"]["qa"] == {"best_fixed": 3, "controller_vs_best_fixed": 1.0}
    assert found["per_task"]["rag"] == {"best_fixed": 1, "controller_vs_best_fixed": 0.8}
    assert found["lowest_controller_vs_best_fixed"] == pytest.approx(0.8)


def test_a_run_measures_every_cell_and_is_complete_when_resumed(tiny_folder, tmp_path):
    data = tmp_path / "questions.jsonl"
    data.write_text(json.dumps({"question_id": 1, "category": "qa", "turns": ["who? who?"]}))
    table = {
        "data": str(data),
        "model": str(tiny_folder),
        "limit_per_task": 1,
        "max_new_tokens": 8,
        "alphas": [0.9],
        "gammas": [1, 3],
        "repeats": 1,
    }
    config = parse(CheckCostsConfig, table)
    run = runs.start(tmp_path / "runs", "specdec-check-costs", config)
    found = check_costs(config, run)
    assert set(found["per_cell"]) == {"alpha 0.9, gamma 1", "alpha 0.9, gamma 3"}
    assert found["loop_overhead"] > 0
    assert check_costs(config, runs.resume(tmp_path / "runs", "specdec-check-costs", config)) == found
    assert "automatic length" in summary(found)
