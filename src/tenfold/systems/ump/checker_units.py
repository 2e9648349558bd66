"""What the checker knows of the world: what units measure, which things cannot be divided, which claims about numbers hold.

A dimension is written as a product and quotient of base dimensions, such as `volume`, `length/time` or `money*time/length`.
"""

import re
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from math import isqrt

from tenfold.systems.ump.wordings import read_list

Dimension = Counter[str]

BASES: dict[str, str] = {}
for _base, _words in {
    "length": "meter meters kilometer kilometers centimeter centimeters inch inches foot feet yard yards mile miles length "
    "height width depth distance far",
    "mass": "gram grams kilogram kilograms pound pounds ounce ounces ton tons weight mass heavy",
    "volume": "liter liters gallon gallons capacity volume liquid",
    "time": "second seconds minute minutes hour hours day days week weeks month months year years time duration",
    "money": "dollar dollars cent cents euro euros price money",
    "area": "hectare hectares acre acres area",
}.items():
    BASES |= dict.fromkeys(_words.split(), _base)

INDIVISIBLE = frozenset(read_list("indivisible.txt"))
_PREDICATE = re.compile(r"a multiple of (?P<factor>\d+)")


def base_of(word: str) -> str:
    """What one unit word measures; a word that is no unit counts things of its own name."""
    if word in BASES:
        return BASES[word]
    return re.sub(r"(?<=sh)es$|s$", "", word)


def dimension_of_unit(unit: str | None) -> Dimension:
    """The dimension of `liters per hour`; no unit is a plain number."""
    if unit is None:
        return Counter()
    top, _, bottom = unit.partition(" per ")
    return quotient(Counter([base_of(top)]), Counter([base_of(bottom)]) if bottom else Counter())


def quotient(top: Dimension, bottom: Dimension) -> Dimension:
    """top / bottom, without powers that cancel."""
    result = Counter(top)
    result.subtract(bottom)
    return Counter({name: power for name, power in result.items() if power})


def product(left: Dimension, right: Dimension) -> Dimension:
    """left * right, without powers that cancel."""
    return quotient(left, quotient(Counter(), right))


def write(dimension: Dimension) -> str:
    """The dimension as certificates write it."""
    top = sorted(name for name, power in dimension.items() for _ in range(power))
    bottom = sorted(name for name, power in dimension.items() for _ in range(-power))
    return "/".join(["*".join(top) or "1", *bottom])


def demanded_base(words: str) -> str:
    """The base dimension that words such as `How far`, `running time`, `an hour` or `liters` speak of: their last word's."""
    return base_of(words.lower().split()[-1])


def _has_divisor(number: int) -> bool:
    return any(number % divisor == 0 for divisor in range(2, isqrt(number) + 1))


def _is_square(number: int) -> bool:
    return number >= 0 and isqrt(number) ** 2 == number


PREDICATES: dict[str, Callable[[int], bool]] = {
    "prime": lambda number: number >= 2 and not _has_divisor(number),
    "even": lambda number: number % 2 == 0,
    "odd": lambda number: number % 2 != 0,
    "square": _is_square,
}


def predicate_of_words(words: str) -> str | None:
    """The type of the claim that words make, or None."""
    multiple = _PREDICATE.fullmatch(words)
    if multiple:
        return f"multiple:{multiple['factor']}"
    name = "square" if words == "a square number" else words
    return name if name in PREDICATES else None


def holds(predicate: str, value: Fraction) -> bool | None:
    """Whether a claim is true of a value; None for a claim that we do not know."""
    name, _, factor = predicate.partition(":")
    if value.denominator != 1:
        return False
    if name == "multiple" and factor.isdigit() and int(factor) > 0:
        return value.numerator % int(factor) == 0
    return PREDICATES[name](value.numerator) if name in PREDICATES and not factor else None
