"""When a stage ends: planned steps, a loss that no longer falls, pairs that use their whole rank, or the user's word.

steps      every `interval` optimizer steps, and at each epoch's end (`steps`)
plateau    the loss has not fallen for so many evaluations
rank       the median pair has all its singular values above a share of the largest
callable   whatever the user's function says
"""

from collections.abc import Callable, Sequence
from typing import Any

from tenfold.core.errors import ConfigError
from tenfold.systems.plora import telemetry
from tenfold.systems.plora.pairs import LoraPair
from tenfold.systems.plora.settings import UnloadConfig
from tenfold.systems.plora.shards import gathered
from tenfold.systems.plora.steps import unload_steps

Asked = Callable[[Any], bool]
"""From the trainer's state to whether to unload."""


class Triggers:
    """Watches a run; what it knows of the past is its `state`, which travels in the checkpoint."""

    def __init__(self, config: UnloadConfig, asked: Asked | None) -> None:
        self.config, self.asked = config, asked
        self.plan: frozenset[int] = frozenset()
        """The optimizer steps after which to unload whatever else happens."""
        self.best_loss = float("inf")
        self.evaluations_without_gain = 0

    @property
    def state(self) -> dict[str, Any]:
        return {
            "best_loss": self.best_loss if self.best_loss < float("inf") else None,
            "evaluations_without_gain": self.evaluations_without_gain,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Undoes `state`; an empty one is a run's beginning."""
        best = state.get("best_loss")
        self.best_loss = float("inf") if best is None else best
        self.evaluations_without_gain = state.get("evaluations_without_gain", 0)

    def begin(self, args: Any, state: Any, loader: Any) -> None:
        """Plans the steps of a run.

        Raises:
            ConfigError: it would end before its first unload.
        """
        accumulate = max(1, args.gradient_accumulation_steps)
        batches = len(loader) if hasattr(loader, "__len__") else state.max_steps * accumulate
        per_epoch = max(1, -(-batches // accumulate))
        fraction = self.config.epoch_fraction
        interval = max(1, round(fraction * per_epoch)) if fraction else self.config.interval
        steps = unload_steps(state.max_steps, per_epoch, interval)
        others = self.asked or self.config.plateau or self.config.rank_threshold
        if not steps and not others and not self.config.allow_single_stage:
            raise ConfigError(
                f"interval is {interval}, the run has {state.max_steps} steps, so it would end before its first unload; "
                "lower the interval, or allow_single_stage for plain LoRA"
            )
        self.plan = frozenset(steps)

    def evaluated(self, loss: float) -> None:
        """An evaluation has found this loss."""
        gained = loss < self.best_loss
        self.best_loss = loss if gained else self.best_loss
        self.evaluations_without_gain = 0 if gained else self.evaluations_without_gain + 1

    def unloaded(self) -> None:
        """A stage has ended; the count of evaluations begins anew."""
        self.evaluations_without_gain = 0

    def reason(self, state: Any, pairs: Sequence[LoraPair]) -> str | None:
        """Why the stage ends after this step, or None."""
        if state.global_step in self.plan:
            return "steps"
        if self.config.plateau and self.evaluations_without_gain >= self.config.plateau:
            return "plateau"
        if self.config.rank_threshold and _are_saturated(pairs, self.config.rank_threshold):
            return "rank"
        return "callable" if self.asked and self.asked(state) else None

    def end_of_stage(self, step: int, max_steps: int) -> int:
        """The planned end of the stage that holds a step."""
        return min((planned for planned in self.plan if planned >= step), default=max_steps)


def _are_saturated(pairs: Sequence[LoraPair], threshold: float) -> bool:
    """Whether more than half of a spread of pairs use their whole rank."""
    shares = []
    for pair in telemetry.spread(pairs):
        values = telemetry.singular_values(gathered(pair.a.detach()).cpu(), gathered(pair.b.detach()).cpu())
        shares.append(telemetry.numerical_rank(values, threshold) >= pair.rank)
    return sum(shares) * 2 > len(shares)
