"""The verbs `index` and `train-head`: what some drafters need before they can draft."""

from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core import jsonl
from tenfold.core.config import Config
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.nn.models import Dtype
from tenfold.store.progress import counter
from tenfold.store.runs import Run
from tenfold.systems.specdec.drafters.train_heads import TrainHeadConfig, train_head
from tenfold.systems.specdec.index import build_index, manifest_path, read_manifest

PROMPT_KEYS = ("prompt", "question", "instruction", "text")


class IndexConfig(Config):
    """Build the suffix index of a corpus, for --drafter suffix --drafter-options index=FILE."""

    sources: tuple[Path, ...] = Field(min_length=1)
    """Text files of the corpus."""
    out: Path
    """The index to write (.npz); its manifest goes beside it."""
    licence: str
    """Licence of the corpus, kept in the manifest."""
    model: str = "smollm2"
    """Whose tokenizer the index is for."""
    max_tokens: int = Field(default=1_000_000, ge=1)
    """Most tokens to index."""


class TrainHeadVerbConfig(TrainHeadConfig):
    """Train a Medusa or EAGLE head on the model's own greedy answers to your prompts."""

    prompts: Path
    """A .jsonl file with a prompt, question, instruction, text or turns per line; never what you will measure on."""
    out: Path
    """Folder of the head; the same command goes on where it stopped."""
    num_prompts: int = Field(default=200, ge=2)
    """Use at most this many prompts."""
    model: str = "smollm2"
    """The target."""
    dtype: Dtype = "auto"
    """Weights: auto (as stored), bf16 or fp32."""


def index(config: IndexConfig, run: Run) -> Metrics:
    """Indexes the sources and says what the index holds."""
    for source in config.sources:
        if not source.is_file():
            raise MissingArtifactError(f"no text file {str(source)!r}; give the files of your corpus")
    tokenizer = models.load_tokenizer(models.resolve(config.model))
    build_index(config.sources, config.out, tokenizer, licence=config.licence, max_tokens=config.max_tokens)
    return {"index": str(config.out), "manifest": str(manifest_path(config.out))} | read_manifest(config.out).model_dump(
        mode="json"
    )


def describe_index(metrics: Metrics) -> str:
    """What a person reads."""
    sources = f"{metrics['num_tokens']} tokens of {len(metrics['sources'])} files"
    return f"{metrics['index']}: {sources}, licence {metrics['licence']}"


def train(config: TrainHeadVerbConfig, run: Run) -> Metrics:
    """Trains the head and reports how often its guesses agree with the target on held-back texts."""
    prompts = read_prompts(config.prompts)[: config.num_prompts]
    loaded = models.load(config.model, dtype=config.dtype)
    own = TrainHeadConfig.model_validate(config.model_dump(include=set(TrainHeadConfig.model_fields)))
    with counter("Training the head", config.num_steps) as advance:
        agreements = train_head(own, loaded, prompts, config.out, report=lambda step, loss: advance(step))
    return {"head": str(config.out), "prompts": len(prompts), **agreements}


def describe_head(metrics: Metrics) -> str:
    """What a person reads."""
    shares = ", ".join(f"{value:.1%}" for key, value in metrics.items() if key.startswith("agreement"))
    return f"{metrics['head']}: the head's first guess is the model's own in {shares} of held-back places (by tokens ahead)"


def read_prompts(path: Path) -> list[str]:
    """The prompts of a .jsonl file.

    Raises:
        ConfigError: a row has none of the keys that name a prompt.
    """
    return [_prompt(row, path) for row in jsonl.read(path)]


def _prompt(row: Any, path: Path) -> str:
    table = row if isinstance(row, dict) else {}
    turns = table.get("turns")
    candidates = [*(table.get(key) for key in PROMPT_KEYS), *(turns[:1] if isinstance(turns, list) else [])]
    found = next((text for text in candidates if isinstance(text, str) and text), None)
    if found is None:
        raise ConfigError(f"{path}: a row has no prompt; one of the keys {', '.join(PROMPT_KEYS)} or turns is accepted")
    return found
