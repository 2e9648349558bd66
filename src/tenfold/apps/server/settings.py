"""What `tenfold serve` can be told."""

from pathlib import Path

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.nn.models import Dtype

DEFAULT_PORT = 8000
NO_DRAFTER = "none"


class ServeConfig(Config):
    """Serve a model over OpenAI's HTTP interface: chat and text completions with streaming, models, metrics, health."""

    model: str = "smollm2"
    """smollm2, a local folder, a .gguf file, or a hub id."""
    name: str = ""
    """What clients call the model; empty for the name above."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all, which wants --api-keys."""
    port: int = Field(default=DEFAULT_PORT, ge=0, le=65535)
    """Port to listen on; 0 takes a free one and prints it."""
    dtype: Dtype = "auto"
    """Weights: auto (as stored), bf16 or fp32."""
    rows: int = Field(default=8, ge=1, le=256)
    """Requests that are decoded at the same time; others wait for their turn."""
    max_waiting: int = Field(default=256, ge=0)
    """Requests that may wait for a row; more are told to come back (429)."""
    max_context: int = Field(default=4096, ge=16)
    """Most tokens of a prompt and its answer together; the model's own limit if that is lower. Bounds the cache's memory."""
    drafter: str = "ngram"
    """Who guesses tokens ahead (a drafter of `tenfold specdec`), or none."""
    drafter_options: tuple[str, ...] = ()
    """Its options, key=value."""
    num_draft: int = Field(default=5, ge=1, le=64)
    """Most guessed tokens a pass and row."""
    pass_tokens: int = Field(default=12, ge=1)
    """Tokens of a pass that are spent on guesses, shared by all rows: the more rows decode, the less each guesses."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Length of an answer whose request names none."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Longest time for one answer, in seconds, waiting included; then it ends with an error (504)."""
    grace_s: int = Field(default=30, ge=0)
    """How long answers under way may take to finish after a signal to stop, in seconds."""
    max_body_bytes: int = Field(default=4 * 2**20, ge=1)
    """Largest body of a request, in bytes; a larger one is refused (413)."""
    max_choices: int = Field(default=8, ge=1)
    """Most answers that one request may ask for (`n`)."""
    guard: str = ""
    """A guard of questions and answers: the folder of a `shieldlm train` or `calibrate` run; empty for none."""
    guard_rules: Names = ()
    """Rules it follows: names from its pack (bias:strict), or sentences."""
    api_keys: Path | None = None
    """A file with one key per line; clients must send one of them. Without it anybody may ask."""

    @property
    def served_name(self) -> str:
        """The model's name towards clients."""
        return self.name or self.model
