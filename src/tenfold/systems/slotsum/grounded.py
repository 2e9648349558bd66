"""The benchmark `webnlg-docs`: entities with documents, true facts, and a text to match, made of WebNLG entries.

The target is one text of an entry that has several; the documents are its other texts and sentences about other
entities of the category. Some facts are corrupted in all documents, so that what is written there can be wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tenfold.core.seeds import derive as derive_seed
from tenfold.systems.slotsum.data import Example, Facts
from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.inject import Pool, wrong_value
from tenfold.systems.slotsum.values import parse_value
from tenfold.systems.slotsum.verbalise import verbalise


@dataclass(frozen=True)
class Grounded:
    """An entity: documents, true facts, the text to match, and the facts that the documents have wrong (key, true, said)."""

    key: str
    category: str
    title: str
    documents: tuple[Document, ...]
    facts: Facts
    target: str
    corrupted: tuple[tuple[str, str, str], ...] = ()


def build_grounded(
    examples: Sequence[Example], *, corrupt: float = 0.2, num_foreign: int = 2, seed: int = 0, limit: int | None = None
) -> list[Grounded]:
    """The entries that have several texts, in order, or `limit` of them drawn at random; each is made under its own seed."""
    entries: dict[str, list[Example]] = {}
    for example in examples:
        entries.setdefault(example.entry, []).append(example)
    pool = Pool([texts[0].facts for texts in entries.values()])
    by_category: dict[str, list[Example]] = {}
    for example in examples:
        by_category.setdefault(example.category, []).append(example)
    usable = [entry for entry, texts in entries.items() if len(texts) > 1]
    if limit is not None and limit < len(usable):
        usable = Random(seed).sample(usable, limit)
    return [
        _grounded(
            entries[entry], by_category[entries[entry][0].category], pool, (corrupt, num_foreign, derive_seed(seed, entry))
        )
        for entry in usable
    ]


def _grounded(
    texts: Sequence[Example], category: Sequence[Example], pool: Pool, drawing: tuple[float, int, int]
) -> Grounded:
    corrupt, num_foreign, seed = drawing
    random = Random(seed)
    target, others = texts[0], texts[1:]
    wrong = _wrong_values(target.facts, pool, corrupt, random)
    own = [_with_wrong(example, wrong) for example in others]
    foreign = [
        one for one in random.sample(list(category), min(len(category), 4 * num_foreign)) if one.entry != target.entry
    ]
    written = [*own, *(one.text for one in foreign[:num_foreign])]
    random.shuffle(written)
    documents = tuple(Document(f"d{number}", text) for number, text in enumerate(written, start=1))
    corrupted = tuple((key, value, said) for (key, value), said in wrong.items())
    return Grounded(target.key, target.category, target.facts[0][1], documents, target.facts, target.text, corrupted)


def _wrong_values(facts: Facts, pool: Pool, share: float, random: Random) -> dict[tuple[str, str], str]:
    """What the documents say instead of a fact; never of the title."""
    wrong: dict[tuple[str, str], str] = {}
    for key, value in facts:
        if key != "title" and random.random() < share:
            true = [parse_value(other) for name, other in facts if name == key]
            said = wrong_value(key, value, true, pool, random)
            if said is not None:
                wrong[key, value] = said
    return wrong


def _with_wrong(example: Example, wrong: dict[tuple[str, str], str]) -> str:
    derived = derive_template(example.text, example.facts)
    surfaces = [
        verbalise(parse_value(wrong[span.key, span.value]), surface) if (span.key, span.value) in wrong else surface
        for span, surface in zip(derived.spans, derived.surfaces, strict=True)
    ]
    return derived.template.render(surfaces)
