"""A set of harms that do not exist: invented words in harmless sentences, so that a guard can be trained and shown anywhere.

The sentences are filled from lists; the test part uses places that the training part never names.
"""

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import yaml

from tenfold.systems.shieldlm.items import Item, Split

FILE = Path(__file__).parent / "invented.yaml"
NUM_TRAIN, NUM_TEST = 512, 160
PACK = "invented-en"


def invented_split(seed: int = 0) -> Split:
    """Training and test items, half of them unsafe, the types in turn."""
    places = list(_source()["fillers"]["where"])
    Random(seed).shuffle(places)
    middle = 2 * len(places) // 3
    return Split(
        _items("train", NUM_TRAIN, places[:middle], Random(f"{seed}/train")),
        _items("test", NUM_TEST, places[middle:], Random(f"{seed}/test")),
    )


def _items(part: str, number: int, places: list[str], draw: Random) -> list[Item]:
    source = _source()
    types = sorted(source["types"])
    items = []
    for place in range(number):
        kind, unsafe = types[place // 2 % len(types)], place % 2 == 1
        filled = {name: draw.choice(words) for name, words in source["fillers"].items()} | {"where": draw.choice(places)}
        said = source["types"][kind]
        query = draw.choice(said["queries"]).format(**filled)
        response = draw.choice(said["unsafe" if unsafe else "safe"]).format(**filled)
        items.append(Item(f"{part}-{place}", query, response, "unsafe" if unsafe else "safe", kind, f"{part}-{query}"))
    return items


@cache
def _source() -> Any:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))
