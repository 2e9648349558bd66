"""What names a loaded model's answers: checksums of its weights, its chat template, and the format it computes in.

The checksum of a converted model stands in its record. Of other weights it is computed once and kept in the user's cache,
under the file's path, size and time; so all but the first call take milliseconds.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from tenfold.core.config import canonical_json
from tenfold.nn.models import RECORD, LoadedModel
from tenfold.store import atomic
from tenfold.store.artifacts import cache_folder, sha256

WEIGHTS = ("*.safetensors", "*.bin")
SETTINGS = ("config.json", "generation_config.json", "tokenizer.json")
"""Small files without which the same weights may answer otherwise."""


def fingerprint(loaded: LoadedModel) -> str:
    """64 hexadecimal digits, the same wherever the same files are used in the same way."""
    said = [_weights(loaded), loaded.dtype, str(loaded.tokenizer.chat_template)]
    return hashlib.sha256(canonical_json(said).encode()).hexdigest()


def _weights(loaded: LoadedModel) -> Any:
    """Checksums of a folder's weights and settings by file name; for the hub the id with its commit."""
    folder = Path(loaded.path)
    if not loaded.path or not folder.is_dir():
        config = getattr(getattr(loaded.engine, "model", None), "config", None)
        return [loaded.name, getattr(config, "_commit_hash", None)]
    if (folder / RECORD).is_file():
        return json.loads((folder / RECORD).read_text())["sha256"]
    files = next((found for pattern in WEIGHTS if (found := sorted(folder.glob(pattern)))), [])
    return {file.name: checksum(file) for file in [*files, *(folder / name for name in SETTINGS)] if file.is_file()}


def checksum(file: Path) -> str:
    """The checksum of a large file, kept from the last time if path, size and time are the same."""
    stat = file.stat()
    place = hashlib.sha256(canonical_json([str(file.resolve()), stat.st_size, stat.st_mtime_ns]).encode()).hexdigest()
    kept = cache_folder() / "checksums" / place
    if not kept.is_file():
        atomic.write_text(kept, sha256(file))
    return kept.read_text()
