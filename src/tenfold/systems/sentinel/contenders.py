"""What is compared at equal caches: sentinels, StreamingLLM's first tokens and window, SepLLM's separators.

All get the same number of entries. Sentinels and separators share one window; what the peers save on it goes to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tenfold.core.errors import ConfigError
from tenfold.nn.masked_lm import MaskedLM
from tenfold.systems.sentinel.arms import separators
from tenfold.systems.sentinel.bases import Base
from tenfold.systems.sentinel.items import Keeping
from tenfold.systems.sentinel.layout import insert
from tenfold.systems.sentinel.lm import SentinelLM
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

Kind = Literal["sentinels", "streaming", "separators"]
MARGIN = 1.1
"""Sentinels that a budget has room for, relative to the mean."""


@dataclass(frozen=True)
class Contender:
    """A kind of cache, over a training of its own or over none."""

    kind: Kind
    adapter: str | None

    @property
    def name(self) -> str:
        return self.kind if self.adapter else f"{self.kind}, untrained"


@dataclass(frozen=True)
class Plan:
    """How many entries a cache may hold, and of which."""

    entries: int
    window: int
    most: int | None
    """Sentinels, or separators those within the window included."""


def plan(kind: Kind, entries: int, length: int, rate: float, config: SentinelConfig) -> Plan:
    """Splits a budget of entries for a text of `length` tokens with `rate` kept tokens for each original one.

    Raises:
        ConfigError: the budget is too small for first tokens, the smallest window and one sentinel.
    """
    room = entries - config.n_sink - config.block
    least = config.max_chunk
    if room < least + 1:
        raise ConfigError(
            f"{entries} entries cannot hold {config.n_sink} first tokens, a window of {least} + {config.block} and a "
            "sentinel; raise the fraction or the length, or lower block"
        )
    if kind == "streaming":
        return Plan(entries, room, 0)
    if kind == "sentinels":
        wanted = max(1, round(length * rate * MARGIN))
        window = max(least, room - wanted)
        return Plan(entries, window, room - window)
    window = max(least, room // 2)
    return Plan(entries, window, room - window + round((window + config.block / 2) * rate))


def kept_rate(kind: Kind, windows: Sequence[Sequence[int]], base: Base, config: SentinelConfig, ids: Sequence[int]) -> float:
    """Sentinels, or separators, for each original token."""
    total = sum(map(len, windows))
    if kind == "separators":
        return sum(sum(separators(tokens, base.codec.pieces)) for tokens in windows) / total
    segmenter = Segmenter(config, base.codec.pieces, ids)
    return sum(insert(tokens, segmenter).num_sentinels for tokens in windows) / total


def reader(
    kind: Kind, engine: MaskedLM, base: Base, config: SentinelConfig, ids: Sequence[int], chosen: Plan | None
) -> SentinelLM:
    """A reader of that kind over an engine, which is emptied; without a plan everything stays visible."""
    settings = config.changed(raw="window", window=chosen.window) if chosen else config.changed(raw="all")
    sentinels = ids if kind == "sentinels" else ()
    if chosen is None:
        return SentinelLM(engine, settings, base.codec.pieces, sentinels, silent=ids)
    marks = None
    if kind == "separators":
        known = frozenset(
            token for token, is_one in enumerate(separators(range(len(base.codec.pieces)), base.codec.pieces)) if is_one
        )
        marks = known.__contains__
    keeping = Keeping(chosen.most, marks=marks)
    return SentinelLM(engine, settings, base.codec.pieces, sentinels, keeping=keeping, silent=ids)
