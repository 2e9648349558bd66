"""A pilot: a few calls of each kind, spread over the tree, so that an estimate rests on this teacher's own replies.

They are calls of the whole data set, under its own keys, so nothing of a pilot is lost: a later run finds it all.
"""

import asyncio
from collections.abc import Sequence
from itertools import islice

from tenfold.systems.glan.asking import KINDS, Asking, NotAskedError
from tenfold.systems.glan.growing import make_pair, stream_of, write_syllabus
from tenfold.systems.glan.parsing import ParseError, unite
from tenfold.systems.glan.pipeline import Growing
from tenfold.systems.glan.planner import Planner
from tenfold.systems.glan.rounds import accept_all
from tenfold.systems.glan.tree import Discipline


async def pilot(planner: Planner, asking: Asking, disciplines: Sequence[Discipline], size: int) -> dict[str, int]:
    """Goes `size` ways from a discipline to an answer; returns how many calls of each kind they found answered, at most."""
    await asyncio.gather(*(_way(planner, asking, disciplines, number, size) for number in range(size)))
    counts = asking.ledger.counts()
    return {kind: min(size, counts[kind]["done"]) for kind in KINDS if kind in counts}


async def _way(planner: Planner, asking: Asking, disciplines: Sequence[Discipline], number: int, size: int) -> None:
    """One way: through another discipline than the one before, else another subject; draws from the first to the last.

    What is grown are subjects of the whole run: of the united list where all queries are asked, else of the first query,
    whose subjects lead it.
    """
    growing, config = Growing(planner, asking, accept_all, lambda: None), planner.config
    lap, place = divmod(number, len(disciplines))
    is_wide = len(disciplines) >= size
    discipline = disciplines[number * len(disciplines) // size if is_wide else place]
    try:
        num_queries = min(config.queries, max(1, size // len(disciplines)))
        lists = [await growing.query(discipline, query) or () for query in range(num_queries)]
        subjects = unite(lists if num_queries == config.queries else lists[:1], config.subjects)
        if not subjects:
            return
        syllabus = await growing.converse(
            write_syllabus(planner, discipline, subjects[(number if is_wide else lap) % len(subjects)])
        )
        drawn = list(islice(stream_of(planner, syllabus), config.held_out + config.questions))
        if drawn:
            await growing.converse(make_pair(planner, syllabus, drawn[number * len(drawn) // size]))
    except (ParseError, NotAskedError):
        return
