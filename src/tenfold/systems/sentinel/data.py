"""Texts to train and to measure on, by name, split into documents that are never on both sides.

    wikitext    valid.txt of WikiText-2: articles 1-48 train, 49-60 dev
    gutenberg   books: six dev books, the rest train; hard line breaks inside paragraphs are joined
    economics   a textbook, dev only: out of domain
    stories     TinyStories: the last tenth is dev
    sample      30 paragraphs of our own, for smoke tests: the last six are dev
    PATH        a .txt file or a folder of them: the last tenth is dev

Windows are disjoint pieces of one document; the first token of each is given and not measured.
"""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.core.seeds import derive
from tenfold.store.artifacts import data_folder
from tenfold.systems.sentinel.pieces import Codec

Split = Literal["train", "dev"]
ARTICLE = re.compile(r"^ = [^=].* = $", re.MULTILINE)
HARD_BREAK = re.compile(r"(?<!\n)\n(?!\n)")
DEV_BOOKS = ("cranford", "heart_of_darkness", "room_with_view", "wuthering_heights", "frederick_douglass", "moby_dick")
NUM_TRAIN_ARTICLES = 48
LEAST_TOKENS = 64
"""A document's last, shorter window counts from this length on."""
PLACES = {
    "wikitext": "text/wikitext-2/valid.txt",
    "gutenberg": "text/gutenberg",
    "economics": "text/openstax_economics/economics_modules.txt",
    "stories": "text/tinystories/tinystories_1000.json",
}
SAMPLE_PARAGRAPHS = 6
"""Paragraphs of our own text that make a document: a few windows of 128 tokens."""


@dataclass(frozen=True)
class Document:
    """A text with its name."""

    id: str
    text: str


@dataclass(frozen=True)
class Window:
    """Original tokens of one document."""

    document: str
    number: int
    ids: tuple[int, ...]


def documents(name: str, split: Split) -> list[Document]:
    """The documents of one side.

    Raises:
        MissingArtifactError: the text is not on this machine.
        ConfigError: there is no document on this side.
    """
    if name == "sample":
        paragraphs = _sample()
        mine = paragraphs[:24] if split == "train" else paragraphs[24:]
        starts = range(0, len(mine), SAMPLE_PARAGRAPHS)
        texts = ["\n\n".join(mine[start : start + SAMPLE_PARAGRAPHS]) for start in starts]
        found = [Document(f"sample-{split}-{number}", text) for number, text in enumerate(texts)]
    elif name in PLACES:
        found = {"wikitext": _wikitext, "gutenberg": _gutenberg, "economics": _economics, "stories": _stories}[name](split)
    else:
        found = _own(Path(name), split)
    if not any(document.text.strip() for document in found):
        raise ConfigError(f"text {name!r} has nothing on its {split} side; give a longer text, or another one")
    return found


def windows(
    name: str, split: Split, codec: Codec, *, length: int, skip: int = 0, per_document: int | None = None
) -> list[Window]:
    """Disjoint windows of `length` tokens, document by document.

    Args:
        skip: characters left out at the beginning of each document, such as a title page.
        per_document: at most so many windows of each.
    """
    found = []
    for document in documents(name, split):
        text = document.text[skip:]
        if per_document:
            text = text[: per_document * length * 8]
        ids = [*codec.beginning, *codec.encode(text)]
        pieces = [ids[start : start + length] for start in range(0, len(ids), length)]
        pieces = [piece for piece in pieces if len(piece) >= min(LEAST_TOKENS, length)][:per_document]
        found += [Window(document.id, number, tuple(piece)) for number, piece in enumerate(pieces)]
    if not found:
        raise ConfigError(f"text {name!r} has no window of {LEAST_TOKENS} tokens on its {split} side; give a longer text")
    return found


def training_windows(names: Sequence[str], codec: Codec, *, length: int, tokens: int, seed: int) -> list[Window]:
    """Windows of all named texts in turn, shuffled by the seed, until `tokens` are reached.

    Raises:
        ConfigError: the texts are too short.
    """
    streams = []
    for name in names:
        few = None if name != "gutenberg" else max(1, tokens // length // 10)
        stream = windows(name, "train", codec, length=length, per_document=few)
        random.Random(derive(seed, "windows", name)).shuffle(stream)
        streams.append(stream[::-1])
    taken: list[Window] = []
    while sum(len(window.ids) for window in taken) < tokens:
        stream = streams[len(taken) % len(streams)] or next((stream for stream in streams if stream), None)
        if not stream:
            total = sum(len(window.ids) for window in taken)
            raise ConfigError(f"{', '.join(names)} hold {total} tokens to train on, {tokens} were asked for; lower tokens")
        taken.append(stream.pop())
    return taken


def unwrapped(text: str) -> str:
    """The text with hard line breaks inside paragraphs joined by spaces."""
    return HARD_BREAK.sub(" ", text)


def read_place(place: str) -> Path:
    """A file or folder under the data folder.

    Raises:
        MissingArtifactError: it is not there.
    """
    path = data_folder() / place
    if not path.exists():
        raise MissingArtifactError(
            f"text {place!r} is not in {data_folder()}; set TENFOLD_DATA, or use data=sample or a file"
        )
    return path


@cache
def _sample() -> tuple[str, ...]:
    text = (files("tenfold.systems.sentinel") / "sample.txt").read_text(encoding="utf-8")
    return tuple(part.strip() for part in text.split("\n\n") if part.strip())


def _wikitext(split: Split) -> list[Document]:
    text = read_place(PLACES["wikitext"]).read_text(encoding="utf-8")
    starts = [match.start() for match in ARTICLE.finditer(text)]
    ends = [*starts[1:], len(text)]
    articles = [Document(f"wikitext-{n}", text[a:b]) for n, (a, b) in enumerate(zip(starts, ends, strict=True), 1)]
    return articles[:NUM_TRAIN_ARTICLES] if split == "train" else articles[NUM_TRAIN_ARTICLES:]


def _gutenberg(split: Split) -> list[Document]:
    paths = sorted(read_place(PLACES["gutenberg"]).glob("*.txt"))
    chosen = [path for path in paths if (path.stem in DEV_BOOKS) == (split == "dev")]
    return [Document(path.stem, unwrapped(path.read_text(encoding="utf-8"))) for path in chosen]


def _economics(split: Split) -> list[Document]:
    if split == "train":
        return []
    text = read_place(PLACES["economics"]).read_text(encoding="utf-8")
    return [Document(f"economics-{n}", text[start : start + 40_000]) for n, start in enumerate(range(0, len(text), 200_000))]


def _stories(split: Split) -> list[Document]:
    texts = json.loads(read_place(PLACES["stories"]).read_text(encoding="utf-8"))
    cut = len(texts) * 9 // 10
    chosen = list(enumerate(texts))[:cut] if split == "train" else list(enumerate(texts))[cut:]
    return [Document(f"story-{n}", text) for n, text in chosen]


def _own(path: Path, split: Split) -> list[Document]:
    if path.is_dir():
        paths = sorted(path.glob("*.txt"))
        cut = max(1, len(paths) * 9 // 10)
        return [Document(p.stem, p.read_text(encoding="utf-8")) for p in (paths[:cut] if split == "train" else paths[cut:])]
    if not path.is_file():
        known = ", ".join(["sample", *PLACES])
        raise MissingArtifactError(f"no text {str(path)!r}; give a .txt file, a folder of them, or one of {known}")
    text = path.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    return [Document(path.stem, text[:cut] if split == "train" else text[cut:])]
