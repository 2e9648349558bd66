"""What of a cache no coming query can see. The rule itself is asked, so that mask and cache cannot disagree."""

from dataclasses import replace

import torch
from torch import Tensor

from tenfold.systems.sentinel.rules import NEVER, Meta, Rule, visible
from tenfold.systems.sentinel.segments import State
from tenfold.systems.sentinel.table import MetaTable


def survivors(entries: Meta, state: State, rule: Rule) -> Tensor:
    """bool [S]: entries that a query after `state` may see; whatever comes later sees no more of them."""
    return visible(_probe(state), _as_seen_from(entries, state), rule)[0]


def _probe(state: State) -> Meta:
    """A query [1, 1] that sees whatever may be seen after a state: as the next one, but of the cache's newer entries too."""
    return MetaTable.queries([[(NEVER - 1, state.i, state.c, state.g, 0, 0, NEVER)]], 1)[0]


def _as_seen_from(entries: Meta, state: State) -> Meta:
    """The entries, with what has been dropped by then dropped for good; newer chunks count as the one that is open then."""
    until = torch.where(entries.until <= state.n, 0, NEVER)
    return replace(entries, until=until, c=entries.c.clamp(max=state.c))
