"""The verb `generate`: one prompt, its continuation as it is certain, and what speculation did on the way."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import field_validator
from transformers import PreTrainedTokenizerBase

from tenfold.core.config import Names
from tenfold.core.errors import MissingArtifactError, UserError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.nn.generation import Generation
from tenfold.nn.generation import generate as generate_plainly
from tenfold.nn.kv_cache import KVCache
from tenfold.nn.models import Dtype, LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.store.environment import peak_memory
from tenfold.store.runs import Run
from tenfold.systems.specdec.draft_length import AUTO, NumDraft, draft_length_for
from tenfold.systems.specdec.drafters import making
from tenfold.systems.specdec.rounds import acceptance_by_position, draft_precision, mean_accepted_tokens
from tenfold.systems.specdec.speculate import Silent, speculate
from tenfold.systems.specdec.verifiers import VERIFIERS
from tenfold.systems.specdec.verifiers.coupled import Coupled

STDIN = "-"


class GenerateConfig(GenerationSettings):
    """Continue a prompt by speculative decoding."""

    prompt: str | None = None
    """The prompt; - reads it from standard input."""
    prompt_file: Path | None = None
    """A file that holds the prompt."""
    chat: bool = True
    """Put the prompt into the model's chat template; --no-chat continues the bare text."""
    model: str = "smollm2"
    """Model: smollm2, a folder, a .gguf file or a hub id."""
    drafter: str = "ngram"
    """Who guesses."""
    drafter_options: Names = ()
    """Options of the drafter, as key=value."""
    verifier: str = "auto"
    """What of a draft is kept: auto (greedy, or block when sampling) or one by name."""
    allow_lossy: bool = False
    """Consent to a verifier that changes the text's law."""
    num_draft: NumDraft = AUTO
    """Most drafted tokens per pass, or auto: the number that this machine's pass times make fastest."""
    dtype: Dtype = "auto"
    """Weights: auto (as stored), bf16 or fp32."""
    check: Literal["none", "plain"] = "none"
    """plain: decode once more without speculation and compare, token for token."""

    @field_validator("verifier")
    @classmethod
    def _known_verifier(cls, name: str) -> str:
        return name if name == "auto" else VERIFIERS.check(name)

    @field_validator("drafter")
    @classmethod
    def _known_drafter(cls, name: str) -> str:
        return making.check(name)


def generate(config: GenerateConfig, run: Run) -> Metrics:
    """Generates one text; writes it to `run.live` as it comes, and with its statistics into the run."""
    text = _prompt_text(config)
    memory_before = peak_memory()
    loaded = models.load(config.model, dtype=config.dtype)
    prompt = _prompt_ids(loaded, text, chat=config.chat)
    stopper = Stopper(
        max_new_tokens=config.max_new_tokens,
        eos_ids=loaded.eos_ids,
        stop_strings=config.stop_strings,
        tokenizer=loaded.tokenizer,
    )
    exactness = loaded.engine.exactness  # tries the pass widths now, so that the text's own time stays clean
    stream = TextStream(loaded.tokenizer, run)
    drafter = making.make(config.drafter, config.drafter_options, loaded, config)
    verifier = None if config.verifier == "auto" else VERIFIERS.load(config.verifier)()
    result = speculate(
        loaded.engine,
        prompt,
        config,
        stopper,
        drafter=drafter,
        num_draft=draft_length_for(config.num_draft, loaded),
        verifier=verifier,
        allow_lossy=config.allow_lossy,
        on_tokens=stream.put,
    )
    stream.end()
    metrics: Metrics = {
        "text": stream.text,
        "prompt_tokens": len(prompt),
        "new_tokens": len(result.tokens),
        "stop_reason": result.stop_reason,
        "seconds": result.total_ms / 1000,
        "prefill_seconds": result.prefill_ms / 1000,
        "tokens_per_second": len(result.tokens) / max(result.total_ms / 1000, 1e-9),
        "passes": len(result.rounds),
        "mean_accepted_tokens": mean_accepted_tokens(result.rounds),
        "acceptance_by_position": acceptance_by_position(result.rounds),
        "draft_precision": draft_precision(result.rounds),
        "exactness": exactness,
        "verifier": result.verifier,
        "lossless": result.lossless,
        "dropped_drafts": list(result.dropped_drafts),
        "memory_mib": _memory(loaded, memory_before),
    }
    if config.check == "plain":
        plain = _plainly(loaded, prompt, config, stopper)
        metrics["identical"] = list(plain.tokens) == list(result.tokens)
    run.add("text", {"prompt": text, "tokens": list(result.tokens), "sources": result.sources, **metrics})
    return metrics


