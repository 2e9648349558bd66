"""Two processes train as one: weights sharded by FSDP2, and experts split over processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from systems.moe.parallel_run import train
from systems.moe.tiny import tiny_model

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")
SCRIPT = Path(__file__).parent / "parallel_run.py"


def run_processes(folder: Path, mode: str, count: int) -> list[dict]:
    """What each of the processes prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(count):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        words = [sys.executable, str(SCRIPT), str(folder), mode]
        processes.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    results = [process.communicate(timeout=240) for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(error[-3000:] for _, error in results)
    return [json.loads(out.strip().splitlines()[-1]) for out, _ in results]


@pytest.mark.parametrize("mode", ["weights", "experts"])
def test_two_processes_are_one(tmp_path: Path, mode: str) -> None:
    tiny_model().save_pretrained(tmp_path / "model")
    one = train(tiny_model(), 0, 1)
    first, second = run_processes(tmp_path / "model", mode, 2)
    both = [(a + b) / 2 for a, b in zip(first["losses"], second["losses"], strict=True)]
    assert both == pytest.approx(one["losses"], abs=1e-5)
    assert one["losses"][-1] != pytest.approx(one["losses"][0], abs=1e-2)
    for key in one.keys() - {"losses"}:
        assert first[key] == pytest.approx(one[key], abs=1e-4), key
        assert second[key] == pytest.approx(one[key], abs=1e-4), key
