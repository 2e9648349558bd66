"""Ways in which a value may be written in a text, each with a weight (section 2 of the specification of derivation)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenfold.systems.slotsum.tokens import STOP_WORDS, words
from tenfold.systems.slotsum.values import Value

GENERIC_TAILS = frozenset(
    [
        "language",
        "people",
        "county",
        "state",
        "region",
        "province",
        "district",
        "airport",
        "university",
        "college",
        "school",
        "club",
        "company",
        "city",
        "town",
        "architecture",
        "music",
        "dish",
        "food",
        "river",
        "building",
        "house",
        "hall",
        "centre",
        "center",
        "party",
        "republic",
        "kingdom",
        "island",
    ]
)
INSTITUTIONS = GENERIC_TAILS | frozenset(
    [
        "institute",
        "memorial",
        "monument",
        "museum",
        "cup",
        "league",
        "council",
        "church",
        "association",
        "federation",
        "academy",
        "press",
        "journal",
        "magazine",
        "national",
        "international",
        "army",
        "force",
        "battle",
        "war",
        "street",
        "road",
        "park",
        "lake",
        "mountain",
        "bank",
        "group",
        "act",
        "award",
        "prize",
        "cuisine",
        "president",
        "minister",
        "parliament",
        "senate",
        "assembly",
        "government",
        "authority",
        "series",
        "season",
    ]
)
DEMONYMS = {
    "united states": "american us usa america", "united kingdom": "british uk britain", "italy": "italian",
    "france": "french", "germany": "german", "spain": "spanish", "england": "english", "scotland": "scottish",
    "wales": "welsh", "ireland": "irish", "japan": "japanese", "china": "chinese", "india": "indian",
    "indonesia": "indonesian", "mexico": "mexican", "philippines": "filipino", "turkey": "turkish", "greece": "greek",
    "poland": "polish", "russia": "russian", "brazil": "brazilian", "canada": "canadian", "australia": "australian",
    "netherlands": "dutch", "denmark": "danish", "sweden": "swedish", "norway": "norwegian", "belgium": "belgian",
    "portugal": "portuguese", "romania": "romanian", "argentina": "argentine argentinian", "malaysia": "malaysian",
}  # fmt: skip
FULL_RATIO, SHORT_RATIO = 80.0, 95.0


@dataclass(frozen=True)
class Form:
    """The folded words of one way to write a value, its weight, and the least fuzzy ratio that counts."""

    words: tuple[str, ...]
    weight: float
    ratio: float
    capital: bool = False
    """The window must begin with a capital letter."""


def forms(value: Value) -> Iterator[Form]:
    """The forms of a value by words, the best first; numbers and dates are matched by what they mean instead."""
    full = words(value.text)
    yield Form(full, 1.0, FULL_RATIO)
    yield from (Form(words(part), 0.95, 100.0) for part in value.parts)
    bare = words(re.sub(r"\s*\([^()]*\)\s*$", "", value.text))
    if bare and bare != full:
        yield Form(bare, 0.97, FULL_RATIO)
    if value.kind != "string":
        return
    head, comma, _ = value.text.partition(",")
    if 1 <= value.text.count(",") <= 2 and words(head) and not head.strip().isdigit():
        yield Form(words(head), 0.93, SHORT_RATIO)
    if len(bare) > 1 and bare[-1] in GENERIC_TAILS and not comma:
        yield Form(bare[:-1], 0.92, SHORT_RATIO)
    yield from (Form(words(name), 0.90, SHORT_RATIO, capital=True) for name in DEMONYMS.get(" ".join(bare), "").split())
    kept = [word for word in bare if word not in STOP_WORDS]
    if len(kept) > 2 and not comma:
        yield Form(("".join(word[0] for word in kept),), 0.85, 100.0, capital=True)
    if value.text.count(",") <= 2:
        yield from _parts(words(head) if comma else bare)


def _parts(bare: tuple[str, ...]) -> Iterator[Form]:
    """Shorter names: the ends of a name of several words, without digits and generic words.

    One word alone may stand for a person (of up to three words), but not for an institution: "Baku" is no "Baku
    Memorial". Of a name with a preposition only what stands before it: "the President", never "the United States", for the
    president of it.
    """
    if not 2 <= len(bare) <= 6:
        return
    before = next((place for place, word in enumerate(bare) if place and word in STOP_WORDS), None)
    if before is not None:
        if all(word.isalpha() for word in bare[:before]) and max(map(len, bare[:before])) > 2:
            yield Form(bare[:before], 0.78, 100.0, capital=True)
        return
    is_person = len(bare) <= 3 and not set(bare) & INSTITUTIONS
    for size in range(1 if is_person else (len(bare) + 1) // 2, len(bare)):
        for part in {bare[:size], bare[-size:]}:
            is_name = (
                all(word.isalpha() for word in part)
                and not set(part) <= INSTITUTIONS | STOP_WORDS
                and max(map(len, part)) > 2
            )
            if is_name and (is_person or size > 1):
                yield Form(part, 0.75 + 0.05 * size / len(bare), 100.0, capital=True)
