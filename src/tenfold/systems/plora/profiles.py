"""The settings of a comparison, and its three profiles: the one place where their numbers stand.

`cpu` is the default. Its rows are cut so that the whole table takes `minutes`: at 150 training and 600 evaluation
tokens a second on two quiet cores, with 25 seconds for each unit to start and one tenth more for the other methods
than for LoRA.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tenfold.core.config import Config, Names, split_commas
from tenfold.nn.models import Dtype
from tenfold.train.adapters import ALL_LINEAR

MethodName = Literal["lora", "plora", "plora-exact", "relora", "lora-wide", "fullft"]
ProfileName = Literal["tiny", "cpu", "gpu"]

PROFILES: Mapping[str, Mapping[str, Any]] = {
    "cpu": {},
    "tiny": {
        "model": "random",
        "data": "arithmetic",
        "minutes": None,
        "rows": 80,
        "probe_rows": 16,
        "dev_rows": 16,
        "text_blocks": 4,
        "text_length": 64,
        "batch_size": 4,
        "stages_per_epoch": 2,
        "targets": ["q_proj", "v_proj", "down_proj"],
        "rank": 1,
        "alpha": 2.0,
        "adapter_rates": [1e-2],
        "full_rates": [2e-3],
        "save_every": 10,
    },
    "gpu": {
        "minutes": None,
        "rows": 6973,
        "probe_rows": 256,
        "dev_rows": 500,
        "exact_rows": 1319,
        "text_blocks": 64,
        "max_length": 640,
        "dtype": "bf16",
        "autocast": True,
        "epochs": 3,
        "batch_size": 32,
        "stages_per_epoch": 10,
        "rewarm_steps": 5,
        "adapter_rates": [2e-4, 6e-4, 2e-3],
        "full_rates": [1e-5, 3e-5, 1e-4],
        "seeds": [0, 1, 2, 3, 4],
        "save_every": 200,
    },
}


class CompareConfig(Config):
    """Compare LoRA, PeriodicLoRA, ReLoRA, a wide LoRA and full fine-tuning on the same rows, in the same order."""

    profile: ProfileName = "cpu"
    """Which numbers all other settings start from: cpu (these defaults), tiny (a random model) or gpu."""
    model: str = "smollm2"
    """Model to fine-tune: an alias, a folder, a .gguf file or a hub id; random: a tiny one of our own."""
    data: str = "auto"
    """Rows: gsm8k, arithmetic (our own) or a JSONL file; auto: gsm8k if it is on this machine, else arithmetic."""
    methods: Annotated[tuple[MethodName, ...], BeforeValidator(split_commas)] = (
        "lora",
        "plora",
        "plora-exact",
        "relora",
        "lora-wide",
        "fullft",
    )
    """What to compare; lora is always among them."""
    seeds: Annotated[tuple[int, ...], BeforeValidator(split_commas), Field(min_length=1)] = (0,)
    """Each method is trained once for each of these."""
    minutes: float | None = Field(40.0, gt=0)
    """Cut the rows so that the table takes about as long; none takes all rows."""
    train_tokens_per_second: float = Field(150.0, gt=0)
    """What minutes counts on while training."""
    evaluation_tokens_per_second: float = Field(600.0, gt=0)
    """What minutes counts on while measuring."""
    rows: int = Field(256, ge=2)
    """Train on at most this many rows."""
    probe_rows: int = Field(48, ge=2)
    """Training rows whose loss is measured at the end: has it learned what it was shown?"""
    dev_rows: int = Field(48, ge=2)
    """Rows held out whose loss is measured at the end."""
    exact_rows: int = Field(0, ge=0)
    """Rows never trained on for which the final number is generated and compared; 0: none."""
    text_blocks: int = Field(16, ge=1)
    """Blocks of fixed text whose loss tells what was forgotten."""
    text_length: int = Field(128, ge=8)
    """Tokens in such a block."""
    max_length: int = Field(256, ge=8)
    """Longest row in tokens; longer answers are cut."""
    dtype: Dtype = "fp32"
    """Type of the frozen weights; full fine-tuning always trains fp32 ones."""
    autocast: bool = False
    """Compute products in bf16, for graphics processors."""
    rank: int = Field(2, ge=1)
    """Rank of a live pair."""
    alpha: float = Field(4.0, gt=0)
    """The update is scaled by alpha / rank, also that of the wide LoRA."""
    targets: Names = (ALL_LINEAR,)
    """Linear layers to adapt; `all-linear` takes all but the head."""
    epochs: int = Field(2, ge=1)
    """Passes over the rows."""
    batch_size: int = Field(4, ge=1)
    """Rows in one optimizer step."""
    stages_per_epoch: int = Field(3, ge=1)
    """Stages of the methods that unload, in each epoch."""
    momentum: float = Field(0.5, gt=0, lt=1)
    """Share that plora-exact unloads."""
    rewarm_steps: int = Field(2, ge=1)
    """Steps in which relora's rate comes back after a restart."""
    adapter_rates: Annotated[tuple[float, ...], BeforeValidator(split_commas), Field(min_length=1)] = (1e-3,)
    """Learning rates of the methods with adapters; of several, the best on dev under the first seed is taken."""
    full_rates: Annotated[tuple[float, ...], BeforeValidator(split_commas), Field(min_length=1)] = (5e-5,)
    """Learning rates of full fine-tuning."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The course of the rate, in every method."""
    warmup_steps: int = Field(0, ge=0)
    """Steps in which the rate rises from 0."""
    beta2: float = Field(0.99, gt=0, lt=1)
    """AdamW's decay of the second moment; short stages want a short memory."""
    save_every: int = Field(24, ge=1)
    """Optimizer steps between checkpoints, from which a killed unit goes on."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_profile(cls, values: Any) -> Any:
        profile = PROFILES.get(values.get("profile", "cpu"), {}) if isinstance(values, Mapping) else {}
        return {**profile, **values} if profile else values

    @model_validator(mode="after")
    def _has_lora(self) -> "CompareConfig":
        if "lora" not in self.methods:
            raise ValueError(f"methods are {', '.join(self.methods)}; everything is compared with lora, so add it")
        return self

    @property
    def num_units(self) -> int:
        """Trainings in all: each method at all its rates under the first seed, and at its best one under the others."""
        return sum(len(self.rates(method)) + len(self.seeds) - 1 for method in self.methods)

    def rates(self, method: str) -> tuple[float, ...]:
        """The rates to try."""
        return self.full_rates if method == "fullft" else self.adapter_rates
