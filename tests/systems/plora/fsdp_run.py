"""One process of `test_processes`: weights sharded by FSDP2, half of every batch; prints losses and a checksum."""

import json
import os
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from plora_run import Run, adapted
from tenfold.systems.plora.unload import UnloadConfig, digest

STEPS, BATCH = 11, 8


def train(folder: Path, mode: str, rank: int, count: int) -> dict:
    """Ten steps in four stages; `count` processes share each batch."""
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(12, 10, bias=False), nn.Tanh(), nn.Linear(10, 6))
    model = adapted(layers, 2, 4.0)
    if count > 1:
        fully_shard(model, mesh=init_device_mesh("cpu", (count,)))  # pyright: ignore
    momentum = {} if mode == "full" else {"momentum": 0.3}
    config = UnloadConfig(interval=3, mode=mode, **momentum)  # pyright: ignore
    adam = lambda parameters: torch.optim.AdamW(parameters, lr=0.02, weight_decay=0)  # noqa: E731
    run = Run(model, config, folder, total=12, optimizer=adam)
    generator, share = torch.Generator().manual_seed(0), BATCH // count
    losses = []
    for _ in range(STEPS):
        inputs = torch.randn(BATCH, 12, generator=generator)[rank * share : (rank + 1) * share]
        losses.append(run.step(lambda m, inputs=inputs: (m(inputs) - 1).square().mean()))
    return {"losses": losses, "digest": digest(model), "stages": len(run.callback.ledger)}


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank, count = distributed.get_rank(), distributed.get_world_size()
    torch.set_num_threads(1)
    print(json.dumps({mode: train(Path(sys.argv[1]) / mode, mode, rank, count) for mode in ("full", "exact")}))
    distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
