"""A whole text with its sentinels: `insert` makes it, `strip` takes the sentinels out again, `pack` joins several texts.

Labels are those of the last entry of each token's group: the id of the next original token of the same text.
"""

# N entries
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from tenfold.core.errors import ConfigError
from tenfold.systems.sentinel.segments import Entry, Segmenter, State

NO_LABEL = -100


@dataclass(frozen=True)
class Layout:
    """The expanded sequence; all fields have one value per entry."""

    ids: tuple[int, ...]
    i: tuple[int, ...]
    c: tuple[int, ...]
    g: tuple[int, ...]
    d: tuple[int, ...]
    level: tuple[int, ...]
    pos: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_sentinels(self) -> int:
        return sum(level > 0 for level in self.level)

    @property
    def predictors(self) -> list[int]:
        """The entries that have a label."""
        return [place for place, label in enumerate(self.labels) if label != NO_LABEL]


def insert(ids: Sequence[int], segmenter: Segmenter, *, nats: Sequence[float] | None = None) -> Layout:
    """One text with its sentinels.

    Args:
        ids: original tokens.
        nats: each token's surprise, for the chunker `surprisal`.

    Raises:
        ConfigError: the text is empty, a sentinel stands in it already, or the chunker needs `nats`.
    """
    if not ids:
        raise ConfigError("the text is empty; give at least one token")
    if nats is None and segmenter.config.chunker.startswith("surprisal"):
        raise ConfigError("chunker surprisal needs each token's surprise in nats; give `nats`, or take another chunker")
    state, groups = State(), []
    for place, token in enumerate(ids):
        entries, state = segmenter.step(state, token, None if nats is None else nats[place])
        groups.append(entries)
    return _layout(groups, ids)


def plain(ids: Sequence[int]) -> Layout:
    """A text without sentinels."""
    return _layout([[Entry(token, place + 1, 0, 0, 0, place)] for place, token in enumerate(ids)], ids)


def strip(layout: Layout) -> list[int]:
    """The original tokens."""
    return [token for token, level in zip(layout.ids, layout.level, strict=True) if not level]


def pack(layouts: Sequence[Layout]) -> Layout:
    """Several texts in one sequence; each keeps its own numbers and positions, and sees only itself."""
    columns = {
        name: tuple(chain.from_iterable(getattr(layout, name) for layout in layouts)) for name in Layout.__annotations__
    }
    columns["d"] = tuple(chain.from_iterable([number] * len(layout) for number, layout in enumerate(layouts)))
    return Layout(**columns)


def _layout(groups: Sequence[Sequence[Entry]], ids: Sequence[int]) -> Layout:
    entries = list(chain.from_iterable(groups))
    labels: list[int] = []
    for group, label in zip(groups, [*ids[1:], NO_LABEL], strict=True):
        labels += [NO_LABEL] * (len(group) - 1) + [label]
    tokens, i, c, g, level, pos = zip(*entries, strict=True)
    return Layout(tokens, i, c, g, (0,) * len(entries), level, pos, tuple(labels))
