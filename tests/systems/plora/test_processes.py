"""Two processes train as one: the same losses and the same ledger as one process with batches of twice the size."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tenfold.systems.plora.deltas import DeltaLedger

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")


def run_processes(script: Path, folder: Path, count: int) -> list[str]:
    """Runs `script folder` in `count` processes that know each other; what each prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    processes = []
    for rank in range(count):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        if count > 1:
            environment |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "LOCAL_WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "ACCELERATE_USE_CPU": "true",
            }
        command = [sys.executable, str(script), str(folder)]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
    results = [process.communicate(timeout=240) for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(error[-2000:] for _, error in results)
    return [out.strip().splitlines()[-1] for out, _ in results]


def test_two_processes_with_sharded_weights_are_one(tmp_path):
    """FSDP2: gathered one matrix at a time, folded, and written back to the local shards."""
    sys.path.insert(0, str(Path(__file__).parent))
    from fsdp_run import train

    first, second = map(json.loads, run_processes(Path(__file__).parent / "fsdp_run.py", tmp_path / "two", 2))
    for mode in ("full", "exact"):
        one = train(tmp_path / "one" / mode, mode, 0, 1)
        both = [(a + b) / 2 for a, b in zip(first[mode]["losses"], second[mode]["losses"], strict=True)]
        assert both == pytest.approx(one["losses"], abs=1e-5)
        assert first[mode]["digest"] == second[mode]["digest"]
        assert first[mode]["stages"] == one["stages"] == 3
        ours, theirs = (DeltaLedger(tmp_path / count / mode / "ledger") for count in ("two", "one"))
        assert ours.verify() == 3
        for name in theirs.matrices():
            for mine, other in zip(ours.stacked(name), theirs.stacked(name), strict=True):
                torch.testing.assert_close(mine, other, atol=1e-4, rtol=0)


def test_two_processes_under_the_trainer_s_own_fsdp_are_one_with_twice_the_batch(tmp_path):
    """As `accelerate launch --use_fsdp --fsdp_version 2` starts them."""
    script = Path(__file__).parent / "fsdp_trainer_run.py"
    one = json.loads(run_processes(script, tmp_path / "one", 1)[0])
    first, second = map(json.loads, run_processes(script, tmp_path / "two", 2))
    assert first["sharded"] == "DTensor" and one["sharded"] == "Parameter"
    assert first["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert first["unloads"] == second["unloads"] == one["unloads"] == [2, 4, 6]
    assert first["digest"] == second["digest"], "both processes gather the same bits"
    ours, theirs = DeltaLedger(tmp_path / "two" / "ledger"), DeltaLedger(tmp_path / "one" / "ledger")
    assert ours.verify() == theirs.verify() == 3
    for name in theirs.matrices():
        (our_a, our_b), (a, b) = ours.stacked(name), theirs.stacked(name)
        torch.testing.assert_close(our_b @ our_a, b @ a, atol=1e-3, rtol=0)


def test_two_processes_with_a_trainer_are_one_with_twice_the_batch(tmp_path):
    script = Path(__file__).parent / "ddp_run.py"
    one = json.loads(run_processes(script, tmp_path / "one", 1)[0])
    first, second = map(json.loads, run_processes(script, tmp_path / "two", 2))
    assert first["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert first["unloads"] == second["unloads"] == one["unloads"] == [2, 4, 6]
    assert first["digest"] == second["digest"], "both processes hold the same bits"
    ours, theirs = DeltaLedger(tmp_path / "two" / "ledger"), DeltaLedger(tmp_path / "one" / "ledger")
    assert ours.verify() == theirs.verify() == 3
    for name in theirs.matrices():
        (our_a, our_b), (a, b) = ours.stacked(name), theirs.stacked(name)
        torch.testing.assert_close(our_b @ our_a, b @ a, atol=1e-3, rtol=0)
    assert len((tmp_path / "two" / "stages.jsonl").read_text().splitlines()) == 3
