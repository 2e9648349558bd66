"""The callback against a slow float64 reference without PEFT; the laws of each mode; the optimizer and the rate."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from plora_run import Run, adapted
from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, NumericalError
from tenfold.systems.plora.restart import rate_multiplier
from tenfold.systems.plora.steps import unload_steps
from tenfold.systems.plora.unload import UnloadConfig

MODES = {"full": {}, "paper": {"mode": "paper", "momentum": 0.3}, "exact": {"mode": "exact", "momentum": 0.3}}
D_IN, D_OUT, RANK, ALPHA, STAGE = 6, 5, 2, 3.0, 4


def linear_task(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(16, D_IN, generator=generator)
    return inputs, torch.randn(16, D_OUT, generator=generator)


def squared_error(inputs, targets):
    return lambda model: (model(inputs) - targets).square().mean()


def a_layer(dtype=torch.float32) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(D_IN, D_OUT, bias=False)).to(dtype)


def reference(run: Run, config: UnloadConfig, weight, pair, *, adam: bool):
    """Three stages in float64 with plain matrices; new A's are read from the run under test, as they are random."""
    inputs, targets = (part.double() for part in linear_task())
    base, unloaded = weight.double(), torch.zeros(D_OUT, D_IN, dtype=torch.float64)
    a, b = (p.detach().double().requires_grad_() for p in pair)
    lr, beta1, beta2, eps = 0.05, 0.9, 0.999, 1e-8
    moments = {name: [torch.zeros_like(p), torch.zeros_like(p), 0] for name, p in (("a", a), ("b", b))}
    losses = []
    for step in range(1, 3 * STAGE + 1):
        loss = ((inputs @ (base + unloaded + ALPHA / RANK * b @ a).T) - targets).square().mean()
        gradients = dict(zip("ab", torch.autograd.grad(loss, (a, b)), strict=True))
        losses.append(loss.item())
        with torch.no_grad():
            for name, p in (("a", a), ("b", b)):
                first, second, count = moments[name]
                if not adam:
                    p -= 0.1 * gradients[name]
                    continue
                first = beta1 * first + (1 - beta1) * gradients[name]
                second = beta2 * second + (1 - beta2) * gradients[name] ** 2
                count += 1
                moments[name] = [first, second, count]
                p -= lr * (first / (1 - beta1**count)) / ((second / (1 - beta2**count)).sqrt() + eps)
        run.step(squared_error(*linear_task()))
        if step % STAGE == 0 and step < 3 * STAGE:
            m = config.momentum
            unloaded = unloaded + m * ALPHA / RANK * (b @ a).detach()
            if config.mode == "full":
                a = run.pairs[0].a.detach().double().requires_grad_()
                b = torch.zeros_like(b).requires_grad_()
                factor = 1.0
            else:
                factor = 1 - m if config.mode == "paper" else math.sqrt(1 - m)
                a, b = ((factor * p).detach().requires_grad_() for p in (a, b))
            for name in "ab":
                first, second, count = moments[name]
                moments[name] = {
                    "fresh": [torch.zeros_like(first), torch.zeros_like(second), 0],
                    "scale": [factor * first, factor**2 * second, count],
                    "zero": [torch.zeros_like(first), torch.zeros_like(second), count],
                    "keep": [first, second, count],
                }[config.policy]
    return losses, base + unloaded, a.detach(), b.detach()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", [None, "fresh", "scale", "zero", "keep"])
