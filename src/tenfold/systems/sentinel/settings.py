"""What a sentinel model is: how texts are cut, where `<SR>` stands, who sees whom, and what a compacted cache keeps.

Everything here is part of a checkpoint (`sentinel.json`), since a model must be read as it was trained.
"""

from typing import Literal

from pydantic import Field, model_validator

from tenfold.core.config import Config, parse

Scope = Literal["chunk", "chunk+sr", "causal"]
Mode = Literal["memory", "inline"]
Position = Literal["auto", "shared", "own", "reset"]
Raw = Literal["all", "window", "sr_only"]
Policy = Literal["recency", "attention", "score", "hierarchy"]


class SentinelConfig(Config):
    """How sentinels are placed and read."""

    chunker: str = "sentence"
    """Where a chunk ends: sentence, fixed:n, paragraph, punct, punct:marks, surprisal:nats, or random:n (a control)."""
    min_chunk: int = Field(4, ge=1)
    """Fewest tokens in a chunk."""
    max_chunk: int = Field(128, ge=1)
    """A longer chunk is closed wherever it is."""
    n_sr: int = Field(1, ge=1)
    """Sentinels at the end of each chunk."""
    hierarchy: bool = False
    """Close each paragraph with a sentinel of its own, which takes the place of its chunks' ones in a compacted cache."""
    scope: Scope = "chunk"
    """What a sentinel sees: its chunk, also earlier sentinels, or everything before it."""
    mode: Mode = "memory"
    """memory: a chunk's last token predicts the next one, the sentinel only remembers; inline: the sentinel predicts."""
    position: Position = "auto"
    """A sentinel's position: that of its chunk's last token (shared), one of its own, or its chunk's number (reset)."""
    raw: Raw = "all"
    """Which original tokens are seen: all (quality), the first and last ones (window), or one's own chunk's (sr_only)."""
    window: int = Field(512, gt=0)
    """Last original tokens that stay visible under raw=window."""
    n_sink: int = Field(4, ge=0)
    """First original tokens that stay visible under raw=window."""
    block: int = Field(64, ge=1)
    """The window moves on by so many tokens at a time, so up to block - 1 more stay visible."""
    budget: int = Field(0, ge=0)
    """Most entries of a compacted cache: first and last tokens and as many sentinels as fit; 0: all sentinels stay."""
    policy: Policy = "recency"
    """Which sentinels go when they do not fit."""
    token: str = "auto"
    """The sentinel: auto takes a reserved token of the tokenizer or adds one; or a token's text or id; or add."""

    @model_validator(mode="after")
    def _fits_together(self) -> "SentinelConfig":
        if self.min_chunk > self.max_chunk:
            raise ValueError(f"min_chunk {self.min_chunk} is above max_chunk {self.max_chunk}; lower it")
        if self.raw == "window" and self.max_chunk > self.window:
            raise ValueError(
                f"max_chunk is {self.max_chunk}, but only {self.window} tokens stay visible, so a sentinel would miss the "
                "beginning of its chunk; lower max_chunk or raise window"
            )
        fixed = self.n_sink + self.window + self.block
        if self.raw == "window" and 0 < self.budget < fixed:
            raise ValueError(
                f"budget is {self.budget}, but first tokens, window and block take {self.n_sink} + {self.window} + "
                f"{self.block} = {fixed}; raise budget or lower window"
            )
        return self

    @property
    def positions(self) -> Literal["shared", "own", "reset"]:
        """The position in force: shared with memory, own with inline, unless it was chosen."""
        if self.position != "auto":
            return self.position
        return "shared" if self.mode == "memory" else "own"

    @property
    def most_sentinels(self) -> int | None:
        """How many sentinels fit into the budget; None: no limit."""
        return self.budget - self.n_sink - self.window - self.block if self.raw == "window" and self.budget else None

    def changed(self, **changes: object) -> "SentinelConfig":
        """The same settings but for these, checked again.

        Raises:
            ConfigError: they do not fit together.
        """
        return parse(SentinelConfig, {**self.model_dump(), **changes}, where="sentinel settings")
