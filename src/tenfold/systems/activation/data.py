"""Texts by domain and graded pairs of sentences: our own, those under TENFOLD_DATA, or the user's folder.

Length alone would tell domains apart, so all texts of a comparison are cut to one token count, a short text being joined
with those after it. Texts of different sets, and of different parts of one set, share nothing.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError, MissingArtifactError, UnknownNameError, UserError
from tenfold.store.artifacts import find_data
from tenfold.systems.activation.opened import OpenedModel

OWN, SHARED = "own", "shared"
OWN_TEXTS = Path(__file__).parent / "texts"
DOMAINS = ("wiki", "medical", "legal", "code", "math")
MORE = ("economics", "dialogue", "books")
SHORTEST_PARAGRAPH = 200
BOOKS = ("pride_and_prejudice", "sherlock_holmes", "moby_dick", "great_expectations", "war_and_peace", "dracula")


@dataclass(frozen=True)
class Pair:
    """Two sentences with their graded likeness, from 0 or 1 (nothing in common) to 5 (the same)."""

    first: str
    second: str
    score: float


@dataclass(frozen=True)
class Piece:
    """A text of a set, already cut: its tokens and how to find it again."""

    key: str
    domain: str
    ids: tuple[int, ...]


def load_texts(source: str, domain: str) -> list[str]:
    """All texts of a domain, in a fixed order.

    Args:
        source: `own`, `shared`, or a folder that holds DOMAIN.txt (texts parted by blank lines) or DOMAIN.jsonl ({"text"}).

    Raises:
        MissingArtifactError: the source has no such domain, or its file is not here.
    """
    if source == OWN:
        return _read_file(OWN_TEXTS, domain)
    if source == SHARED:
        if domain not in READERS:
            raise UnknownNameError("domain", domain, READERS)
        return list(READERS[domain]())
    return _read_file(Path(source), domain)


def cut(opened: OpenedModel, texts: Sequence[str], domain: str, *, tokens: int, count: int, skip: int = 0) -> list[Piece]:
    """`count` pieces of exactly `tokens` tokens after leaving out the first `skip`; fewer where the texts run out.

    Raises:
        UserError: the texts do not give a single piece.
    """
    found: list[Piece] = []
    for place, text in enumerate(_joined(opened.encode, texts, tokens)):
        if len(found) == count:
            break
        if place >= skip:
            found.append(Piece(f"{domain}-{place}", domain, tuple(opened.ids(text, tokens))))
    if not found:
        raise UserError(f"the texts of {domain!r} give no piece of {tokens} tokens after the first {skip}; lower the length")
    return found


def load_pieces(opened: OpenedModel, source: str, domain: str, *, tokens: int, count: int, skip: int = 0) -> list[Piece]:
    """`load_texts`, then `cut`."""
    return cut(opened, load_texts(source, domain), domain, tokens=tokens, count=count, skip=skip)


@dataclass(frozen=True)
class Split:
    """Texts of one domain for three uses that must not share any."""

    calibration: list[str]
    dev: list[str]
    report: list[str]


def split(source: str, domain: str) -> Split:
    """Texts to prune by, to choose by, and to report on: wikitext-2 by article (40, 8, 12), others 3:1:1."""
    wiki = source == SHARED and domain == "wiki"
    texts = wikitext_articles() if wiki else load_texts(source, domain)
    first, second = (40, 48) if wiki else (len(texts) * 3 // 5, len(texts) * 4 // 5)
    return Split(texts[:first], texts[first:second], texts[second:])


def blocks(opened: OpenedModel, texts: Sequence[str], tokens: int) -> list[tuple[int, ...]]:
    """All texts as one stream, in blocks of equal length; a rest is dropped.

    Raises:
        UserError: they do not fill one block.
    """
    stream = [token for text in texts for token in opened.encode(f"{text}\n\n")]
    found = [tuple(stream[start : start + tokens]) for start in range(0, len(stream) - tokens + 1, tokens)]
    if not found:
        raise UserError(f"the texts have {len(stream)} tokens, too few for one block of {tokens}; lower the length")
    return found


def drawn(blocks: Sequence[tuple[int, ...]], count: int, *, seed: int) -> list[tuple[int, ...]]:
    """At most so many blocks in a seeded order."""
    order = np.random.default_rng(seed).permutation(len(blocks))
    return [blocks[place] for place in order[:count]]


def evenly(blocks: Sequence[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """At most so many blocks at equal distances."""
    count = min(count, len(blocks))
    return [blocks[place * len(blocks) // count] for place in range(count)]


def load_pairs(name: str, part: str) -> list[Pair]:
    """Graded pairs: `own`, `stsb` (parts train, dev) or `sick` (parts train, dev, which is its trial set).

    Raises:
        MissingArtifactError: the data set is not here.
        UnknownNameError: no such set.
    """
    if name == OWN:
        lines = (OWN_TEXTS / "pairs.tsv").read_text(encoding="utf-8").splitlines()
        rows = [line.split("\t") for line in lines]
        return [Pair(a, b, float(score)) for score, a, b in rows[part == "train" :: 2]]
    if name == "stsb":
        path = find_data("stsb") / f"stsb-en-{part}.csv"
        return [Pair(row[0], row[1], float(row[2])) for row in _csv(path, ",")]
    if name == "sick":
        path = find_data("sick") / ("SICK_train.txt" if part == "train" else "SICK_trial.txt")
        return [Pair(row[1], row[2], float(row[3])) for row in _csv(path, "\t")[1:]]
    raise UnknownNameError("set of pairs", name, [OWN, "stsb", "sick"])


def wikitext_articles() -> list[str]:
    """The 60 articles of wikitext-2 valid, each as one text."""
    articles: list[list[str]] = []
    for line in (find_data("texts") / "wikitext-2" / "valid.txt").read_text(encoding="utf-8").splitlines():
        stripped = line.strip()
        if stripped.startswith("= ") and not stripped.startswith("= =") and stripped.endswith(" ="):
            articles.append([])
        if articles:
            articles[-1].append(stripped)
    return ["\n".join(article) for article in articles]


def _joined(encode: Callable[[str], list[int]], texts: Sequence[str], tokens: int) -> Iterator[str]:
    """Texts, each joined with those after it until it has enough tokens; a rest that is too short is dropped."""
    text = ""
    for part in texts:
        text = f"{text}\n\n{part}" if text else part
        if len(encode(text[: tokens * 12])) >= tokens:
            yield text
            text = ""


def _read_file(folder: Path, domain: str) -> list[str]:
    rows, plain = folder / f"{domain}.jsonl", folder / f"{domain}.txt"
    if rows.is_file():
        try:
            return [str(row["text"]) for row in jsonl.read(rows)]
        except (KeyError, TypeError):
            raise ConfigError(f'{rows}: a line lacks "text"; {{"text"}} objects are accepted') from None
    if not plain.is_file():
        have = sorted({path.stem for path in folder.glob("*.txt")} | {path.stem for path in folder.glob("*.jsonl")})
        raise MissingArtifactError(f"no texts {domain!r} in {str(folder)!r}; it holds {', '.join(have) or 'none'}")
    return [text for text in plain.read_text(encoding="utf-8").strip().split("\n\n") if text.strip()]


def _csv(path: Path, delimiter: str) -> list[list[str]]:
    if not path.is_file():
        raise MissingArtifactError(f"no file {str(path)!r}; set TENFOLD_DATA to the folder that holds the data sets")
    quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file, delimiter=delimiter, quoting=quoting) if len(row) >= 3]


def _wiki() -> Iterator[str]:
    for article in wikitext_articles():
        yield from (line for line in article.splitlines() if len(line) >= SHORTEST_PARAGRAPH)


def _medical() -> Iterator[str]:
    rows = json.loads((find_data("domains") / "medical_pubmedqa_pqal.json").read_text(encoding="utf-8"))
    return (" ".join(row["CONTEXTS"]) for row in rows.values())


def _legal() -> Iterator[str]:
    return (row["text"] for row in jsonl.read(find_data("domains") / "legal_legalbench_ccby.jsonl"))


def _code() -> Iterator[str]:
    return (row["prompt"].strip("\n") for row in jsonl.read(find_data("domains") / "code_HumanEval.jsonl"))


def _math() -> Iterator[str]:
    return (row["question"] for row in jsonl.read(find_data("gsm8k-train")))


def _economics() -> Iterator[str]:
    text = (find_data("texts") / "openstax_economics" / "economics_modules.txt").read_text(encoding="utf-8")
    return (line for line in text.splitlines() if len(line) >= SHORTEST_PARAGRAPH)


def _dialogue() -> Iterator[str]:
    for meeting in jsonl.read(find_data("texts") / "qmsum" / "val.jsonl"):
        turns = [f"{turn['speaker']}: {turn['content']}" for turn in meeting["meeting_transcripts"]]
        yield from ("\n".join(turns[start : start + 8]) for start in range(0, len(turns), 8))


def _books() -> Iterator[str]:
    """Paragraphs of several books in turn, from behind their front matter."""
    columns: list[list[str]] = []
    for book in BOOKS:
        path = find_data("texts") / "gutenberg" / f"{book}.txt"
        if path.is_file():
            paragraphs = path.read_text(encoding="utf-8", errors="replace").split("\n\n")
            long = [" ".join(text.split()) for text in paragraphs if len(text) >= SHORTEST_PARAGRAPH]
            columns.append(long[20:])
    for row in zip(*columns, strict=False):
        yield from row


READERS: dict[str, Callable[[], Iterator[str]]] = {
    "wiki": _wiki,
    "medical": _medical,
    "legal": _legal,
    "code": _code,
    "math": _math,
    "economics": _economics,
    "dialogue": _dialogue,
    "books": _books,
}