@pytest.mark.parametrize("adam", [True, False])
def test_equals_the_reference_without_peft(tmp_path, mode, policy, adam):
    config = parse(UnloadConfig, {"interval": STAGE, "optimizer": policy} | MODES[mode])
    model = adapted(a_layer(), RANK, ALPHA)
    optimizer = (lambda parameters: torch.optim.AdamW(parameters, lr=0.05, weight_decay=0)) if adam else None
    run = Run(model, config, tmp_path, total=3 * STAGE, optimizer=optimizer)
    pair = [p.detach().clone() for p in run.pairs[0].parameters]
    measured: list[float] = []
    step = run.step
    run.step = lambda loss: measured.append(step(loss))  # type: ignore[method-assign]
    losses, weight, a, b = reference(run, config, run.pairs[0].weight().clone(), pair, adam=adam)
    assert measured == pytest.approx(losses, abs=1e-6)
    torch.testing.assert_close(run.pairs[0].weight().double(), weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(run.pairs[0].a.double(), a, atol=2e-6, rtol=0)
    torch.testing.assert_close(run.pairs[0].b.double(), b, atol=2e-6, rtol=0)


@given(st.floats(0.05, 0.95), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_share_that_survives_an_unload(tmp_path_factory, momentum, seed):
    """exact keeps the whole function, paper keeps 1 - m + m^2 of the live update."""
    inputs, targets = linear_task(seed)
    for mode, share in (("exact", 1.0), ("paper", 1 - momentum + momentum**2)):
        config = UnloadConfig(interval=3, mode=mode, momentum=momentum)
        run = Run(adapted(a_layer(), RANK, ALPHA, seed), config, tmp_path_factory.mktemp("run"), total=9)
        for _ in range(2):
            run.step(squared_error(inputs, targets))
        base = run.pairs[0].weight().clone()
        run.optimizer.param_groups[0]["lr"] = 0.0  # the third step unloads, and changes nothing else
        run.scheduler.base_lrs = [0.0]
        before = run.pairs[0].scaling * run.pairs[0].b.detach() @ run.pairs[0].a.detach()
        run.step(squared_error(inputs, targets))
        after = run.pairs[0].weight() + run.pairs[0].scaling * run.pairs[0].b.detach() @ run.pairs[0].a.detach() - base
        torch.testing.assert_close(after, share * before, atol=1e-5, rtol=0)


def test_full_mode_leaves_the_function_unchanged(tmp_path):
    inputs, targets = linear_task()
    run = Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=5), tmp_path, total=20)
    for _ in range(4):
        run.step(squared_error(inputs, targets))
    seen = []
    unload = run.callback.unload
    run.callback.unload = lambda *words: (
        seen.append(run.model(inputs).detach()),
        unload(*words),
        seen.append(run.model(inputs).detach()),
    )  # type: ignore
    run.step(squared_error(inputs, targets))
    torch.testing.assert_close(seen[0], seen[1], atol=1e-5, rtol=0)
    assert len(run.callback.ledger) == 1


def test_one_endless_stage_is_plain_lora(tmp_path):
    inputs, targets = linear_task()
    config = UnloadConfig(interval=100, allow_single_stage=True)
    run = Run(adapted(a_layer(), RANK, ALPHA), config, tmp_path, total=10)
    plain = adapted(a_layer(), RANK, ALPHA)
    optimizer = torch.optim.SGD([p for p in plain.parameters() if p.requires_grad], lr=0.1)
    for _ in range(10):
        run.step(squared_error(inputs, targets))
        optimizer.zero_grad()
        squared_error(inputs, targets)(plain).backward()
        optimizer.step()
    for mine, theirs in zip(run.model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 30))
def test_unload_steps_against_brute_force(total, per_epoch, interval):
    expected, length = [], 0
    for step in range(1, total + 1):
        length += 1
        in_epoch = (step - 1) % per_epoch + 1
        epoch_end = min(per_epoch, total - (step - in_epoch))
        rest = epoch_end - in_epoch
        if rest == 0 or (length >= interval and rest >= interval):
            expected.append(step)
            length = 0
    assert unload_steps(total, per_epoch, interval) == tuple(step for step in expected if step < total)


def test_a_fresh_stage_moves_no_further_than_a_fresh_adam(tmp_path):
    """|update| / rate in the 50 steps after a reset; moments of zero under an old step count overshoot."""

    def largest(policy: str) -> tuple[float, float]:
        torch.manual_seed(0)
        model = adapted(nn.Sequential(nn.Linear(32, 32, bias=False)), 4, 4.0)
        config = UnloadConfig(interval=100, optimizer=policy)  # type: ignore[arg-type]
        adam = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0)  # noqa: E731
        run = Run(model, config, tmp_path / policy, total=300, optimizer=adam)
        moves = []
        for _ in range(150):
            before = run.pairs[0].b.detach().clone()
            run.step(lambda m: m(torch.randn(8, 32)).square().mean())
            moves.append(float((run.pairs[0].b.detach() - before).abs().max()) / 1e-3)
        return max(moves[:50]), max(moves[100:])

    first, after = largest("fresh")
    assert after <= 1.05 * first
    first, after = largest("zero")
    assert after > 1.5 * first


def test_rank_grows_by_the_rank_of_a_pair_with_every_stage(tmp_path):
    torch.manual_seed(0)
    target = torch.randn(12, 12)
    inputs = torch.randn(256, 12)
    model = adapted(nn.Sequential(nn.Linear(12, 12, bias=False)), 2, 2.0)
    optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=0.02, weight_decay=0)  # noqa: E731
    run = Run(model, UnloadConfig(interval=60), tmp_path, total=300, optimizer=optimizer)
    base = run.pairs[0].weight().clone()
    for _ in range(299):
        run.step(squared_error(inputs, inputs @ target.T))
        if run.state.global_step % 60 == 0:
            rank = torch.linalg.matrix_rank(run.pairs[0].weight() - base, rtol=1e-4)
            assert rank == 2 * run.state.global_step // 60


