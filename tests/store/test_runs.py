"""Run directories: complete if and only if metrics.json is there; resumed only under an identical config."""

import gc
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.config import Config, read_toml
from tenfold.core.errors import MissingArtifactError, ResumeError
from tenfold.store import runs

KIND = "oven-bake"


class Oven(Config):
    degrees: int = 180
    """How hot."""
    dishes: tuple[str, ...] = ("a",)
    """What is in it."""
    name: str | None = None
    """What the family calls it."""


@pytest.fixture
def root(tmp_path):
    return tmp_path / "runs"


def test_start_writes_settings_environment_and_log(root):
    run = runs.start(root, KIND, Oven(degrees=200))
    assert run.folder.parent == root / KIND
    assert run.folder.name.endswith(f"-{Oven(degrees=200).digest}")
    assert Oven(**read_toml(run.folder / "config.toml")) == Oven(degrees=200)
    assert runs.read_environment(run.folder)["tenfold"]
    assert (run.folder / "log.txt").read_text().endswith("Z started\n")
    assert run.rows == {}
    assert run.metrics is None


def test_each_start_has_a_folder_of_its_own(root):
    assert len({runs.start(root, KIND, Oven()).folder for _ in range(3)}) == 3


def test_metrics_mark_the_run_complete(root):
    run = runs.start(root, KIND, Oven())
    assert runs.read_metrics(run.folder) is None
    run.finish({"share": 0.5})
    assert run.metrics == runs.read_metrics(run.folder) == {"share": 0.5}


def test_resume_opens_the_newest_run_with_the_same_settings(root):
    first = runs.start(root, KIND, Oven())
    first.add("one", {"score": 1})
    second = runs.start(root, KIND, Oven())
    second.add("two", {"score": 2})
    runs.start(root, KIND, Oven(degrees=1))
    resumed = runs.resume(root, KIND, Oven())
    assert resumed.folder == second.folder
    assert resumed.rows == {"two": {"key": "two", "score": 2}}


def test_resume_under_other_settings_names_every_key_that_differs(root):
    runs.start(root, KIND, Oven())
    with pytest.raises(ResumeError) as caught:
        runs.resume(root, KIND, Oven(degrees=200, name="Opa"))
    message = str(caught.value)
    assert "degrees: 180 -> 200" in message
    assert "name: None -> 'Opa'" in message
    assert "dishes" not in message
    assert "\n" not in message


def test_resume_without_any_run_says_so(root):
    with pytest.raises(ResumeError, match="no run of oven-bake"):
        runs.resume(root, KIND, Oven())
    runs.start(root, "other-verb", Oven())
    with pytest.raises(ResumeError, match="no run of oven-bake"):
        runs.resume(root, KIND, Oven())


def test_resume_or_start(root):
    started = runs.resume_or_start(root, KIND, Oven())
    assert runs.resume_or_start(root, KIND, Oven()).folder == started.folder
    assert runs.resume_or_start(root, KIND, Oven(degrees=1)).folder != started.folder


def test_a_torn_row_is_computed_again_and_the_others_are_not(root):
    run = runs.start(root, KIND, Oven())
    for key in "abc":
        run.add(key, {"score": 1})
    file = run.folder / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-4])
    resumed = runs.resume(root, KIND, Oven())
    assert list(resumed.rows) == ["a", "b"]
    resumed.add("c", {"score": 2})
    assert [row["score"] for row in runs.read_rows(run.folder)] == [1, 1, 2]


json_values = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=3)


@given(rows=st.dictionaries(st.text(max_size=4), st.dictionaries(st.text(min_size=4, max_size=6), json_values), max_size=5))
def test_a_resumed_run_knows_what_the_first_one_knew(tmp_path_factory, rows):
    root = tmp_path_factory.mktemp("runs")
    run = runs.Run(root, Oven())
    for key, row in rows.items():
        assert run.add(key, row) == {"key": key, **row}
    assert runs.Run(root, Oven()).rows == run.rows


def test_a_row_may_not_rename_itself(root):
    with pytest.raises(AssertionError, match="key"):
        runs.start(root, KIND, Oven()).add("one", {"key": "two"})


def test_reading_a_run_leaves_a_row_that_is_being_written_alone(root):
    run = runs.start(root, KIND, Oven())
    run.add("a", {})
    file = run.folder / "results.jsonl"
    with file.open("ab") as writer:
        writer.write(b'{"key": "b", "sco')
        writer.flush()
        assert [row["key"] for row in runs.read_rows(run.folder)] == ["a"]
        writer.write(b're": 1}\n')
    assert [row["key"] for row in runs.read_rows(run.folder)] == ["a", "b"]


def test_every_run_newest_first(root):
    bake = [runs.start(root, KIND, Oven(degrees=number)).folder for number in range(3)]
    other = runs.start(root, "a-verb", Oven()).folder
    (root / "stray.txt").write_text("x")
    (root / KIND / "unfinished").mkdir()
    assert list(runs.every(root)) == [other, *reversed(bake)]
    assert list(runs.every(root / "absent")) == []


def test_find_by_path_kind_name_and_unique_beginning(root):
    first, _ = (runs.start(root, KIND, Oven(degrees=number)).folder for number in range(2))
    for name in (str(first), f"{KIND}/{first.name}", first.name, first.name[:-1]):
        assert runs.find(root, name) == first
    with pytest.raises(MissingArtifactError, match="several runs begin with '20'"):
        runs.find(root, "20")
    with pytest.raises(MissingArtifactError, match="no run is called 'xyz'"):
        runs.find(root, "xyz")


def test_log_adds_dated_lines(root):
    run = runs.start(root, KIND, Oven())
    run.log("half way")
    lines = (run.folder / "log.txt").read_text().splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["started", "half way"]


def test_metrics_file_is_json_that_other_programs_read(root):
    run = runs.start(root, KIND, Oven())
    run.finish({"text": "ü", "list": [1, 2]})
    assert json.loads((run.folder / "metrics.json").read_text(encoding="utf-8")) == {"text": "ü", "list": [1, 2]}


RESUME = """
import sys
from pathlib import Path
from tenfold.core.config import Config
from tenfold.store import runs

class Oven(Config):
    degrees: int = 180
    "How hot."

runs.resume(Path(sys.argv[1]), "oven-bake", Oven())
"""


def resume_elsewhere(root):
    return subprocess.run([sys.executable, "-c", RESUME, str(root)], capture_output=True, text=True, check=False)


class SmallOven(Config):
    degrees: int = 180
    """How hot."""


def test_two_processes_do_not_work_in_one_run(root):
    run = runs.start(root, KIND, SmallOven())
    assert f"another process is at work in {run.folder}" in resume_elsewhere(root).stderr
    assert runs.resume(root, KIND, SmallOven()).folder == run.folder
    del run
    gc.collect()
    assert resume_elsewhere(root).returncode == 0


def test_a_finished_run_can_be_opened_by_anybody(root):
    run = runs.start(root, KIND, SmallOven())
    run.finish({"taste": 1})
    assert runs.resume(root, KIND, SmallOven()).claim is None
    assert resume_elsewhere(root).returncode == 0
