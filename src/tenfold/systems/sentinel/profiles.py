"""The settings of a comparison, with profiles by size: `tiny` (machinery), `stories`, `cpu` (real, small), `gpu` (all).

A setting that is given overrides the profile's.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tenfold.core.config import Config, Names, parse, split_commas
from tenfold.nn.models import Dtype
from tenfold.systems.sentinel.arms import ARMS, arm
from tenfold.systems.sentinel.learning import LearnConfig
from tenfold.systems.sentinel.settings import SentinelConfig

Profile = Literal["tiny", "stories", "cpu", "gpu"]
ALL = tuple(name for name in ARMS if ARMS[name].peer == "none")
PROFILES: Mapping[Profile, dict[str, Any]] = {
    "tiny": {
        "model": "tiny",
        "train": ("sample",),
        "dev": ("sample",),
        "arms": ("base", "lora", "sr"),
        "tokens": 1500,
        "length": 128,
        "dev_length": 128,
        "dev_windows": 4,
        "window": 32,
        "max_chunk": 32,
    },
    "stories": {
        "model": "stories260k",
        "train": ("stories",),
        "dev": ("stories",),
        "arms": ALL,
        "seeds": (0, 1, 2),
        "tokens": 200_000,
        "length": 400,
        "dev_length": 400,
        "dev_windows": 100,
        "batch_size": 8,
        "window": 64,
        "max_chunk": 48,
        "rates": (2e-3,),
    },
    "cpu": {},
    "gpu": {
        "arms": ALL,
        "seeds": (0, 1, 2),
        "tokens": 2_000_000,
        "dev": ("wikitext", "gutenberg", "economics"),
        "dev_windows": 48,
        "batch_size": 8,
        "rates": (2e-4, 5e-4, 1e-3),
    },
}


class CompareConfig(Config):
    """Train the method, plain LoRA and the controls on the same text in the same order, and compare perplexities."""

    profile: Profile = "cpu"
    """Where the other settings start from: tiny, stories, cpu or gpu."""
    model: str = "smollm2"
    """Base: an alias, stories260k, tiny (random), a folder or a hub id."""
    train: Names = ("wikitext", "gutenberg")
    """Texts to train on, taken in turn: wikitext, gutenberg, stories, sample, a .txt file or a folder of them."""
    dev: Names = ("wikitext", "gutenberg")
    """Texts to measure on; also economics, a textbook that nothing is trained on."""
    arms: Names = ("base", "lora", "sr")
    """What to compare; lora and sr are always among them."""
    seeds: Annotated[tuple[int, ...], BeforeValidator(split_commas), Field(min_length=1)] = (0,)
    """Each arm is trained once for each of these."""
    tokens: int = Field(128_000, ge=64)
    """Original tokens to train on, the same for every arm."""
    length: int = Field(1024, ge=16)
    """Original tokens in a training window."""
    dev_length: int = Field(1024, ge=16)
    """Original tokens in a measured window."""
    dev_windows: int = Field(24, ge=2)
    """Most windows measured of each text."""
    batch_size: int = Field(1, ge=1)
    """Windows in an optimizer step."""
    rates: Annotated[tuple[float, ...], BeforeValidator(split_commas), Field(min_length=1)] = (5e-4,)
    """Learning rates; of several, lora's best on the first seed is taken for all arms."""
    rank: int = Field(16, ge=1)
    """Rank of the adapter, of all linear layers; alpha is twice that."""
    method: str = "lora"
    """How the adapter is trained: lora or plora."""
    method_settings: dict[str, Any] = Field(default_factory=dict)
    """Of the method; for plora such as {"interval": 20}."""
    save_every: int = Field(8, ge=1)
    """Optimizer steps between checkpoints, from which a killed training goes on."""
    dtype: Dtype = "bf16"
    """Type of the frozen weights."""
    chunker: str = "sentence"
    """Where a chunk ends."""
    max_chunk: int = Field(128, ge=1)
    """A longer chunk is closed wherever it is."""
    n_sr: int = Field(1, ge=1)
    """Sentinels at the end of each chunk."""
    window: int = Field(128, ge=1)
    """The smallest of the three windows (1, 2 and 4 times this) under which a third of the texts is shown."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_profile(cls, values: Any) -> Any:
        profile = PROFILES.get(values.get("profile", "cpu"), {}) if isinstance(values, Mapping) else {}
        return {**profile, **values} if profile else values

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(arm(name).name for name in names)

    @model_validator(mode="after")
    def _has_both(self) -> "CompareConfig":
        for needed in ("lora", "sr"):
            if needed not in self.arms:
                raise ValueError(f"arms are {', '.join(self.arms)}; {needed} is what others are compared with, so add it")
        if self.max_chunk > self.window:
            raise ValueError(
                f"max_chunk is {self.max_chunk}, but some texts are shown with {self.window} tokens visible, so a sentinel "
                "would miss the beginning of its chunk; lower max_chunk or raise window"
            )
        return self

    @property
    def sentinel(self) -> SentinelConfig:
        return parse(SentinelConfig, {"chunker": self.chunker, "max_chunk": self.max_chunk, "n_sr": self.n_sr})

    def learn(self, rate: float) -> LearnConfig:
        """The settings of a training at this rate."""
        tune = {
            "method": self.method,
            "settings": self.method_settings,
            "lora": {"rank": self.rank, "alpha": 2.0 * self.rank},
            "training": {
                "batch_size": self.batch_size,
                "learning_rate": rate,
                "warmup_steps": 10,
                "beta2": 0.99,
                "save_every": self.save_every,
            },
        }
        windows = (self.window, 2 * self.window, 4 * self.window)
        return parse(LearnConfig, {"length": self.length, "windows": windows, "tune": tune})
