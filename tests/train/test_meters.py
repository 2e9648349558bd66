"""What a run costs is kept through a kill, and counts what it says."""

import json
import mmap
from types import SimpleNamespace

import pytest

from tenfold.train.meters import StepMeter, anonymous_bytes


def step(meter: StepMeter, number: int) -> None:
    meter.on_step_begin(None, None, None)
    meter.on_pre_optimizer_step(None, None, None)
    meter.on_step_end(None, SimpleNamespace(global_step=number), None)


def begin(path, done: int) -> StepMeter:
    meter = StepMeter(path)
    meter.on_train_begin(None, SimpleNamespace(global_step=done), None)
    return meter


def test_steps_after_the_checkpoint_are_measured_again(tmp_path):
    meter = begin(tmp_path / "meter.jsonl", 0)
    for number in (1, 2, 3):
        step(meter, number)
    resumed = begin(tmp_path / "meter.jsonl", 2)
    assert [row["step"] for row in resumed.rows] == [1, 2]
    step(resumed, 3)
    lines = (tmp_path / "meter.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]


def test_the_first_step_is_no_part_of_the_mean(tmp_path):
    meter = StepMeter(tmp_path / "meter.jsonl")
    meter.rows = [{"seconds": seconds, "anonymous": place, "device": None} for place, seconds in enumerate((9.0, 1.0, 2.0))]
    cost = meter.cost()
    assert cost.seconds == 12 and cost.seconds_per_step == pytest.approx(1.5)
    assert cost.peak_anonymous == 2 and cost.peak_device is None


def test_memory_grows_with_what_is_held():
    before = anonymous_bytes()
    assert before is not None and before > 1_000_000
    with mmap.mmap(-1, 64_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:  # fresh pages, no freed ones
        held[::4096] = b"x" * len(held[::4096])
        after = anonymous_bytes()
    assert after is not None and after - before > 32_000_000
