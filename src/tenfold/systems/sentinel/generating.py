"""The verb `generate`: continue a text with a sentinel model, and say what it kept in its cache."""

from pathlib import Path
from time import perf_counter
from typing import Any

from pydantic import Field

from tenfold.core import jsonl
from tenfold.core.config import Config, parse
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.nn.models import Dtype
from tenfold.nn.sampling import GenerationSettings
from tenfold.store.runs import Run
from tenfold.systems.sentinel.bases import open_base
from tenfold.systems.sentinel.footprint import footprint
from tenfold.systems.sentinel.items import Keeping
from tenfold.systems.sentinel.settings import Policy, SentinelConfig
from tenfold.systems.sentinel.wrapping import EngineName, Wrapped, load, wrap


class GenerateConfig(Config):
    """Continue a text; sentinels are inserted by the way, and old text leaves the cache if you say so."""

    prompt: str = ""
    """The text to continue; or give a file."""
    prompt_file: Path | None = None
    """A file with the text."""
    adapter: str = ""
    """Adapter folder of a sentinel training; empty: the model below with untrained sentinels."""
    model: str = "smollm2"
    """Base model where there is no adapter."""
    compact: bool = True
    """Let old text leave the cache; otherwise everything stays visible."""
    window: int = Field(512, ge=1)
    """Last original tokens that stay."""
    budget: int = Field(0, ge=0)
    """Most entries of the cache; 0: all sentinels stay."""
    policy: Policy = "recency"
    """Which sentinels go when they do not fit the budget."""
    scores: Path | None = None
    """For policy score: a JSONL file of {"sentinel": number in the text, "score": worth}; others count as 0."""
    reposition: bool = False
    """Let texts grow beyond the model's positions: an entry's position is its rank in the cache."""
    chat: bool = False
    """Take the text as a question and answer it in the model's chat template."""
    engine: EngineName = "auto"
    """What computes: lean, transformers, or auto."""
    dtype: Dtype = "bf16"
    """Type of the weights."""
    settings: GenerationSettings = parse(GenerationSettings, {"max_new_tokens": 128})
    """Length, sampling, stops."""


def generate(config: GenerateConfig, run: Run) -> Metrics:
    """Loads, writes as it goes, and reports the cache."""
    prompt = _prompt(config)
    lm = _open(config)
    settings = config.settings.model_dump()
    started = perf_counter()
    written = _Live(lm, run)
    if config.chat:
        text = lm.chat([{"role": "user", "content": prompt}], on_tokens=written, **settings)
    else:
        text = lm.generate(prompt, on_tokens=written, **settings)
    seconds = perf_counter() - started
    tokens, state = written.count, lm.states[0][-1]
    used = footprint(lm.engine)
    if "text" not in run.rows:
        run.add("text", {"prompt": prompt[-2000:], "text": text})
    return {
        "tokens": tokens,
        "read": state.i,
        "sentinels": state.n - state.i,
        "entries": lm.entries[0],
        "most_held": lm.most_held,
        "kv_fraction": lm.entries[0] / max(1, state.i),
        "kv_bytes": used.used,
        "entry_bytes": used.per_entry,
        "seconds": seconds,
        "text": text,
    }


class _Live:
    """Passes new text on to whoever reads along."""

    def __init__(self, lm: Wrapped, run: Run) -> None:
        self.lm, self.run, self.count = lm, run, 0

    def __call__(self, tokens: object) -> None:
        ids = list(tokens)  # pyright: ignore
        self.count += len(ids)
        if self.run.live:
            self.run.live.write(self.lm.codec.decode(ids))
            self.run.live.flush()


def _open(config: GenerateConfig) -> Wrapped:
    raw: dict[str, Any] = {"raw": "all"}
    if config.compact:
        raw = {"raw": "window", "window": config.window, "budget": config.budget, "policy": config.policy}
    if config.adapter:
        lm = load(config.adapter, engine=config.engine, dtype=config.dtype, reposition=config.reposition, **raw)
        return _scored(lm, config)
    base = open_base(config.model, dtype=config.dtype)
    chosen = parse(SentinelConfig, raw | {"max_chunk": min(128, config.window)})
    tokenizer = base.tokenizer or base.codec
    return _scored(wrap(base.model, tokenizer, chosen, engine=config.engine, reposition=config.reposition), config)


def _scored(lm: Wrapped, config: GenerateConfig) -> Wrapped:
    """The model with the scores of a file."""
    if config.scores:
        try:
            scores = {int(row["sentinel"]): float(row["score"]) for row in jsonl.read(config.scores)}
        except (KeyError, TypeError, ValueError):
            raise ConfigError(f'{config.scores}: a line is no {{"sentinel": number, "score": number}}') from None
        lm.keeping = Keeping(lm.keeping.most, scores=scores)
        lm.reset()
    return lm


def _prompt(config: GenerateConfig) -> str:
    if config.prompt and config.prompt_file:
        raise ConfigError("got both prompt and prompt_file; give one")
    if config.prompt_file and not config.prompt_file.is_file():
        raise ConfigError(f"no file {str(config.prompt_file)!r}; give the path of a text file")
    text = config.prompt_file.read_text(encoding="utf-8") if config.prompt_file else config.prompt
    if not text:
        raise ConfigError("there is no prompt; give --prompt or --prompt-file")
    return text


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return (
        f"{metrics['tokens']} tokens in {metrics['seconds']:.1f} s, {metrics['sentinels']} sentinels inserted; the cache "
        f"holds {metrics['entries']} entries for {metrics['read']} tokens, {metrics['kv_bytes'] / 2**20:.1f} MiB"
    )
