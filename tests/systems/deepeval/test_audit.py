"""The audit finds planted leaks, reads anybody's questions, and proves that quads have none; the published numbers hold."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from systems.deepeval.published import write_release
from tenfold.core.errors import ApparatusError, ConfigError, MissingArtifactError, UserError
from tenfold.evals.audits import BlindProbe, default_probes, run_probes
from tenfold.store import runs
from tenfold.systems.deepeval import audit, data, exhibits, mcq, repair
from tenfold.systems.deepeval.items import read_items
from tenfold.systems.deepeval.likeness import Weights, distractor_cosines
from tenfold.systems.deepeval.scenes import album


def questions(count: int, *, leak: bool, seed: int = 0) -> list[dict[str, Any]]:
    """Random questions; with a leak the right option alone has no space in front."""
    generator, rows = random.Random(seed), []
    for number in range(count):
        gold = generator.randrange(4)
        words = [f"w{generator.randrange(500)} w{generator.randrange(500)}" for _ in range(4)]
        options = [text if place == gold or not leak else f" {text}" for place, text in enumerate(words)]
        rows.append({"id": f"q{number}", "options": options, "gold": "ABCD"[gold]})
    return rows


def written(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def audited(tmp_path: Path, name: str) -> dict[str, Any]:
    config = audit.AuditConfig(data=name)
    run = runs.start(tmp_path / "runs", "audit", config)
    return run.finish(audit.audit(config, run))


def test_a_planted_leak_is_found_in_anybodys_file(tmp_path: Path) -> None:
    metrics = audited(tmp_path, written(tmp_path / "mine.jsonl", questions(80, leak=True)))
    task = metrics["tasks"]["mine"]
    assert task["probes"]["no leading space"]["accuracy"] == 1.0 and task["strongest_accuracy"] == 1.0
    assert metrics["solvable_blind"] and metrics["verdict"] == "a blind rule beats chance: YES"
    assert "no leading space" in audit.summary(metrics)
    page = exhibits.audit_page([], metrics)
    assert page.verdict == "A blind rule beats chance: YES." and len(page.exhibits) == 1


def test_a_resumed_audit_runs_no_task_twice_and_ends_the_same(tmp_path: Path) -> None:
    config = audit.AuditConfig(data=written(tmp_path / "mine.jsonl", questions(40, leak=False)))
    first = runs.start(tmp_path / "runs", "audit", config)
    metrics = audit.audit(config, first)
    again = runs.resume(tmp_path / "runs", "audit", config)
    assert audit.audit(config, again) == metrics
    assert len((again.folder / "results.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"options": ["x", "y"], "gold": "B"}, 1),
        ({"choices": ["x", "y", "z"], "answer": 2}, 2),
        ({"Options": {"A": "x", "B": "y"}, "Answer": "A"}, 0),
        ({"options": ["x", "y", "z"], "label": "y"}, 1),
    ],
)
def test_questions_of_many_forms_are_read(row: dict[str, Any], gold: int) -> None:
    assert mcq.parse(row, "here", default_id="1").gold == gold


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"options": ["x"], "gold": "A"}, "line 2: options is"),
        ({"options": ["x", 3], "gold": "A"}, "line 2: options is"),
        ({"options": ["x", "y"], "gold": "C"}, "line 2: gold is 'C'"),
        ({"options": ["x", "y"]}, "line 2: gold is None"),
        ({"options": ["x", "y"], "gold": True}, "line 2: gold is True"),
    ],
)
def test_a_bad_question_is_named_with_its_line(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    path = written(tmp_path / "mine.jsonl", [*questions(1, leak=False), row])
    with pytest.raises(ConfigError) as caught:
        mcq.read(Path(path))
    assert reason in str(caught.value)


def test_no_file_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError):
        audit.load(str(tmp_path / "none.jsonl"))
    with pytest.raises(ConfigError, match="holds no questions"):
        audit.load(written(tmp_path / "empty.jsonl", []))


def test_on_scenes_no_rule_beats_chance(tmp_path: Path) -> None:
    metrics = audited(tmp_path, "factors")
    assert metrics["verdict"] == "a blind rule beats chance: NO"
    assert {probe["accuracy"] for probe in metrics["tasks"]["description"]["probes"].values()} == {0.25}


def test_repair_refuses_what_is_not_the_published_release(tmp_path: Path) -> None:
    config = repair.RepairConfig(data=str(tmp_path))
    with pytest.raises(UserError, match="for your own annotations use `build`"):
        repair.repair(config, runs.start(tmp_path / "runs", "repair", config))


@pytest.fixture(scope="module")
def published(data_folder: Path) -> str:
    if not (data_folder / "deepeval").is_dir():
        pytest.skip(f"the published files are not at {data_folder / 'deepeval'}")
    return str(data_folder / "deepeval")


TRIED = ("no leading space", "rarest string", "shortest", "naive Bayes")


def test_the_published_files_leak_as_measured(published: str) -> None:
    """The rules of section 2, to a tenth of a point; what a learner finds depends on the folds."""
    tasks, doubts = audit.load(published)
    chosen = [probe for probe in default_probes() if probe.name in TRIED]
    measured = {(task, result.name): result.accuracy.value for task in tasks for result in run_probes(tasks[task], chosen)}
    assert measured["description", "no leading space"] == pytest.approx(0.997, abs=0.001)
    assert measured["title", "rarest string"] == pytest.approx(0.668, abs=0.001)
    assert measured["meaning", "rarest string"] == pytest.approx(0.792, abs=0.001)
    assert measured["meaning", "shortest"] == pytest.approx(0.440, abs=0.001)
    assert measured["description", "naive Bayes"] > 0.84 and measured["meaning", "naive Bayes"] > 0.53
    assert {task: len(doubt["equal_options"]) for task, doubt in doubts.items()} == {
        "description": 0,
        "title": 2,
        "meaning": 0,
    }


def test_the_verdict_compares_with_the_paper() -> None:
    row = {"chance": 0.25, "strongest_probe": "x", "probes": {"x": {"accuracy": 0.5, "interval": [0.4, 0.6]}}}
    found = audit.verdict({"title": row, "description": row}, is_published=True)
    assert found == {"solvable_blind": True, "verdict": "a blind rule beats the best published open model: YES (title)"}


def test_published_quads_are_blind_proof(published: str) -> None:
    """Title only, and rules that need no training, to save time; the verb itself runs all of both."""
    source = data.load_released(Path(published), tasks=("title",))
    found = data.quads_of(source, tasks=("title",))["title"]
    assert (found.num_blocks, len(found.left_out)) == (250, 1)
    weights = Weights.of([annotation.title for annotation in source.annotations.values()])
    before = distractor_cosines(weights, [(item.options, item.gold) for item in source.items])
    assert found.mean_cosine >= 2 * sum(before) / len(before) and found.max_cosine <= 0.6
    probes = [probe for probe in default_probes() if "logistic" not in probe.name and "Bayes" not in probe.name]
    accuracies = repair.probe_accuracies(found.items, probes)
    assert len(accuracies) >= 10 and set(accuracies.values()) == {0.25}


def test_repair_writes_blocks_and_proves_them(tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    config = repair.RepairConfig(data=str(write_release(folder)), out=str(tmp_path / "out"), proposals=100)
    run = runs.start(tmp_path / "runs", "repair", config)
    metrics = repair.repair(config, run)
    assert metrics["blocks"] == {"description": 2, "title": 2, "meaning": 2}
    assert metrics["strongest_probe"] == 0.25 and metrics["num_probes"] >= 10
    assert {accuracy for of in metrics["probes"].values() for accuracy in of.values()} == {0.25}
    items = read_items(tmp_path / "out" / "items.jsonl")
    assert len(items) == 24 and all(len(item.prompts) == 3 for item in items)
    assert "25.0% exactly" in repair.summary(metrics)
    assert "exactly one time in four" in exhibits.repair_page([], metrics).verdict
    assert repair.repair(config, runs.resume(tmp_path / "runs", "repair", config)) == metrics


def test_a_probe_that_tells_pictures_apart_is_an_error_of_the_apparatus() -> None:
    items = album.load_factors().items
    cheat = BlindProbe("cheat", score=lambda item: [float(place == item.gold) for place in range(4)])
    with pytest.raises(ApparatusError, match=r"'cheat' scores 1\.0"):
        repair.probe_accuracies(items, [cheat])
