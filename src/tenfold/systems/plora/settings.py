"""The settings of PeriodicLoRA: when to unload, how much of the live pair, and what the next stage starts with."""

from typing import Literal

from pydantic import Field, model_validator

from tenfold.core.config import Config
from tenfold.systems.plora.restart import Init, OptimizerPolicy, RatePolicy
from tenfold.systems.plora.storage import StorageName

Mode = Literal["full", "paper", "exact"]


class UnloadConfig(Config):
    """When to unload, how much of the live pair, and what the next stage starts with."""

    interval: int = Field(50, ge=1)
    """Optimizer steps in a stage."""
    epoch_fraction: float | None = Field(None, gt=0, le=1)
    """Length of a stage as a share of an epoch, instead of interval."""
    mode: Mode = "full"
    """full: everything, then start anew; exact or paper: a share, and go on with the rest."""
    momentum: float = Field(1.0, gt=0, le=1)
    """Share m of the live update that is unloaded; 1 in mode full, below 1 in the others."""
    init: Init = "kaiming"
    """How a new A is drawn in mode full."""
    optimizer: OptimizerPolicy | None = None
    """What happens to Adam's memory of the pair; by default fresh in mode full, else scale."""
    pruned: float = Field(0.999, ge=0, lt=1)
    """Share of both moments that prune_random and prune_magnitude set to 0."""
    rate: RatePolicy = "continue"
    """The learning rate in a new stage."""
    rewarm_steps: int = Field(10, ge=1)
    """Steps in which rewarm brings the rate back."""
    storage: StorageName = "fold"
    """Where the unloaded update acts."""
    plateau: int = Field(0, ge=0)
    """Also unload after this many evaluations in a row without a lower loss; 0: never."""
    rank_threshold: float | None = Field(None, gt=0, lt=1)
    """Also unload once the median pair has all its singular values above this share of the largest."""
    allow_single_stage: bool = False
    """Accept a run that ends before its first unload, which is plain LoRA."""
    seed: int = 0
    """Of new A's and of random pruning."""

    @model_validator(mode="after")
    def _momentum_fits_mode(self) -> "UnloadConfig":
        if self.mode == "full" and self.momentum != 1:
            raise ValueError(f"momentum is {self.momentum}, but mode full unloads everything; use mode exact")
        if self.mode != "full" and self.momentum == 1:
            raise ValueError(f"momentum 1 in mode {self.mode} leaves A = B = 0, which never learns again; use mode full")
        return self

    @property
    def policy(self) -> OptimizerPolicy:
        """The optimizer policy in force."""
        return self.optimizer or ("fresh" if self.mode == "full" else "scale")

    @property
    def factor(self) -> float:
        """By what A and B are multiplied where they are kept."""
        rest = 1 - self.momentum
        return rest if self.mode == "paper" else rest**0.5
