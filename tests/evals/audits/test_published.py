"""The published multiple-choice set is solvable without its pictures: the numbers of deepeval.md section 2."""

import json
import time
from pathlib import Path

import pytest

from tenfold.evals.audits import AuditItem, default_probes, run_probes
from tenfold.store.artifacts import find_data

FILES = {
    "description": "Descripion_Questions.json",
    "title": "Title_Questions.json",
    "meaning": "DeepSemantics_Questions.json",
}
PUBLISHED = {
    "no leading space": (99.7, 25.0, 25.0),
    "rarest string": (25.0, 66.8, 79.2),
    "shortest": (25.7, 29.3, 44.0),
    "longest": (27.7, 24.7, 13.3),
    "nearest to mean length": (21.8, 21.7, 21.9),
    "naive Bayes": (86.4, 35.1, 54.9),
    "naive Bayes, stripped": (86.6, 36.4, 55.4),
    "medoid": (21.1, None, 15.2),
    "outlier": (35.4, None, 42.0),
}
# The specification has 23.5 and 31.5 for titles, which gives the point of a tie to the first option; ties share it here.
TITLES_WITH_SHARED_TIES = {"medoid": 22.3, "outlier": 29.7}


@pytest.fixture(scope="module")
def published():
    try:
        folder = Path(find_data("deepeval"))
    except ValueError as absent:
        pytest.skip(f"the published questions are not on this machine: {absent}")
    items = {task: read(folder / name) for task, name in FILES.items()}
    start = time.process_time()
    results = {task: {result.name: result for result in run_probes(items[task])} for task in FILES}
    return results, time.process_time() - start


def read(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        AuditItem(
            row["Image_ID"], row["Image_ID"], list(row["Options"].values()), "ABCD".index(row["Answer"]), row["Prompt_1"]
        )
        for row in rows
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_measured_accuracies(published, name):
    results, _ = published
    for task, expected in zip(FILES, PUBLISHED[name], strict=True):
        if expected is not None:
            tolerance = 1.5 if name.endswith("stripped") else 1.0
            assert 100 * results[task][name].accuracy.value == pytest.approx(expected, abs=tolerance), task


def test_titles_with_ties_shared(published):
    for name, expected in TITLES_WITH_SHARED_TIES.items():
        assert 100 * published[0]["title"][name].accuracy.value == pytest.approx(expected, abs=0.3)


def test_folds_can_be_parted_by_text_only_where_the_distractors_are_rewrites(published):
    results, _ = published
    assert {task: results[task]["naive Bayes"].folds_share_texts for task in FILES} == {
        "description": False,
        "title": True,
        "meaning": True,
    }


def test_all_probes_over_all_tasks_take_less_than_ten_seconds(published):
    assert len(default_probes()) >= 10
    assert published[1] < 10
