"""The cascade: who decides, what it costs, and the band that loses at most what it may."""

import numpy as np
import pytest

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.cascade import Band, Cascade, cost_curve, fit_band
from tenfold.systems.shieldlm.linear import LinearGuard
from tiny_guard import tiny_guard


def scores(seed=0, number=2000):
    draw = np.random.default_rng(seed)
    unsafe = draw.random(number) < 0.5
    linear = np.clip(np.where(unsafe, 0.65, 0.35) + draw.normal(0, 0.2, number), 0, 1)
    guard = np.clip(np.where(unsafe, 0.8, 0.2) + draw.normal(0, 0.2, number), 0, 1)
    return linear, guard, unsafe


def test_the_curve_runs_from_the_linear_guard_to_the_model():
    linear, guard, unsafe = scores()
    curve = cost_curve(linear, guard, unsafe.tolist())
    assert curve[0].accuracy == pytest.approx(((linear > 0.5) == unsafe).mean(), abs=2e-3)
    assert curve[-1].accuracy == pytest.approx(((guard > 0.5) == unsafe).mean(), abs=2e-3)
    shares = [point.share_linear for point in curve]
    assert shares == sorted(shares, reverse=True)


def test_the_band_loses_at_most_what_it_may():
    linear, guard, unsafe = scores()
    band = fit_band(linear, guard, unsafe.tolist(), most_loss=0.01)
    sure = (linear < band.low) | (linear > band.high)
    flags = np.where(sure, linear > 0.5, guard > 0.5)
    assert (flags == unsafe).mean() >= ((guard > 0.5) == unsafe).mean() - 0.01
    assert 0.05 < sure.mean() < 1


def test_rules_and_doubts_go_to_the_model():
    linear = LinearGuard.fit(["zorgle the frump", "water the garden"] * 10, [True, False] * 10, "en")
    cascade = Cascade(linear, tiny_guard(), Band(0.4, 0.6))
    assert cascade.check("", "zorgle the frump").decision == "block"
    assert cascade.check("", "water the garden").label == "safe"
    assert (cascade.num_linear, cascade.num_guard) == (2, 0)
    cascade.check("", "water the garden", ["bias:strict"])
    cascade.check("", "quite another thing")
    assert (cascade.num_linear, cascade.num_guard) == (2, 2)
    with pytest.raises(ConfigError, match="band"):
        Cascade(linear, tiny_guard(), Band(0.7, 0.6))
    with pytest.raises(ConfigError, match="empty"):
        cascade.check("", " ")
