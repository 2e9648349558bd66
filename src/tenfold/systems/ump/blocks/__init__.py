"""Blocks of four texts: two factors, a text is flawed where they differ, and every wording occurs in one sound and one
flawed text. So no score that adds up over the wordings can tell flawed from sound.

The caller has every block checked: what a proposal is worth is the checker's to say.
"""

import random
from collections.abc import Callable, Iterable, Iterator

from tenfold.core.seeds import derive
from tenfold.systems.ump.bases import Base
from tenfold.systems.ump.blocks.claims import claim_block
from tenfold.systems.ump.blocks.framed import FRAMED, framed_blocks
from tenfold.systems.ump.blocks.letters import letter_block
from tenfold.systems.ump.blocks.persons import person_block
from tenfold.systems.ump.blocks.restated import restated_block
from tenfold.systems.ump.blocks.sketch import SketchError
from tenfold.systems.ump.problems import Problem

Operator = Callable[[Base, random.Random], list[Problem]]
OPERATORS: dict[str, Operator] = {
    "restated": restated_block,
    "letter": letter_block,
    "person": person_block,
    "claim": claim_block,
}
"""Kinds of edit of a base, by name."""


def block_of(operator: str, base: Base, seed: int) -> list[Problem]:
    """The block that an operator makes of a base; SketchError if the base is not good for it."""
    return OPERATORS[operator](base, random.Random(derive(seed, operator, base.source, base.split, base.source_id)))


def blocks_of(operator: str, bases: Iterable[Base], most: int, seed: int) -> Iterator[list[Problem]]:
    """The blocks of the first bases that an operator is good for."""
    made = 0
    for base in bases:
        if made == most:
            return
        try:
            block = block_of(operator, base, seed)
        except SketchError:
            continue
        made += 1
        yield block


def blocks_of_frames(seed: int) -> Iterator[list[Problem]]:
    """The blocks of our own frames."""
    for category in FRAMED:
        yield from framed_blocks(category, seed)
