"""Documents to pre-train on: folders of text, JSON lists of texts, or the standard library of the running Python.

A document has a domain: the folder or file that it came from. What is held out is whole documents, never parts.
"""

import hashlib
import json
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.store.artifacts import data_folder

STANDARD_LIBRARY = "stdlib"
SUFFIXES = (".txt", ".md", ".rst", ".py", ".json", ".jsonl")
FORMS = "a list of texts, or of objects with a key text"
LEFT_OUT = ("test", "tests", "site-packages", "dist-packages", "encodings", "__pycache__", "pydoc_data", "idle_test")
"""Parts of the standard library that are generated tables or no part of it."""


@dataclass(frozen=True)
class Document:
    """A text with a name that is unique in its corpus."""

    id: str
    domain: str
    text: str


def read_documents(sources: Sequence[str]) -> list[Document]:
    """The documents of all sources: `stdlib`, a file or a folder, also below the data folder.

    Raises:
        MissingArtifactError: no such file or folder.
        ConfigError: a source holds no text, or a JSON file is in no known form.
    """
    found = [document for source in sources for document in _read_source(source)]
    if not found:
        raise ConfigError(f"{', '.join(sources) or 'no source'} holds no text; give stdlib or {', '.join(SUFFIXES)} files")
    return found


def split_documents(documents: Sequence[Document], share: float) -> tuple[list[Document], list[Document]]:
    """(to learn, held out): of each domain with several documents about this share is held out, chosen by their names.

    Raises:
        ConfigError: nothing is left on one side.
    """
    learned, held_out = [], []
    for domain in dict.fromkeys(document.domain for document in documents):
        own = sorted((each for each in documents if each.domain == domain), key=by_name)
        count = max(1, round(share * len(own))) if len(own) > 1 else 0
        held_out += own[:count]
        learned += own[count:]
    if not learned or not held_out:
        raise ConfigError(
            f"{len(documents)} documents cannot be split: a document is held out whole; give a domain with several of them"
        )
    return learned, held_out


def by_name(document: Document) -> str:
    """A key that shuffles documents, the same on every machine."""
    return hashlib.sha256(document.id.encode()).hexdigest()


def _read_source(source: str) -> Iterator[Document]:
    if source == STANDARD_LIBRARY:
        return _standard_library(Path(sysconfig.get_paths()["stdlib"]))
    for path in (Path(source), data_folder() / source):
        if path.is_dir():
            return _read_folder(path)
        if path.is_file():
            return _read_file(path, path.name, path.stem)
    raise MissingArtifactError(f"no text {source!r}; give {STANDARD_LIBRARY}, a file or a folder, also in {data_folder()}")


def _standard_library(root: Path) -> Iterator[Document]:
    for path in sorted(root.rglob("*.py")):
        if not any(part in LEFT_OUT for part in path.relative_to(root).parts):
            name = path.relative_to(root).as_posix()
            yield Document(f"stdlib/{name}", "python source", path.read_text(encoding="utf-8", errors="replace"))
    for name, text in sorted(topics.items()):
        yield Document(f"pydoc/{name}", "python documentation", text)


def _read_folder(root: Path) -> Iterator[Document]:
    for path in sorted(root.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            parts = path.relative_to(root).parts
            yield from _read_file(path, "/".join((root.name, *parts)), parts[0] if len(parts) > 1 else root.name)


def _read_file(path: Path, name: str, domain: str) -> Iterator[Document]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix not in (".json", ".jsonl"):
        yield Document(name, domain, text)
        return
    for place, record in enumerate(_records(path, text)):
        yield Document(f"{name}:{place}", domain, _text_of(record, path))


def _records(path: Path, text: str) -> list[Any]:
    try:
        found = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines() if line]
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON ({error}); accepted is {FORMS}") from None
    if not isinstance(found, list):
        raise ConfigError(f"{path} holds a {type(found).__name__}; accepted is {FORMS}")
    return found


def _text_of(record: Any, path: Path) -> str:
    text = record.get("text") if isinstance(record, dict) else record
    if not isinstance(text, str):
        raise ConfigError(f"{path} has an entry without text; accepted is {FORMS}")
    return text
