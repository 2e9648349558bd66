"""The calibrator: maps, priors, thresholds by stratum, another alpha, what it is bound to, and its JSON."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.calibrate import equal_mass_error
from tenfold.systems.shieldlm.calibrator import Calibrator, stratum


def sure_model(number=3000, *, too_sure=4.0, seed=0):
    """Log-probabilities of a model that is `too_sure` times surer than it should be, and the labels."""
    draw = np.random.default_rng(seed)
    logit = draw.normal(0, 1.5, number)
    unsafe = draw.random(number) < 1 / (1 + np.exp(-logit))
    odds = too_sure * logit
    logps = np.stack([-np.logaddexp(0, odds), -np.logaddexp(0, -odds), np.full(number, -30.0)], axis=1)
    return logps, unsafe.tolist()


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_model_that_is_too_sure_is_mended(method):
    logps, unsafe = sure_model(20_000)
    plain = parse(Calibrator, {})
    fitted = Calibrator.fit(logps, unsafe, method=method)
    fresh, truth = sure_model(20_000, seed=1)
    before, after = equal_mass_error(plain.scores(fresh), truth), equal_mass_error(fitted.scores(fresh), truth)
    assert before > 0.1 and after < 0.02
    if method == "temperature":
        assert fitted.temperature == pytest.approx(4.0, rel=0.1)


def test_a_prior_moves_the_scores_back_to_the_middle():
    logps, unsafe = sure_model(too_sure=1.0)
    tilted = logps + np.array([0.0, 2.0, 0.0])
    free = np.zeros((3, 3)) + np.array([0.0, 2.0, 0.0])
    contextual = Calibrator.fit(tilted, unsafe, method="none", prior="contextual", content_free_N3=free)
    np.testing.assert_allclose(contextual.scores(tilted), parse(Calibrator, {}).scores(logps))
    batch = Calibrator.fit(tilted, unsafe, method="none", prior="batch")
    assert abs(np.median(batch.scores(tilted)) - 0.5) < 0.1
    with pytest.raises(ConfigError, match="content-free"):
        Calibrator.fit(tilted, unsafe, prior="contextual")


@given(st.lists(st.floats(-20, 0), min_size=3, max_size=3), st.sampled_from([0.0, 0.5, 1.0]))
def test_scores_are_shares_and_grow_with_strictness(logps, weight):
    loose, strict = Calibrator(weight=0.0), Calibrator(weight=1.0)
    assert 0 <= Calibrator(weight=weight).scores([logps])[0] <= 1
    assert loose.scores([logps])[0] <= strict.scores([logps])[0]
    assert loose.probabilities([logps]).sum() == pytest.approx(1)


def test_thresholds_are_kept_by_stratum_and_take_another_alpha():
    safe, unsafe = np.linspace(0, 0.6, 200), np.linspace(0.4, 1, 200)
    labels = [False] * 200 + [True] * 200
    fitted = parse(Calibrator, {}).with_limits("en", np.concatenate([safe, unsafe]), labels, alpha=0.05, beta=0.05)
    again = Calibrator.model_validate_json(fitted.model_dump_json())
    assert again == fitted
    assert (safe > again.thresholds("en").block_above).mean() <= 0.05
    assert (safe > again.thresholds("en", alpha=0.2).block_above).mean() == pytest.approx(0.2, abs=0.01)
    assert again.thresholds("zh").block_above == 0.5
    with pytest.raises(ConfigError, match="calibrate"):
        again.thresholds("zh", alpha=0.1)
    with pytest.raises(ConfigError, match="at least 999"):
        again.thresholds("en", alpha=0.001)


def test_thresholds_of_another_model_are_refused():
    bound = Calibrator(bound_to={"model": "a", "pack-en": "p"})
    bound.check_bound({"model": "a", "pack-en": "p", "more": "x"})
    with pytest.raises(ConfigError, match="another pack-en"):
        bound.check_bound({"model": "a", "pack-en": "q"})


def test_equal_labels_are_refused_and_strata_are_named():
    with pytest.raises(ConfigError, match="labels are equal"):
        Calibrator.fit(np.zeros((3, 3)), [True] * 3)
    assert (stratum("en", False), stratum("zh", True)) == ("en", "zh+rules")
