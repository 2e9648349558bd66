"""Data sets in the manner of WikiFactSum: entities with an infobox, a text and documents come in, four sets go out.

    clipped    {title, kv_info, target_text, source_text}     slotted    the same with sloted_text and replaced_slots
    filler     {title, source_text, header, content}          rewriter   the same as slotted with facts

The field names are the paper's (`sloted_text` too). The split goes by a hash of the title, so an entity never changes sides.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.documents import Document, clip, source_text
from tenfold.systems.slotsum.entities import Entity

Split = Literal["train", "valid", "test"]
DROPPED_KEYS = frozenset({"article_title", "birth_name", "image", "imagesize", "bgcolour", "caption"})
"""Keys of infoboxes that name no fact of a text (the paper's list)."""
SOURCE_WORDS = 400
SAME_ASPECTS = 0.5


@dataclass(frozen=True)
class Built:
    """The rows that one entity gives."""

    split: Split
    clipped: dict[str, Any]
    slotted: dict[str, Any]
    filler: list[dict[str, Any]]
    rewriter: dict[str, Any]


def split_of(title: str, *, valid: int = 10, test: int = 10) -> Split:
    """The side of a title: so many of a hundred go to validation and test."""
    place = int.from_bytes(hashlib.sha256(title.encode()).digest()[:4], "big") % 100
    return "test" if place < test else "valid" if place < test + valid else "train"


def build_rows(entity: Entity) -> Built:
    """The four kinds of rows of an entity."""
    facts = pairs_of(entity)
    chosen = clip(entity.documents, entity.title)
    source, _ = source_text(chosen, most_words=SOURCE_WORDS)
    derived = derive_template(entity.target, facts)
    replaced = [
        {"key": span.key, "value": span.value, "surface": surface, "start": span.start, "end": span.end}
        for span, surface in zip(derived.spans, derived.surfaces, strict=True)
    ]
    clipped = {
        "title": entity.title,
        "kv_info": [list(pair) for pair in facts],
        "target_text": entity.target,
        "source_text": source,
    }
    slotted = {**clipped, "sloted_text": str(derived.template), "replaced_slots": replaced}
    filler = [
        {"title": entity.title, "source_text": source, "header": one["key"], "content": one["surface"]}
        for one in replaced
        if one["value"] and one["key"] != "title"
    ]
    rewriter = {**slotted, "facts": [[one["key"], one["surface"]] for one in replaced if one["value"]]}
    return Built(split_of(entity.title), clipped, slotted, filler, rewriter)


def pairs_of(entity: Entity) -> list[tuple[str, str]]:
    """(key, value) pairs of an entity's infobox, the title first, without keys that name no fact."""
    pairs = [("title", entity.title)]
    for key, value in entity.infobox.items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs += ((key, str(one)) for one in values if key not in DROPPED_KEYS and key != "title" and str(one).strip())
    return pairs


def join_aspects(
    rows: Sequence[Mapping[str, Any]], titled: Sequence[Mapping[str, Any]]
) -> tuple[list[Entity], Counter[str]]:
    """Gives rows of titled infoboxes the documents of title-less rows about the same aspects (the paper's WikiAsp data).

    A row is {"documents", "aspects": [[name, text], ...]}, a titled one {"title", "infobox", "sections": [...],
    "target"}. They belong together if each aspect is a section and their multisets of names overlap by at least a
    half; what fits several is dropped. Returns the entities and why rows were left out.
    """
    counts: Counter[str] = Counter()
    entities: list[Entity] = []
    bags = [Counter(map(str, one["sections"])) for one in titled]
    for number, row in enumerate(rows, start=1):
        names = Counter(str(name) for name, _ in row["aspects"])
        fits = [place for place, bag in enumerate(bags) if set(names) <= set(bag) and overlap(names, bag) >= SAME_ASPECTS]
        if len(fits) != 1:
            counts["several titles fit" if fits else "no title fits"] += 1
            continue
        one = titled[fits[0]]
        documents = tuple(Document(f"d{n}", str(text)) for n, text in enumerate(row["documents"], start=1))
        entities.append(Entity(str(number), str(one["title"]), documents, one["infobox"], target=str(one.get("target", ""))))
        counts["joined"] += 1
    return entities, counts


def overlap(first: Counter[str], second: Counter[str]) -> float:
    """Multiset Jaccard: shared counts over the larger counts."""
    whole = (first | second).total()
    return (first & second).total() / whole if whole else 0.0


def statistics(built: Sequence[Built]) -> dict[str, Any]:
    """Sizes of the sets by split, and averages."""
    sizes = Counter(one.split for one in built)
    slots = [len(one.slotted["replaced_slots"]) for one in built]
    return {
        "entities": len(built),
        "by_split": {name: sizes[name] for name in ("train", "valid", "test")},
        "filler_rows": sum(len(one.filler) for one in built),
        "slots_per_text": sum(slots) / len(slots) if slots else None,
        "words_per_target": _mean(len(one.clipped["target_text"].split()) for one in built),
        "words_per_source": _mean(len(one.clipped["source_text"].split()) for one in built),
    }


def _mean(values: Iterator[int]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
