"""Documents to ground in, and clipping: the sentences that matter most for an entity, with their places in the original.

The score of a sentence is the paper's: TF-IDF fitted on the entity's own sentences, summed over the words of the title.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.core.errors import ConfigError
from tenfold.systems.slotsum.tokens import words

SENTENCE = re.compile(r"[^。！？!?.\n]+(?:[。！？!?]|\.(?!\s)[^。！？!?.\n]*)*[.。！？!?]*[\"”’)]*")
MOST_WORDS = 200
MOST_SENTENCES = 100


@dataclass(frozen=True)
class Document:
    """A text with a name by which provenance points at it."""

    id: str
    text: str


@dataclass(frozen=True)
class Sentence:
    """Characters [start, end) of a document, and how much they are about the title."""

    doc_id: str
    start: int
    end: int
    text: str
    score: float = 0.0


def read_documents(rows: Sequence[Any]) -> list[Document]:
    """Documents from plain texts, or `{"id", "text"}` mappings.

    Raises:
        ConfigError: no document, an empty one, or two of one id.
    """
    if not rows:
        raise ConfigError("there are no documents; give at least one text")
    documents = [_read(row, number) for number, row in enumerate(rows, start=1)]
    empty = next((document for document in documents if not document.text.strip()), None)
    if empty is not None:
        raise ConfigError(f"document {empty.id!r} is empty; leave it out or give its text")
    repeated = next((name for name, count in Counter(one.id for one in documents).items() if count > 1), None)
    if repeated is not None:
        raise ConfigError(f"two documents have the id {repeated!r}; give each its own")
    return documents


def _read(row: Any, number: int) -> Document:
    if isinstance(row, Document):
        return row
    if isinstance(row, str):
        return Document(f"d{number}", row)
    if isinstance(row, Mapping) and "text" in row:
        return Document(str(row.get("id", f"d{number}")), str(row["text"]))
    raise ConfigError(f'document {number} is {type(row).__name__}; give a text, or {{"id": "...", "text": "..."}}')


def sentences(document: Document) -> Iterator[Sentence]:
    """The document's sentences, in order, without white space around them."""
    for match in SENTENCE.finditer(document.text):
        bare = match[0].strip()
        if bare:
            start = match.start() + match[0].index(bare)
            yield Sentence(document.id, start, start + len(bare), bare)


def clip(documents: Sequence[Document], title: str, *, most: int = MOST_SENTENCES) -> list[Sentence]:
    """The sentences most about the title, best first; equal ones keep their order. None of more than 200 words."""
    every = [sentence for document in documents for sentence in sentences(document)]
    bags = [Counter(words(sentence.text)) for sentence in every]
    wanted = set(words(re.sub(r"\([^()]*\)", "", title.replace("_", " "))))
    weights = _inverse_frequencies(bags)
    scored = [
        Sentence(one.doc_id, one.start, one.end, one.text, _score(bag, wanted, weights))
        for one, bag in zip(every, bags, strict=True)
        if bag.total() <= MOST_WORDS
    ]
    return sorted(scored, key=lambda sentence: -sentence.score)[:most]


def _inverse_frequencies(bags: Sequence[Counter[str]]) -> dict[str, float]:
    """Smoothed as scikit-learn does it, whose vectoriser the paper's code used."""
    seen = Counter(word for bag in bags for word in bag)
    return {word: math.log((1 + len(bags)) / (1 + count)) + 1 for word, count in seen.items()}


def _score(bag: Counter[str], wanted: set[str], weights: Mapping[str, float]) -> float:
    """The title's words in a sentence's normalised TF-IDF vector."""
    length = math.sqrt(sum((count * weights[word]) ** 2 for word, count in bag.items())) or 1.0
    return sum(bag[word] * weights[word] for word in wanted if word in bag) / length


def source_text(chosen: Sequence[Sentence], *, most_words: int = 10**6) -> tuple[str, list[Sentence]]:
    """Sentences as one text for a model, in order of rank, and those that fitted whole into `most_words`."""
    kept: list[Sentence] = []
    room = most_words
    for sentence in chosen:
        room -= len(words(sentence.text))
        if room < 0 and kept:
            break
        kept.append(sentence)
    return " ".join(sentence.text for sentence in kept), kept
