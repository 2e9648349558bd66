"""Six ways in which restarts are known to go wrong, each planted on purpose and each found out.

Every mutant runs the same check as the unbroken code: the check must pass on the code and fail on the mutant.
"""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from plora_run import Run, adapted
from tenfold.systems.plora import restart, storage, triggers, unload
from tenfold.systems.plora.unload import UnloadConfig

Check = Callable[..., None]


def adam(rate: float):
    return lambda parameters: torch.optim.AdamW(parameters, lr=rate, weight_decay=0, betas=(0.9, 0.999))


def a_run(folder, *, total: int = 60, rate: float = 1e-3, dtype=torch.float32, **settings) -> Run:
    torch.manual_seed(0)
    model = adapted(nn.Sequential(nn.Linear(16, 16, bias=False)).to(dtype), 2, 2.0)
    return Run(model, UnloadConfig(**settings), folder, total=total, optimizer=adam(rate))


def batches(count: int):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(8, 16, generator=generator) for _ in range(count)]


def step(run: Run, inputs: torch.Tensor) -> float:
    return run.step(lambda model: (model(inputs.to(run.pairs[0].weight().dtype)) - 1).float().square().mean())


def check_direction(folder) -> None:
    """Exact mode keeps Adam's direction: the step after an unload is c times the step that would have been."""
    kept, plain = a_run(folder / "a", interval=20, mode="exact", momentum=0.5), a_run(folder / "b", interval=30)
    data = batches(21)
    for inputs in data[:20]:
        step(kept, inputs)
        step(plain, inputs)
    before = [run.pairs[0].b.detach().clone() for run in (kept, plain)]
    for run in (kept, plain):
        step(run, data[20])
    ours, theirs = (run.pairs[0].b.detach() - old for run, old in zip((kept, plain), before, strict=True))
    assert (ours - theirs).norm() < 0.05 * theirs.norm()


def check_fresh_size(folder) -> None:
    """The steps after a full unload are no larger than those of a fresh Adam."""
    run = a_run(folder, interval=100, total=300)
    moves = []
    for inputs in batches(150):
        before = run.pairs[0].b.detach().clone()
        run.step(lambda model, inputs=inputs: model(inputs).square().mean())
        moves.append(float((run.pairs[0].b.detach() - before).abs().max()) / 1e-3)
    assert max(moves[100:]) <= 1.05 * max(moves[:50])


def check_state_is_gone(folder) -> None:
    """After a full unload the optimizer knows nothing of the pair."""
    run = a_run(folder, interval=3)
    for inputs in batches(3):
        step(run, inputs)
    assert not any(run.optimizer.state.get(parameter) for parameter in run.pairs[0].parameters)


def check_epoch_ends(folder) -> None:
    """Each epoch ends with an unload, also the third one."""
    assert triggers.unload_steps(40, 10, 4) == (4, 10, 14, 20, 24, 30, 34)


def check_bf16(folder) -> None:
    """The compute weight in bf16 is the exact sum, rounded once."""
    run = a_run(folder, dtype=torch.bfloat16, interval=2, rate=1e-4)
    start = run.pairs[0].weight().double().clone()
    for inputs in batches(58):
        step(run, inputs)
    pieces = run.callback.ledger.pieces(run.pairs[0].name)
    exact = start + sum(b.double() @ a.double() for a, b in pieces)
    once = (exact.to(torch.bfloat16).double() - exact).norm()
    assert (run.pairs[0].weight().double() - exact).norm() <= 1.01 * once


def check_first_rate(folder) -> None:
    """A re-warmed rate holds for the very first step of a stage."""
    run = a_run(folder, interval=4, rate=1e-3, rewarm_steps=4)
    run.callback.config = UnloadConfig(interval=4, rate="rewarm", rewarm_steps=4)
    rates = []
    for inputs in batches(6):
        rates.append(run.optimizer.param_groups[0]["lr"])
        step(run, inputs)
    assert rates[4] == pytest.approx(1e-3 * (1e-3 + (1 - 1e-3) / 4)) and rates[3] == pytest.approx(1e-3)


def unscaled_moments(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(restart, "_change_moments", lambda state, own, change: None)


def step_kept(patch: pytest.MonkeyPatch) -> None:
    def zero_only(optimizer, pair, policy, **_):
        for parameter in pair.parameters:
            for name in ("exp_avg", "exp_avg_sq"):
                optimizer.state[parameter][name].zero_()

    patch.setattr(unload, "reset_optimizer", zero_only)


def doubled_boundary(patch: pytest.MonkeyPatch) -> None:
    """The boundary is multiplied by two at each epoch instead of growing by one epoch."""

    def doubled(total: int, per_epoch: int, interval: int) -> tuple[int, ...]:
        steps, boundary = [], per_epoch
        for number in range(1, total):
            if number == boundary:
                steps.append(number)
                boundary *= 2
            elif number % per_epoch == interval:
                steps.append(number)
        return tuple(steps)

    patch.setattr(triggers, "unload_steps", doubled)


def reset_by_name(patch: pytest.MonkeyPatch) -> None:
    """The state is looked up by the parameter's name, so nothing is ever found."""

    def by_name(optimizer, pair, policy, **_):
        for part in ("lora_A", "lora_B"):
            optimizer.state.pop(f"{pair.name}.{part}.default.weight", None)

    patch.setattr(unload, "reset_optimizer", by_name)


def naive_bf16(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(unload, "make_storage", lambda name, pairs, ledger, base: storage.InPlace(ledger))


def rate_left_alone(patch: pytest.MonkeyPatch) -> None:
    """The schedule alone sets the rate, one step too late."""
    original = unload.PeriodicUnload._set_rate

    def late(self, state, **parts):
        self.unloads, now = [done for done in self.unloads if done < state.global_step], self.unloads
        original(self, state, **parts)
        self.unloads = now

    patch.setattr(unload.PeriodicUnload, "_set_rate", late)


MUTANTS = [
    (unscaled_moments, check_direction),
    (step_kept, check_fresh_size),
    (doubled_boundary, check_epoch_ends),
    (reset_by_name, check_state_is_gone),
    (naive_bf16, check_bf16),
    (rate_left_alone, check_first_rate),
]


@pytest.mark.parametrize(("mutant", "check"), MUTANTS, ids=lambda each: each.__name__)
def test_the_mutant_is_found_and_the_code_passes(mutant, check, tmp_path):
    check(tmp_path / "code")
    with pytest.MonkeyPatch.context() as patch:
        mutant(patch)
        with pytest.raises(AssertionError):
            check(tmp_path / "mutant")