def summary(metrics: Metrics) -> str:
    """What a person reads below the text."""
    lines = [
        f"{metrics['new_tokens']} tokens in {metrics['seconds']:.2f} s ({metrics['tokens_per_second']:.1f} tokens/s), "
        f"{metrics['mean_accepted_tokens']:.2f} tokens per pass, stopped by {metrics['stop_reason']}"
    ]
    if "identical" in metrics:
        lines.append("identical to plain decoding" if metrics["identical"] else "NOT identical to plain decoding")
    return "\n".join(lines)


def _plainly(loaded: LoadedModel, prompt: Sequence[int], config: GenerateConfig, stopper: Stopper) -> Generation:
    """What must come out: plain greedy decoding, or, when sampling, plain decoding under the same noise per position."""
    if not config.do_sample:
        return generate_plainly(loaded.engine, prompt, config, stopper)
    if config.verifier != Coupled.name:
        raise UserError("sampled texts can be compared only under --verifier coupled; choose it or leave out --check")
    return speculate(loaded.engine, prompt, config, stopper, drafter=Silent(), num_draft=1, verifier=Coupled())


def _memory(loaded: LoadedModel, before: int) -> dict[str, float]:
    """Where the process's memory went, in MiB: `beyond` is what neither the program, the weights nor the cache explain."""
    cache = getattr(loaded.engine, "cache", None)
    parts = {
        "program": before,
        "weights": sum(file.stat().st_size for file in Path(loaded.path).glob("*.safetensors")),
        "cache": cache.buffer.nbytes if isinstance(cache, KVCache) else 0,
    }
    parts |= {"peak": (peak := peak_memory()), "beyond": peak - sum(parts.values())}
    return {name: round(num_bytes / 2**20, 1) for name, num_bytes in parts.items()}


class TextStream:
    """Turns runs of tokens into text as soon as their bytes are whole characters."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, run: Run) -> None:
        self.tokenizer, self.live = tokenizer, run.live
        self.tokens: list[int] = []
        self.text = ""

    def put(self, tokens: Sequence[int]) -> None:
        self.tokens += tokens
        text = str(self.tokenizer.decode(self.tokens, skip_special_tokens=True))
        if not text.endswith("\ufffd"):
            self._write(text)

    def end(self) -> None:
        self._write(str(self.tokenizer.decode(self.tokens, skip_special_tokens=True)))
        if self.live:
            self.live.write("\n")

    def _write(self, text: str) -> None:
        if self.live:
            self.live.write(text[len(self.text) :])
            self.live.flush()
        self.text = text


def _prompt_text(config: GenerateConfig) -> str:
    if (config.prompt is None) == (config.prompt_file is None):
        raise UserError("give either a prompt (--prompt TEXT, or - for standard input) or --prompt-file FILE")
    if config.prompt_file is not None:
        if not config.prompt_file.is_file():
            raise MissingArtifactError(f"no prompt file {str(config.prompt_file)!r}; give the path of a text file")
        return config.prompt_file.read_text(encoding="utf-8")
    return sys.stdin.read() if config.prompt == STDIN else config.prompt or ""


def _prompt_ids(loaded: LoadedModel, text: str, *, chat: bool) -> list[int]:
    if chat:
        return models.chat_ids(loaded.tokenizer, [{"role": "user", "content": text}])
    ids = models.text_ids(loaded.tokenizer, text)
    bos = loaded.tokenizer.bos_token_id
    if ids:
        return ids
    if not isinstance(bos, int):
        raise UserError("the prompt is empty and the model has no BOS token; give at least one character")
    return [bos]
