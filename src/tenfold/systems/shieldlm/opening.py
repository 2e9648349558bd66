"""From a name to a guard: the folder of a `train` or `calibrate` run, or any causal LM as it is.

A trained update is merged once and kept in the user's cache under the adapter's checksum, so that a guard loads as fast as
its base.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peft import PeftModel

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.nn import models
from tenfold.nn.fingerprints import fingerprint as model_fingerprint
from tenfold.nn.models import Dtype, LoadedModel
from tenfold.store import atomic
from tenfold.store.artifacts import cache_folder, sha256
from tenfold.systems.shieldlm.calibrator import Calibrator
from tenfold.systems.shieldlm.guard import MOST_TOKENS, Guard
from tenfold.systems.shieldlm.prompting import LANGS, Style, fingerprint
from tenfold.systems.shieldlm.rules import read_pack
from tenfold.systems.shieldlm.verdict import VerdictScorer

GUARD = "guard.json"
ADAPTER = "adapter"
CALIBRATION = "calibration.json"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class GuardFile:
    """What a guard's folder says about itself."""

    model: str
    style: Style = "short"
    wrapper: str = "none"
    prompts: Mapping[str, str] = field(default_factory=dict)
    packs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    adapter: str | None = None
    trained_on: Sequence[str] = ()
    covered: Mapping[str, str] = field(default_factory=dict)
    """OpenAI's categories that the model was trained to name, and how it names them."""
    folder: Path | None = None


def is_guard(name: str) -> bool:
    """Whether the name is the folder of a guard."""
    return (guard_folder(name) / GUARD).is_file()


def guard_folder(name: str) -> Path:
    """The folder that a name means; guard.json itself may be named, as recipes do."""
    path = Path(name)
    return path.parent if path.name == GUARD else path


def read_guard(name: str) -> GuardFile:
    """What a guard's folder says; a model's name alone is an untrained guard.

    Raises:
        ConfigError: the folder was written for other prompts or packs than these.
        MissingArtifactError: a folder that holds neither a guard nor a model.
    """
    folder = guard_folder(name)
    if not is_guard(name):
        if (folder / "config.toml").is_file():
            raise MissingArtifactError(f"the run {name!r} holds no {GUARD}; finish `shieldlm train` there first (--resume)")
        return GuardFile(model=name)
    kept = json.loads((folder / GUARD).read_text(encoding="utf-8"))
    return GuardFile(folder=folder, **kept)


def open_scorer(name: str, *, dtype: Dtype = "auto") -> VerdictScorer:
    """The scorer of a guard's folder or of a plain model."""
    file = read_guard(name)
    return VerdictScorer(load_model(file, dtype=dtype), style=file.style, wrapper=file.wrapper)


def open_guard(
    name: str,
    *,
    packs: Sequence[str] = ("base-en", "base-zh"),
    dtype: Dtype = "auto",
    max_tokens: int = MOST_TOKENS,
    scorer: VerdictScorer | None = None,
) -> Guard:
    """The guard of a folder or model, with its calibration if there is one.

    Raises:
        ConfigError: its thresholds belong to another model, prompt or pack.
    """
    file = read_guard(name)
    scorer = scorer or open_scorer(name, dtype=dtype)
    return Guard(
        scorer,
        read_calibrator(file.folder),
        [read_pack(pack) for pack in packs],
        ids=identity(scorer),
        max_tokens=min(max_tokens, scorer.model.engine.max_positions - 16),
    )


def identity(scorer: VerdictScorer) -> dict[str, str]:
    """Hashes of the model and of the prompts."""
    found = {"model": model_fingerprint(scorer.model)[:16]}
    for lang in LANGS:
        found[f"prompt-{lang}"] = fingerprint(scorer.style, lang, scorer.order, scorer.wrapper)  # pyright: ignore
    return found


def read_calibrator(folder: Path | None) -> Calibrator | None:
    """The calibration beside a guard, if there is one."""
    path = None if folder is None else folder / CALIBRATION
    if path is None or not path.is_file():
        return None
    try:
        return Calibrator.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is no calibration ({type(error).__name__}); calibrate again") from None


def load_model(file: GuardFile, *, dtype: Dtype = "auto") -> LoadedModel:
    """The model of a guard, its update merged."""
    if file.adapter is None or file.folder is None:
        return models.load(file.model, dtype=dtype)
    adapter = file.folder / file.adapter
    if not (adapter / WEIGHTS).is_file():
        raise MissingArtifactError(f"no {WEIGHTS} in {str(adapter)!r}; train again with --resume")
    base = models.resolve(file.model)
    name = hashlib.sha256(f"{base}{sha256(adapter / WEIGHTS)}".encode()).hexdigest()[:16]
    merged = atomic.build_folder(cache_folder() / "guards" / name, lambda folder: _merge(base, adapter, folder))
    return models.load(str(merged), dtype=dtype)


def _merge(base: str, adapter: Path, folder: Path) -> None:
    """Base plus update, added in float32 and kept in the base's own type."""
    with models.quiet():
        plain = models.load_transformers(base)
        kept_type = plain.dtype
        whole: Any = PeftModel.from_pretrained(plain.float(), str(adapter)).merge_and_unload()  # pyright: ignore
        whole.to(kept_type).save_pretrained(folder)
        models.load_tokenizer(base).save_pretrained(folder)
    checksums = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    atomic.write_json(folder / models.RECORD, {"source": adapter.name, "sha256": checksums})
