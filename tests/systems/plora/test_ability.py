"""Learning ability: 1 for LoRA itself, right on made-up gains, silent where LoRA gained nothing."""

import numpy as np
import pytest

from tenfold.systems.plora.ability import learning_ability, mean_loss

ROWS = 60
BASE = np.full(ROWS, 10.0)


def losses(gain: float, *, seeds: int = 3, noise: float = 0.5, seed: int = 0) -> np.ndarray:
    return BASE - gain + noise * np.random.default_rng(seed).standard_normal((seeds, ROWS))


def test_lora_beside_itself_is_one_without_doubt():
    lora = losses(2.0)
    found = learning_ability(BASE, lora, lora)
    assert found is not None and found.value == pytest.approx(1) and found.interval == pytest.approx([1, 1])


def test_a_larger_gain_is_found_within_its_interval():
    found = learning_ability(BASE, losses(3.0, seed=1), losses(2.0))
    assert found is not None and found.low < 1.5 < found.high and found.low > 1.3


def test_seeds_that_differ_widen_the_interval():
    lora, ours = losses(2.0), losses(3.0, seed=1)
    narrow = learning_ability(BASE, ours, lora)
    wide = learning_ability(BASE, ours - np.array([[-1.0], [0.0], [1.0]]), lora)
    assert narrow is not None and wide is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_nothing_is_said_while_lora_gains_nothing():
    assert learning_ability(BASE, losses(2.0), losses(0.0, noise=1.0)) is None
    assert learning_ability(BASE, losses(2.0), losses(-1.0)) is None


def test_mean_loss_is_per_token_over_rows_and_seeds():
    assert mean_loss([[2.0, 4.0], [4.0, 8.0]], [1, 2]) == pytest.approx(3.0)
