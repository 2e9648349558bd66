"""The formula gives the paper's printed figures (T FLOPs per sequence)."""

import pytest

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.flops import Shape, training_flops

PRINTED = [
    (9, 1280, 8000, 2048, 1, 2.88),
    (9, 1280, 8000, 2048, 2, 4.33),
    (9, 1280, 8000, 2048, 3, 5.78),
    (9, 1280, 8000, 2048, 16, 24.62),
    (28, 2048, 102400, 4096, 2, 74.42),
    (30, 4096, 102400, 4096, 1, 183.48),
    (62, 4096, 102400, 4096, 2, 572.71),
    (62, 4096, 102400, 4096, 33 / 32, 374.59),
]


@pytest.mark.parametrize(("layers", "width", "vocabulary", "length", "activated", "printed"), PRINTED)
def test_the_papers_figures(layers, width, vocabulary, length, activated, printed) -> None:
    assert training_flops(Shape(layers, width, vocabulary, length, activated)) / 1e12 == pytest.approx(printed, abs=0.006)


def test_a_width_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="not positive"):
        training_flops(Shape(9, 0, 8000, 2048))
