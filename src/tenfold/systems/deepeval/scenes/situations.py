"""Sixteen situations, each drawn in four ways: two facets with two values each.

A painter gets the canvas, the scene's generator for details, and the two values as 0 or 1, in the order in which
`texts.jsonl` names them. The other details of a situation's four pictures are the same: only the facets tell them apart.
"""

from collections.abc import Callable
from random import Random

from tenfold.systems.deepeval.scenes.alone import (
    at_the_tree,
    at_the_wall,
    before_the_mirror,
    bird_cage,
    snow_friend,
    under_the_clock,
    with_balloon,
)
from tenfold.systems.deepeval.scenes.canvas import Canvas
from tenfold.systems.deepeval.scenes.together import (
    at_the_bridge,
    at_the_crossroads,
    at_the_table,
    in_the_boat,
    on_the_bench,
    seesaw,
    two_candles,
    under_umbrella,
    uphill,
)

Painter = Callable[[Canvas, Random, int, int], None]

PAINTERS: dict[str, Painter] = {
    "umbrella": under_umbrella,
    "wall": at_the_wall,
    "tree": at_the_tree,
    "cage": bird_cage,
    "boat": in_the_boat,
    "seesaw": seesaw,
    "mirror": before_the_mirror,
    "bench": on_the_bench,
    "bridge": at_the_bridge,
    "candles": two_candles,
    "stone": uphill,
    "clock": under_the_clock,
    "balloon": with_balloon,
    "snowman": snow_friend,
    "bread": at_the_table,
    "crossroads": at_the_crossroads,
}
