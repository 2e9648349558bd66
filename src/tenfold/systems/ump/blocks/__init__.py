"""Blocks of four texts: two factors, a text is flawed where they differ, and every wording occurs in one sound and one
flawed text. So no score that adds up over the wordings can tell flawed from sound.

`propose_blocks` makes blocks from bases and from our own frames; the caller has them checked.
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


def blocks_of_base(base: Base, seed: int) -> Iterator[list[Problem]]:
    """Every block that a base is good for, at most one for each operator."""
    for name, operator in OPERATORS.items():
        try:
            yield operator(base, random.Random(derive(seed, name, base.source, base.split, base.source_id)))
        except SketchError:
            continue


def propose_blocks(bases: Iterable[Base], seed: int) -> Iterator[list[Problem]]:
    """The blocks of our own frames, then those of the bases, in order."""
    for category in FRAMED:
        yield from framed_blocks(category, seed)
    for base in bases:
        yield from blocks_of_base(base, seed)
