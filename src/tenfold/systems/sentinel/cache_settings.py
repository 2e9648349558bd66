"""The settings of the verb `cache`, and the contenders that they name."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from tenfold.core.config import Config, Names, split_commas
from tenfold.nn.models import Dtype
from tenfold.systems.sentinel.contenders import Contender, Kind
from tenfold.systems.sentinel.wrapping import EngineName

FULL = 1.0
"""The fraction of a cache that keeps everything."""


class CacheConfig(Config):
    """Measure a compacted cache: perplexity, entries and bytes, speed, beside other ways to keep as much."""

    model: str = "smollm2"
    """Base of the contenders without a training of their own."""
    adapter: str = ""
    """Adapter folder of a sentinel training; empty: untrained sentinels."""
    streaming: str = ""
    """Adapter folder trained with first tokens and a window (arm streaming); empty: untrained."""
    separators: str = ""
    """Adapter folder trained with the separator rule; empty: untrained."""
    data: str = "gutenberg"
    """Text to measure on."""
    length: int = Field(7680, ge=64)
    """Original tokens in a window."""
    windows: int = Field(4, ge=1)
    """Windows to measure; 0 with measure=speed is the same as leaving perplexity out."""
    fractions: Annotated[tuple[float, ...], BeforeValidator(split_commas), Field(min_length=1)] = (0.15,)
    """Sizes of the compacted cache, as shares of the full one; the first is the one that is quoted."""
    measure: Names = ("perplexity", "speed")
    """What to measure: perplexity, speed."""
    batch: Annotated[tuple[int, ...], BeforeValidator(split_commas), Field(min_length=1)] = (1, 8)
    """Rows in the timed steps."""
    steps: int = Field(64, ge=2)
    """Timed steps; the median counts."""
    block: int = Field(64, ge=1)
    """The window moves on by so many tokens."""
    max_chunk: int = Field(128, ge=1)
    """A longer chunk is closed wherever it is; where there is an adapter, as it was trained."""
    engine: EngineName = "auto"
    """What computes: lean, transformers, or auto."""
    dtype: Dtype = "bf16"
    """Type of the weights."""

    @model_validator(mode="after")
    def _knows_what(self) -> "CacheConfig":
        unknown = [name for name in self.measure if name not in ("perplexity", "speed")]
        if unknown:
            raise ValueError(f"measure names {unknown[0]!r}; perplexity and speed are accepted")
        return self


def contenders(config: CacheConfig) -> list[Contender]:
    """The method first; untrained streaming always, as it says which tokens are far."""
    given: dict[Kind, str] = {"sentinels": config.adapter, "streaming": config.streaming, "separators": config.separators}
    found = [Contender(kind, adapter or None) for kind, adapter in given.items()]
    return found if not config.streaming else [*found, Contender("streaming", None)]
