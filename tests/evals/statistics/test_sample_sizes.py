"""How many items are needed: the specification's numbers, and the power that they give."""

import numpy as np
import pytest

from tenfold.evals.statistics import (
    design_effect,
    items_for_half_width,
    items_for_mcnemar,
    items_for_non_inferiority,
    mcnemar,
    tango_lower,
)


def test_golden_sizes():
    assert items_for_non_inferiority(0.1, 0.02) == 1_546
    assert items_for_half_width(0.03) == 1_068
    assert design_effect(4, 0.5) == 2.5


def test_the_sizes_give_the_power_they_promise():
    generator = np.random.default_rng(0)
    n = items_for_non_inferiority(0.1, 0.04)
    cleared = [tango_lower(int(b), int(c), n) > -0.04 for b, c, _ in generator.multinomial(n, [0.05, 0.05, 0.9], size=400)]
    assert 0.74 <= np.mean(cleared) <= 0.87
    n = items_for_mcnemar(0.15, 0.05)
    found = [mcnemar(int(b), int(c)) < 0.05 for b, c, _ in generator.multinomial(n, [0.15, 0.05, 0.8], size=400)]
    assert 0.68 <= np.mean(found) <= 0.87


@pytest.mark.parametrize(
    "ask", [lambda: items_for_half_width(0), lambda: items_for_non_inferiority(0.1, 2), lambda: items_for_mcnemar(0, 0)]
)
def test_what_is_no_share_is_refused(ask):
    with pytest.raises(ValueError, match="give a share"):
        ask()


def test_equal_shares_are_refused():
    with pytest.raises(ValueError, match="no difference"):
        items_for_mcnemar(0.1, 0.1)
