"""A linear student of a teacher of full rank (section 7.3): LoRA stops at the best rank-r update, PeriodicLoRA goes on.

`python tests/systems/plora/test_teacher.py` measures the larger case, d = 256, r = 8, 32 stages.
"""

import json
import sys
from math import cos, pi
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from plora_run import Run, adapted
from tenfold.systems.plora.telemetry import numerical_rank
from tenfold.systems.plora.unload import UnloadConfig

WARM_UP = 10


def floor(update: Tensor, rank: int) -> float:
    """Share of the update's energy that no matrix of this rank can hold (Eckart and Young)."""
    energy = torch.linalg.svdvals(update.double()).square()
    return float(energy[rank:].sum() / energy.sum())


def learn(folder, *, size: int, rank: int, stages: int, steps: int, rate: float, periodic: bool):
    """Residual energy after each stage, the final rank of the update, and the update that was wanted."""
    torch.manual_seed(0)
    wanted = torch.randn(size, size) / size**0.5
    model = adapted(nn.Sequential(nn.Linear(size, size, bias=False)), rank, float(rank))
    start = model.base_model.model[0].base_layer.weight.detach().clone()
    total = stages * steps
    config = UnloadConfig(interval=steps if periodic else total + 1, allow_single_stage=not periodic)

    def multiplier(done: int) -> float:
        place = done % steps
        return min(1.0, (place + 1) / WARM_UP) * 0.5 * (1 + cos(pi * place / steps))

    run = Run(
        model,
        config,
        folder,
        total=total,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=rate),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, multiplier),
    )
    pair, residuals = run.pairs[0], []
    for number in range(1, total + 1):
        # inputs of unit covariance: the mean squared error over them is the residual's energy itself
        run.step(lambda _: (pair.weight() + pair.scaling * pair.b @ pair.a - start - wanted).square().sum() / size)
        if number % steps == 0:
            gap = pair.weight() + pair.scaling * pair.b.detach() @ pair.a.detach() - start - wanted
            residuals.append(float(gap.square().sum() / wanted.square().sum()))
    update = pair.weight() + pair.scaling * pair.b.detach() @ pair.a.detach() - start
    return residuals, numerical_rank(torch.linalg.svdvals(update.double())), wanted


def both(*, size: int, rank: int, stages: int, steps: int, rate: float = 0.02) -> dict:
    with TemporaryDirectory() as folder:
        shape = {"size": size, "rank": rank, "stages": stages, "steps": steps, "rate": rate}
        lora, lora_rank, wanted = learn(Path(folder) / "lora", periodic=False, **shape)
        ours, our_rank, _ = learn(Path(folder) / "ours", periodic=True, **shape)
    floors = [floor(wanted, min(size, rank * (number + 1))) for number in range(stages)]
    half = stages // 2
    return {
        "lora_residual": lora[-1],
        "lora_floor": floors[0],
        "lora_rank": lora_rank,
        "periodic_residual": ours[-1],
        "periodic_rank": our_rank,
        "worst_ratio_to_floor": max(mine / best for mine, best in zip(ours[:half], floors[:half], strict=True)),
        "learning_ability": (1 - ours[-1]) / (1 - lora[-1]),
    }


def test_learning_ability_on_the_small_teacher():
    found = both(size=64, rank=4, stages=8, steps=150)
    assert found["learning_ability"] >= 4
    assert found["lora_residual"] <= 1.02 * found["lora_floor"] and found["lora_rank"] == 4
    assert found["worst_ratio_to_floor"] <= 1.02
    assert found["periodic_rank"] >= 0.95 * 32


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(both(size=256, rank=8, stages=32, steps=150)), file=sys.stdout)
