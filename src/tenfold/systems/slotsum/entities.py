"""Entities to write about: JSON lines of {"title", "documents", "infobox"}; `entities` are twelve invented by us.

title      what the text is about
documents  texts, or {"id", "text"}
infobox    {key: value or list}, may be left out
keys       slots to use; those of the infobox if left out
target     a text to learn from or compare with
lang       en or zh
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.store.artifacts import find_data
from tenfold.systems.slotsum.documents import Document, read_documents
from tenfold.systems.slotsum.verbalise import Lang

OWN = "entities"


@dataclass(frozen=True)
class Entity:
    """A title with its documents, and what is known of it."""

    key: str
    title: str
    documents: tuple[Document, ...]
    infobox: Mapping[str, Any]
    keys: tuple[str, ...] = ()
    target: str = ""
    lang: Lang = "en"


def load_entities(name: str) -> list[Entity]:
    """The entities of a file, or our own.

    Raises:
        MissingArtifactError: no such file.
        ConfigError: a line is no entity; the message gives its number.
    """
    if name == OWN:
        with as_file(files("tenfold.systems.slotsum") / "entities.jsonl") as path:
            return _read(path)
    return _read(find_data(name))


def _read(path: Path) -> list[Entity]:
    entities = [_entity(row, number, path) for number, row in enumerate(jsonl.read(path), start=1)]
    if not entities:
        raise ConfigError(f'{path.name} is empty; give lines of {{"title", "documents", "infobox"}}')
    return entities


def _entity(row: Any, number: int, path: Path) -> Entity:
    where = f"{path.name} line {number}"
    if not isinstance(row, Mapping) or not str(row.get("title", "")).strip():
        raise ConfigError(f'{where} has no title; a line is {{"title": "...", "documents": ["..."], "infobox": {{}}}}')
    lang = row.get("lang", "en")
    if lang not in ("en", "zh"):
        raise ConfigError(f"{where}: lang is {lang!r}; word lists exist for en and zh")
    try:
        documents = tuple(read_documents(row.get("documents", ())))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    keys = tuple(str(key) for key in row.get("keys", ()))
    target = str(row.get("target", ""))
    return Entity(str(row.get("id", number)), str(row["title"]), documents, row.get("infobox") or {}, keys, target, lang)
