"""What a stage starts with: the new A and B, the optimizer's memory of the old ones, and the learning rate.

Adam's first steps are as large as its rate only if its step count starts at 0 together with its moments: moments of 0
under an old count overshoot up to 6.6 times. So `fresh` removes the state, and torch makes it anew.
"""

# R rank, I inputs, K rows of the past
from collections.abc import Callable, Sequence
from math import cos, pi
from typing import Any, Literal

import torch
from torch import Tensor

from tenfold.core import seeds
from tenfold.core.errors import ConfigError
from tenfold.systems.plora.pairs import LoraPair
from tenfold.systems.plora.shards import assign, gathered

Init = Literal["kaiming", "gaussian", "orthogonal"]
OptimizerPolicy = Literal["fresh", "scale", "zero", "prune_random", "prune_magnitude", "keep"]
RatePolicy = Literal["continue", "rewarm", "stage_cosine"]

RATE_FLOOR = 1e-3
"""Share of the rate with which a re-warmed stage starts."""


def generator_of(seed: int, stage: int, name: str) -> torch.Generator:
    """The random stream of one matrix in one stage; it depends on nothing else, so a resumed run draws the same."""
    return torch.Generator().manual_seed(seeds.derive(seed, "stage", stage, name))


def new_a(shape: tuple[int, int], init: Init, generator: torch.Generator, past_KI: Tensor | None = None) -> Tensor:
    """A fresh A (r x d_in), fp32: Kaiming uniform with a = sqrt(5) as PEFT does, or Gaussian of the same variance.

    `orthogonal` takes the Gaussian one off the row space of all past A's.

    Raises:
        ConfigError: that space is full already.
    """
    bound = shape[1] ** -0.5
    if init == "kaiming":
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)
    a_RI = torch.randn(shape, generator=generator) * (bound / 3**0.5)
    return a_RI if init == "gaussian" or past_KI is None else _off_the_past(a_RI, past_KI)


def _off_the_past(a_RI: Tensor, past_KI: Tensor) -> Tensor:
    rank, inputs = a_RI.shape
    if len(past_KI) + rank > inputs:
        raise ConfigError(
            f"init orthogonal: {len(past_KI)} past directions and {rank} new ones do not fit into {inputs} inputs; "
            "use init kaiming, a smaller rank, or fewer stages"
        )
    basis_IK = torch.linalg.qr(past_KI.T.double()).Q
    off_RI = a_RI.double()
    for _ in range(2):  # once more, for what rounding left
        off_RI = off_RI - (off_RI @ basis_IK) @ basis_IK.T
    return (off_RI * (a_RI.double().norm(dim=1, keepdim=True) / off_RI.norm(dim=1, keepdim=True))).float()


def reset_optimizer(
    optimizer: torch.optim.Optimizer,
    pair: LoraPair,
    policy: OptimizerPolicy,
    *,
    factor: float,
    pruned: float,
    generator: torch.Generator,
) -> None:
    """Applies a policy to the optimizer's memory of one pair.

    Args:
        optimizer: the inner one; Accelerate's wrapper keeps none itself. Its state is indexed by Parameter.
        factor: by which A and B were scaled; `scale` moves the moments along, so that Adam's direction stays.
        pruned: share of both moments that the `prune` policies set to 0.
    """
    for parameter, own in zip(pair.parameters, (pair.of_a, pair.of_b), strict=True):
        state = optimizer.state.get(parameter)
        if not state or policy == "keep":
            continue
        if policy == "fresh":
            del optimizer.state[parameter]
        else:
            _change_moments(state, own, _moment_change(policy, factor, pruned, generator))


def _moment_change(
    policy: OptimizerPolicy, factor: float, pruned: float, generator: torch.Generator
) -> Callable[[Tensor, int], Tensor]:
    if policy == "scale":
        return lambda moment, power: moment * factor**power
    if policy == "zero":
        return lambda moment, _: torch.zeros_like(moment)
    if policy == "prune_random":
        return lambda moment, _: moment * (torch.rand(moment.shape, generator=generator) >= pruned).to(moment)
    return lambda moment, _: moment * (moment.abs() > moment.abs().flatten().float().quantile(pruned)).to(moment)


def _change_moments(state: Any, own: Callable[[Tensor], Tensor], change: Callable[[Tensor, int], Tensor]) -> None:
    """Changes a pair's part of both moments; `own` takes it out of a tensor that may hold those of all experts."""
    for name, power in (("exp_avg", 1), ("exp_avg_sq", 2)):
        if name in state:
            moment = own(state[name])
            assign(moment, change(gathered(moment), power))


def rate_multiplier(policy: RatePolicy, step: int, unloads: Sequence[int], *, warmup: int, end: int | None) -> float:
    """By what to multiply the outer schedule's rate in optimizer step `step` (from 1).

    Args:
        unloads: the steps after which the run has unloaded so far.
        warmup: steps of `rewarm`; they rise linearly from 0.001. The first stage is left to the outer schedule.
        end: the step after which this stage ends, for `stage_cosine`.
    """
    start = max((done for done in unloads if done < step), default=0)
    if policy == "rewarm" and start and step - start <= warmup:
        return RATE_FLOOR + (1 - RATE_FLOOR) * (step - start) / warmup
    if policy == "stage_cosine" and end is not None:
        return 0.5 * (1 + cos(pi * (step - 1 - start) / max(1, end - start)))
    return 1.0
