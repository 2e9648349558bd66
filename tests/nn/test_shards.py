"""Weights read from disk piece by piece are those of the whole file."""

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from tenfold.nn.shards import Shards


@pytest.fixture
def tensors():
    return {name: torch.randn(3, 4).bfloat16() for name in ("a", "b", "c")}


@pytest.fixture
def folder(tmp_path, tensors):
    save_file({"a": tensors["a"], "b": tensors["b"]}, tmp_path / "model-1.safetensors")
    save_file({"c": tensors["c"]}, tmp_path / "model-2.safetensors")
    return tmp_path


def test_all_shards_are_one_state(folder, tensors):
    shards = Shards(folder)
    assert set(shards) == set(tensors)
    assert len(shards) == 3
    assert "d" not in shards
    assert all(shards[name].equal(tensor) and shards[name].dtype == torch.bfloat16 for name, tensor in tensors.items())


def test_tensors_are_converted_as_they_are_read(folder, tensors):
    assert Shards(folder, torch.float32)["c"].equal(tensors["c"].float())


def test_a_folder_without_weights_is_empty(tmp_path):
    assert not Shards(tmp_path)


def test_a_damaged_file_is_an_error(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(SafetensorError):
        Shards(tmp_path)