@pytest.mark.parametrize("init", ["kaiming", "gaussian", "orthogonal"])
def test_new_pairs_start_at_zero_and_differ(tmp_path, init):
    run = Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=2, init=init), tmp_path, total=6)
    firsts = [run.pairs[0].a.detach().clone()]
    for _ in range(4):
        run.step(squared_error(*linear_task()))
        if run.state.global_step % 2 == 0:
            assert not run.pairs[0].b.any()
            firsts.append(run.pairs[0].a.detach().clone())
    assert not torch.equal(firsts[1], firsts[2])
    if init == "orthogonal":
        past = run.callback.ledger.stacked(run.pairs[0].name)[0]
        assert (firsts[2] @ past.T).abs().max() < 1e-5


def test_orthogonal_to_a_full_past_is_refused(tmp_path):
    run = Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=1, init="orthogonal"), tmp_path, total=9)
    with pytest.raises(ConfigError, match="do not fit into 6 inputs"):
        for _ in range(5):
            run.step(squared_error(*linear_task()))


def test_rewarmed_rate_holds_for_the_very_first_step(tmp_path):
    config = UnloadConfig(interval=4, rate="rewarm", rewarm_steps=2)
    run = Run(adapted(a_layer(), RANK, ALPHA), config, tmp_path, total=12)
    rates = []
    for _ in range(8):
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.step(squared_error(*linear_task()))
    assert rates == pytest.approx([0.1] * 4 + [0.1 * (1e-3 + (1 - 1e-3) / 2), 0.1, 0.1, 0.1])


def test_stage_cosine_falls_within_a_stage():
    rates = [rate_multiplier("stage_cosine", step, [4], warmup=1, end=8) for step in range(5, 9)]
    assert rates == pytest.approx([1.0, 0.5 * (1 + math.cos(math.pi / 4)), 0.5, 0.5 * (1 + math.cos(3 * math.pi / 4))])


def test_further_triggers(tmp_path):
    run = Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=50, plateau=2), tmp_path / "p", total=8)
    for loss in (1.0, 1.1, 1.2):
        run.callback.on_evaluate(run.args, run.state, None, metrics={"eval_loss": loss})
    run.step(squared_error(*linear_task()))
    run.step(squared_error(*linear_task()))
    assert run.callback.unloads == [1]
    chosen = Run(
        adapted(a_layer(), RANK, ALPHA),
        UnloadConfig(interval=50),
        tmp_path / "c",
        total=8,
        trigger=lambda state: state.global_step == 3,
    )
    saturated = Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=50, rank_threshold=1e-6), tmp_path / "r", total=8)
    for _ in range(5):
        chosen.step(squared_error(*linear_task()))
        saturated.step(squared_error(*linear_task()))
    assert chosen.callback.unloads == [3]
    assert saturated.callback.unloads


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"interval": 0}, "interval is 0"),
        ({"momentum": 0}, "momentum is 0"),
        ({"momentum": 0.5}, "mode full unloads everything"),
        ({"mode": "exact"}, "never learns again"),
        ({"mode": "paper", "momentum": 1.5}, "momentum is 1.5"),
        ({"intervall": 3}, "unknown setting 'intervall'"),
    ],
)
def test_wrong_settings_are_refused(table, words):
    with pytest.raises(ConfigError, match=words):
        parse(UnloadConfig, table)


def test_a_run_without_unload_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="would end before its first unload"):
        Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=20), tmp_path, total=10)


def test_dead_pairs_are_refused(tmp_path):
    run = Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=2), tmp_path, total=10)
    with torch.no_grad():
        run.pairs[0].a.zero_()
    with pytest.raises(ConfigError, match="such a pair never learns"):
        run.step(squared_error(*linear_task()))


def test_nothing_is_unloaded_from_a_broken_pair(tmp_path):
    run = Run(adapted(a_layer(), RANK, ALPHA), UnloadConfig(interval=2), tmp_path, total=10)
    run.step(squared_error(*linear_task()))
    with torch.no_grad():
        run.pairs[0].a[0, 0] = float("nan")
    with pytest.raises(NumericalError, match="nothing was unloaded"):
        run.callback.unload(2, "steps", run.model, run.optimizer)
    assert len(run.callback.ledger) == 0
