"""What the frames' units measure, as the generator sees it; the checker has a table of its own."""

from dataclasses import dataclass

MEASURES = {
    "length": "meter kilometer centimeter mile yard foot feet inch inches length",
    "mass": "kilogram gram pound ton mass",
    "volume": "liter gallon volume",
    "time": "second minute hour day week time",
    "money": "dollar cent money",
    "area": "hectare area",
}
_MEASURE_OF = {word: measure for measure, words in MEASURES.items() for word in words.split()}


@dataclass(frozen=True)
class Dimension:
    """Powers of base dimensions, sorted by name, none of them zero."""

    powers: tuple[tuple[str, int], ...] = ()

    def __add__(self, other: "Dimension") -> "Dimension":
        return self._combine(other, 1)

    def __sub__(self, other: "Dimension") -> "Dimension":
        return self._combine(other, -1)

    def _combine(self, other: "Dimension", sign: int) -> "Dimension":
        powers = dict(self.powers)
        for name, power in other.powers:
            powers[name] = powers.get(name, 0) + sign * power
        return Dimension(tuple(sorted((name, power) for name, power in powers.items() if power)))


def dimension_of(unit: str | None) -> Dimension:
    """What a unit such as `liters per hour` measures; a word that is no unit counts itself."""
    if unit is None:
        return Dimension()
    top, _, bottom = unit.partition(" per ")
    measured = Dimension(((_base(top), 1),))
    return measured - Dimension(((_base(bottom), 1),)) if bottom else measured


def _base(words: str) -> str:
    if words.startswith("square "):
        return "area"
    singular = words.removesuffix("s") if not words.endswith("shes") else words.removesuffix("es")
    return _MEASURE_OF.get(words) or _MEASURE_OF.get(singular) or singular


def write_dimension(dimension: Dimension) -> str:
    """`volume`, `length/time`, `mass*time/volume`; `1` for a plain number."""
    top = [name for name, power in dimension.powers for _ in range(power)]
    bottom = [name for name, power in dimension.powers for _ in range(-power)]
    return "/".join(["*".join(top) or "1", *bottom])
