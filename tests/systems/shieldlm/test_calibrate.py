"""Conformal thresholds keep their promise on synthetic scores; too few items are refused with the number needed."""

import math

import numpy as np
import pytest

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.calibrate import (
    Thresholds,
    allow_threshold,
    block_threshold,
    equal_mass_error,
    fit_thresholds,
    null_error,
    rate_interval,
)


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_false_alarms_stay_at_alpha_over_2000_repetitions(alpha):
    draw = np.random.default_rng(0)
    rates = [(draw.random(200) > block_threshold(draw.random(199), alpha)).mean() for _ in range(2000)]
    assert abs(np.mean(rates) - alpha) < 4 * np.std(rates) / math.sqrt(2000) + 1e-9


def test_misses_stay_at_beta_over_2000_repetitions():
    draw = np.random.default_rng(1)
    rates = [(draw.random(200) < allow_threshold(draw.random(199), 0.05)).mean() for _ in range(2000)]
    assert abs(np.mean(rates) - 0.05) < 4 * np.std(rates) / math.sqrt(2000)


def test_with_delta_nearly_every_threshold_keeps_alpha():
    draw = np.random.default_rng(2)
    kept = [1 - block_threshold(draw.random(300), 0.05, delta=0.1) <= 0.05 for _ in range(2000)]  # scores are uniform
    assert np.mean(kept) >= 0.9 - 0.02


def test_realised_rates_follow_the_beta_binomial_law():
    draw = np.random.default_rng(3)
    low, high = rate_interval(400, 500, 0.05)
    inside = [low <= (draw.random(500) > block_threshold(draw.random(400), 0.05)).mean() <= high for _ in range(1000)]
    assert 0.93 <= np.mean(inside) <= 0.99


@pytest.mark.parametrize(("number", "enough"), [(98, False), (99, True)])
def test_one_percent_needs_99_safe_items(number, enough):
    scores = np.arange(number)
    if enough:
        assert block_threshold(scores, 0.01) == number - 1
    else:
        with pytest.raises(ConfigError, match="at least 99"):
            block_threshold(scores, 0.01)


def test_the_number_needed_with_delta_is_the_smallest_that_works():
    needed = math.ceil(math.log(0.1) / math.log(0.95))
    block_threshold(np.arange(needed), 0.05, delta=0.1)
    with pytest.raises(ConfigError, match=f"at least {needed}"):
        block_threshold(np.arange(needed - 1), 0.05, delta=0.1)


def test_decisions_at_and_between_thresholds():
    band = Thresholds(0.2, 0.8)
    assert [band.decide(s) for s in (0.1, 0.2, 0.5, 0.8, 0.9)] == ["allow", "review", "review", "review", "block"]
    crossed = fit_thresholds(np.linspace(0, 0.3, 99), np.linspace(0.7, 1, 99), alpha=0.05, beta=0.05)
    assert crossed.allow_below == crossed.block_above
    assert [crossed.decide(s) for s in (crossed.block_above, 0.99)] == ["allow", "block"]


def test_calibration_error_equals_its_definition():
    draw = np.random.default_rng(4)
    p, y = draw.random(100), draw.random(100) < 0.5
    order = np.argsort(p)
    bins = np.array_split(order, 15)
    slow = sum(len(b) / 100 * abs(p[b].mean() - y[b].mean()) for b in bins)
    assert equal_mass_error(p, y) == pytest.approx(slow)
    assert equal_mass_error(y.astype(float), y) == 0


def test_a_perfect_model_shows_the_null_error():
    draw = np.random.default_rng(5)
    p = draw.random(548)
    mean, high = null_error(p, draws=300)
    seen = [equal_mass_error(p, draw.random(548) < p) for _ in range(300)]
    assert np.mean(seen) == pytest.approx(mean, abs=0.003)
    assert np.mean(np.array(seen) > high) == pytest.approx(0.05, abs=0.04)
