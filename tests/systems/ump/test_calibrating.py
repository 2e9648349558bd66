"""The verb `calibrate` on a small folder in MiP's layout: models left out, held-out folders, resume, bad files."""

import json

import numpy as np
import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.store import runs
from tenfold.systems.ump.calibrating import CalibrateConfig, calibrate, summary
from tenfold.systems.ump.correction import study
from tenfold.systems.ump.stored import read_stored

SAYS_SO = (
    "The price of one ticket is not given, so this cannot be determined.",
    "There is not enough information here. Please provide the missing number.",
    "It is impossible to say, because the problem does not state how many there were.",
    "Without knowing the length, no answer can be found; more information is needed.",
)
ANSWERS = (
    "Each of them pays 3, so together they pay 12. The answer is 12.",
    "We add 5 and 7 and get 12. Therefore \\boxed{12}.",
    "First we take half of 24, which is 12.\n\nAnswer: 12",
    "Four times three makes 12 in all. So the total is 12 dollars.",
)


def write_folder(root, models, *, sets=("one", "two"), number=24, seed=0):
    """Each model answers each set; half of its answers say that something is missing."""
    generator = np.random.default_rng(seed)
    for name in sets:
        for kind in ("MiP", "normal"):
            for model in models:
                rows = []
                for place in range(number):
                    flagged = bool(generator.random() < (0.8 if kind == "MiP" else 0.1))
                    text = (SAYS_SO if flagged else ANSWERS)[generator.integers(4)]
                    rows.append(
                        {"model_answer": text, "eval_result": 0 if flagged else 1, "answer": f"#### {12 + place % 2}"}
                    )
                file = root / "response" / name / kind / model / "response.json"
                file.parent.mkdir(parents=True)
                file.write_text(json.dumps(rows))
    return str(root)


def calibrated(tmp_path, **settings):
    config = parse(CalibrateConfig, {"labels": 40, "resamples": 50} | settings)
    opened = runs.start(tmp_path, "ump-calibrate", config)
    return calibrate(config, opened), opened


def test_each_model_is_judged_by_a_fit_on_the_others(tmp_path):
    folder = write_folder(tmp_path / "data", ("a", "b", "c"))
    metrics, opened = calibrated(tmp_path, data=folder)
    assert metrics["answers"] == 3 * 2 * 2 * 24 and set(metrics["per_model"]) == {"a", "b", "c"}
    assert metrics["kappa"] > 0.9 and set(metrics["choices"]) == {"a", "b", "c", "all"}
    assert set(metrics["per_folder"]) == {"one/flawed", "one/sound", "two/flawed", "two/sound"}
    assert calibrate(opened.config, opened) == metrics, "a second call reads its rows"
    assert (opened.folder / "linear.json").is_file() and "left out in turn" in summary(metrics)


def test_a_killed_calibration_goes_on_behind_its_last_model(tmp_path):
    folder = write_folder(tmp_path / "data", ("a", "b", "c"))
    whole, opened = calibrated(tmp_path / "whole", data=folder)
    cut = runs.start(tmp_path / "cut", "ump-calibrate", opened.config)
    for key in ("all", "a"):
        cut.add(key, {name: value for name, value in opened.rows[key].items() if name != "key"})
    (cut.folder / "linear.json").write_bytes((opened.folder / "linear.json").read_bytes())
    assert calibrate(opened.config, cut) == whole


def test_another_folder_is_judged_by_a_fit_on_all_of_this_one(tmp_path):
    folder = write_folder(tmp_path / "data", ("a", "b", "c"))
    other = write_folder(tmp_path / "other", ("new",), seed=1)
    metrics, _ = calibrated(tmp_path, data=folder, held_out=other)
    assert set(metrics["per_model"]) == {"new"} and metrics["choices"]["new"] is None
    assert metrics["kappa"] > 0.9 and "fitted on" in summary(metrics)


def test_more_labels_than_answers_are_refused(tmp_path):
    with pytest.raises(UserError, match="fewer labels"):
        study([True, False], [0.9, 0.1], num_labels=2, resamples=10, seed=0)


def test_where_no_correction_is_possible_it_is_said():
    found = study([True] * 30 + [False] * 30, [0.5] * 60, num_labels=20, resamples=20, seed=0)
    assert found["rogan_gladen_refused"] == 1 and found["rogan_gladen_bias"] is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "is not JSON"),
        ("{}", "not a list"),
        ('[{"reply": "x"}]', "row 0 holds no answer"),
        ('[{"model_answer": "x", "eval_result": 3}]', "no labelled answer"),
    ],
)
def test_files_that_hold_no_labels_are_named(tmp_path, content, words):
    file = tmp_path / "data" / "set" / "MiP" / "m" / "response.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(UserError, match=words):
        calibrated(tmp_path, data=str(tmp_path / "data"))


def test_problems_beside_the_answers_are_taken_where_they_match(tmp_path):
    folder = tmp_path / "data"
    write_folder(folder, ("a",), sets=("one", "two"), number=2)
    (folder / "data").mkdir()
    for name, number in (("one", 2), ("two", 3)):
        problems = [{"question": f"sound {n}", "insufficient_question": f"flawed {n}"} for n in range(number)]
        (folder / "data" / f"{name}.json").write_text(json.dumps(problems))
    asked = [(answer.set, answer.question) for answer in read_stored(str(folder))]
    assert ("one", "flawed 1") in asked and ("one", "sound 0") in asked
    assert all(question == "" for name, question in asked if name == "two"), "another number of problems: no telling which"
