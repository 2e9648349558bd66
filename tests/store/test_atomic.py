"""Files and folders that are wholly there or not at all."""

import json
import multiprocessing
import time
from pathlib import Path

import pytest

from tenfold.store import atomic


class Interrupted(BaseException):
    """Stands for a kill."""


def test_write_text_replaces_the_whole_file_and_makes_its_folder(tmp_path):
    path = tmp_path / "new" / "file.txt"
    for text in ("a longer text, äöü\n", "short"):
        atomic.write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert [found.name for found in path.parent.iterdir()] == ["file.txt"]


def test_interrupted_write_keeps_the_old_text_and_leaves_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    atomic.write_text(path, "old")

    def interrupt(*_):
        raise Interrupted

    monkeypatch.setattr(atomic.os, "replace", interrupt)
    with pytest.raises(Interrupted):
        atomic.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_json_round_trips(tmp_path):
    value = {"a": [1, None, "ü"], "b": {"c": 0.5}}
    atomic.write_json(tmp_path / "x.json", value)
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == value


def test_interrupted_build_leaves_no_target_and_its_remains_do_not_reach_the_next(tmp_path):
    target = tmp_path / "deep" / "model"

    def build_half(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise Interrupted

    with pytest.raises(Interrupted):
        atomic.build_folder(target, build_half)
    assert not target.exists()
    assert atomic.build_folder(target, lambda folder: (folder / "whole").write_text("x") and None) == target
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_target_does_not_exist_before_it_is_complete(tmp_path):
    target = tmp_path / "model"

    def build(folder: Path) -> None:
        (folder / "a").write_text("x")
        assert not target.exists()
        (folder / "b").write_text("x")

    atomic.build_folder(target, build)
    assert {path.name for path in target.iterdir()} == {"a", "b"}


def test_a_target_that_is_there_is_not_built_again(tmp_path):
    atomic.build_folder(tmp_path / "model", lambda folder: None)
    atomic.build_folder(tmp_path / "model", lambda folder: pytest.fail("built twice"))


def build_slowly(target: Path, journal: Path) -> None:
    def build(folder: Path) -> None:
        with journal.open("a") as file:
            file.write("built\n")
        (folder / "a").write_text("1")
        time.sleep(0.2)
        (folder / "b").write_text("2")

    atomic.build_folder(target, build)
    assert {path.name for path in target.iterdir()} == {"a", "b"}


def test_of_several_processes_one_builds_and_all_see_the_whole(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=build_slowly, args=(tmp_path / "model", tmp_path / "journal")) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert (tmp_path / "journal").read_text() == "built\n"
