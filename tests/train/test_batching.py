"""Rows of a home's own kind train with their own loss, also after a kill; rows of trained tokens are stored alone."""

import pytest
import torch
from safetensors.torch import load_file

from conftest import build_tiny_model
from tenfold.core.config import parse
from tenfold.train.batching import Batching
from tenfold.train.tuning import TuneConfig, tune

ROWS = [[5, 6, 7, 8, 9 + number] for number in range(6)]


def collate(rows):
    ids = torch.tensor(rows)
    return {"input_ids": ids, "labels": ids[:, 1:]}


def last_token_loss(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits[:, -2], labels[:, -1])


def trained(folder, *, steps=6, kill_after=None):
    table = {"lora": {"rank": 2, "tokens": (9,)}, "training": {"batch_size": 2, "max_steps": steps, "save_every": 2}}
    config = parse(TuneConfig, table)

    calls = []

    def loss(outputs, labels, num_items_in_batch=None):
        calls.append(1)
        if kill_after is not None and len(calls) > kill_after:
            raise KeyboardInterrupt
        return last_token_loss(outputs, labels)

    model = build_tiny_model(tie_word_embeddings=True)
    return tune(model, None, ROWS, config, folder, batching=Batching(collate, loss))


def weights(tuned):
    return {
        name: parameter.detach().clone() for name, parameter in tuned.model.named_parameters() if parameter.requires_grad
    }


def test_own_loss_goes_down_and_survives_a_kill(tmp_path):
    whole = trained(tmp_path / "whole")
    assert whole.steps[-1]["loss"] < whole.steps[0]["loss"]
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", kill_after=3)
    again = trained(tmp_path / "cut")
    assert all(torch.equal(tensor, weights(again)[name]) for name, tensor in weights(whole).items())


def test_trained_tokens_are_stored_as_rows(tmp_path):
    tuned = trained(tmp_path)
    tuned.save_adapter(tmp_path / "adapter", "base")
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    rows = [tensor for name, tensor in tensors.items() if "lora_" not in name]
    assert [tuple(row.shape) for row in rows] == [(1, 32)]
