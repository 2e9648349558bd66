"""The kernel is measured once and then stays the same, whatever the machine does later."""

import pytest
import torch

from tenfold.nn import kernel_choice


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    monkeypatch.setattr(kernel_choice, "cache_folder", lambda: tmp_path)
    kernel_choice.choice.cache_clear()
    yield tmp_path
    kernel_choice.choice.cache_clear()


def speeds(**totals):
    return {kernel: dict.fromkeys(kernel_choice.ROWS, total) for kernel, total in totals.items()}


def test_the_fastest_kernel_is_kept(fresh, monkeypatch):
    monkeypatch.setattr(kernel_choice, "measure", lambda: speeds(native=3.0, packed=1.0, compiled=2.0))
    assert kernel_choice.default_kernel(torch.device("cpu")) == "packed"
    kernel_choice.choice.cache_clear()
    monkeypatch.setattr(kernel_choice, "measure", lambda: pytest.fail("measured again"))
    assert kernel_choice.choice().kernel == "packed"
    assert kernel_choice.choice().milliseconds["native"] == dict.fromkeys(kernel_choice.ROWS, 3.0)


def test_another_device_gets_torchs_own(fresh):
    assert kernel_choice.default_kernel(torch.device("meta")) == "native"


def test_what_is_measured_is_what_this_machine_has(monkeypatch):
    monkeypatch.setattr(kernel_choice, "NUM_MATRICES", 1)
    monkeypatch.setattr(kernel_choice, "TRIES", 1)
    found = kernel_choice.measure()
    assert "native" in found
    assert all(list(times) == list(kernel_choice.ROWS) and min(times.values()) > 0 for times in found.values())
