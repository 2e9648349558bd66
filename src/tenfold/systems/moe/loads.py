"""How evenly experts are used: counts of choices come in; MaxVio, variation, entropy and dead experts go out.

Also the balancing without a loss (Wang et al. 2024, arXiv 2408.15664): a bias per expert that counts in the choice alone and
moves after each step against the load. Counts are kept per router while the model trains.
"""

# L layers, N routed experts

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from transformers import PreTrainedModel, TrainerCallback

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.router import TopKRouter
from tenfold.systems.moe.taps import routers, routing_of

DEAD_SHARE = 0.1
"""An expert with less than this part of the mean load counts as dead."""
CROWDED_SHARE = 0.5
CROWDED_STEPS = 100
"""One expert with more than half of a layer's load for this many steps is worth a warning."""


@dataclass(frozen=True)
class LoadReport:
    """Of one layer; `max_violation` is the largest load over the mean, less 1, and `devices` the same over groups."""

    max_violation: float
    variation: float
    entropy: float
    dead: int
    device_max_violation: float | None = None

    @classmethod
    def of(cls, count_N: Tensor, num_devices: int = 1) -> "LoadReport":
        """From how often each expert was chosen.

        Raises:
            ConfigError: nothing was counted, or the experts cannot be split over the devices.
        """
        count_N = count_N.double().cpu()
        if count_N.sum() <= 0:
            raise ConfigError("no choice was counted; run the model first")
        if len(count_N) % num_devices:
            raise ConfigError(f"{len(count_N)} experts cannot be split over {num_devices} devices; give a divisor")
        mean, share_N = count_N.mean(), count_N / count_N.sum()
        entropy = -(share_N * share_N.clamp(min=1e-300).log()).sum() / math.log(max(2, len(count_N)))
        device_D = count_N.view(num_devices, -1).sum(-1)
        return cls(
            max_violation=float(count_N.max() / mean - 1),
            variation=float(count_N.std(correction=0) / mean),
            entropy=float(entropy),
            dead=int((count_N < DEAD_SHARE * mean).sum()),
            device_max_violation=float(device_D.max() / device_D.mean() - 1) if num_devices > 1 else None,
        )


def summed(reports: Sequence[LoadReport]) -> dict[str, float]:
    """Over layers: the worst and the mean violation, mean variation and entropy, all dead experts."""
    return {
        "max_violation": max(report.max_violation for report in reports),
        "mean_violation": sum(report.max_violation for report in reports) / len(reports),
        "variation": sum(report.variation for report in reports) / len(reports),
        "entropy": sum(report.entropy for report in reports) / len(reports),
        "dead": sum(report.dead for report in reports),
    }


class LoadMeter(TrainerCallback):
    """Counts choices while a model trains; moves biases, if there are any, after each step.

    `steps` holds one row a step: the loads of its batch, of all processes together. Its state travels in the biases alone,
    which the model saves, so that a run that goes on after a kill moves them as one that was never killed.
    """

    def __init__(self, model: PreTrainedModel, *, bias_rate: float = 0.0) -> None:
        found, self.index = routers(model)
        self.bias_rate = bias_rate
        self.model_routers = found
        self.num_chosen = model.config.num_experts_per_tok
        self.counts = {name: torch.zeros(0) for name in found}
        self.steps: list[dict[str, float]] = []
        self.warnings: list[str] = []
        self._crowded = dict.fromkeys(found, 0)
        self._handles = [router.register_forward_hook(self._hook(name)) for name, router in found.items()]

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        counts = {name: _everywhere(count) for name, count in self.counts.items() if len(count)}
        if not counts:
            return
        row = summed([LoadReport.of(count) for count in counts.values()])
        self.steps.append({"step": state.global_step, **row})
        for name, count_N in counts.items():
            self._watch(name, count_N, state.global_step)
            if self.bias_rate:
                move_bias(self.model_routers[name], count_N, self.bias_rate)
        self.counts = {name: torch.zeros(0) for name in self.counts}

    def detach(self) -> None:
        """Takes the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, name: str) -> Any:
        def count(router: nn.Module, _given: Any, output: Any) -> None:
            if router.training:
                logits_TN, expert_TK = routing_of(router, output, self.index, self.num_chosen)
                found = torch.bincount(expert_TK.flatten(), minlength=logits_TN.shape[-1])
                self.counts[name] = found + self.counts[name] if len(self.counts[name]) else found

        return count

    def _watch(self, name: str, count_N: Tensor, step: int) -> None:
        crowded = float(count_N.max() / count_N.sum()) > CROWDED_SHARE
        self._crowded[name] = self._crowded[name] + 1 if crowded else 0
        if self._crowded[name] == CROWDED_STEPS:
            share = f"expert {int(count_N.argmax())} of {name} has had more than half of the load for {CROWDED_STEPS} steps"
            self.warnings.append(f"step {step}: {share}; raise the balance factor")


def move_bias(router: nn.Module, count_N: Tensor, rate: float) -> None:
    """b_i += rate * sign(mean load - load_i).

    Raises:
        ConfigError: the router has no bias.
    """
    bias_N = getattr(router, "bias", None)
    if not isinstance(router, TopKRouter) or bias_N is None:
        raise ConfigError("this router has no bias to balance with; set balance_bias in the model's configuration")
    load_N = count_N.to(bias_N)
    bias_N += rate * (load_N.mean() - load_N).sign()


def load_reports(counts: Mapping[str, Tensor], num_devices: int = 1) -> dict[str, LoadReport]:
    """One report a layer."""
    return {name: LoadReport.of(count, num_devices) for name, count in counts.items()}


def _everywhere(count_N: Tensor) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(count_N)
    return count_N
