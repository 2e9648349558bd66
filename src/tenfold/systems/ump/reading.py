"""How the checker reads a text: every number in it, and what a quoted stretch says. It shares no code with the generator.

`numbers_in` finds each number, in digits or words; `read` says what one quoted stretch means: a number with an optional
unit, a letter or a letter with its number ("P = 48"), or a name. Whatever cannot be read is None.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from tenfold.systems.ump.problems import Span

UNITS_OF_TEN = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
TEENS = ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
CARDINALS = {word: value for value, word in enumerate([*UNITS_OF_TEN, *TEENS])}
CARDINALS |= {word: 10 * place for place, word in enumerate(TENS, start=2)}
MULTIPLES = {"twice": 2, "double": 2, "doubled": 2, "doubles": 2, "thrice": 3, "triple": 3, "tripled": 3, "triples": 3}
MULTIPLES |= {"dozen": 12, "dozens": 12, "hundred": 100, "thousand": 1000, "million": 1_000_000, "half": 2, "halves": 2}
SHARES = {"third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6, "eighth": 8, "tenth": 10}

_SHARE = rf"(?:an?|one)[ -](?:{'|'.join(SHARES)})"
_NUMBER = re.compile(
    rf"(?i:\b{_SHARE}(?= (?:of|the|as|more|less)\b))"
    r"|[$€£]?\d[\d,]*(?:/\d+)?(?:\.\d+)?(?: ?%| percent\b)?"
    rf"|(?i:\b(?:{'|'.join([*CARDINALS, *MULTIPLES])})\b)"
)
_QUANTITY = re.compile(rf"(?P<number>{_NUMBER.pattern})(?: (?P<unit>[a-z]+(?: [a-z]+)*))?")
_DEFINITION = re.compile(r"(?P<letter>[A-Z]) = (?P<number>\S+)")
_MENTION = re.compile(r"[A-Z][a-z]*")


@dataclass(frozen=True)
class Reading:
    """What a stretch says: a variable's name, a value, a unit; each None where it says nothing of the kind."""

    var: str | None = None
    value: Fraction | None = None
    unit: str | None = None


def numbers_in(text: str) -> list[Span]:
    """The spans of all numbers, left to right; a comma that ends a clause is no part of one."""
    return [(match.start(), match.start() + len(match.group().rstrip(","))) for match in _NUMBER.finditer(text)]


def read_number(text: str) -> Fraction | None:
    """The value of a number, or None if the text is none."""
    word = text.lower()
    if word in CARDINALS:
        return Fraction(CARDINALS[word])
    if word in ("half", "halves"):
        return Fraction(1, 2)
    if word in MULTIPLES:
        return Fraction(MULTIPLES[word])
    share = re.fullmatch(r"(?:an?|one)[ -](\w+)", word)
    if share and share[1] in SHARES:
        return Fraction(1, SHARES[share[1]])
    return _read_digits(word)


def _read_digits(text: str) -> Fraction | None:
    bare = text.lstrip("$€£").replace(",", "")
    percent = re.fullmatch(r"(.*?)(?: ?%| percent)", bare)
    try:
        return Fraction(percent[1]) / 100 if percent else Fraction(bare)
    except (ValueError, ZeroDivisionError):
        return None


def read(text: str) -> Reading | None:
    """What a quoted stretch says, or None if it says nothing that we know."""
    if re.fullmatch(_SHARE, text, re.IGNORECASE):
        return Reading(value=read_number(text))
    quantity = _QUANTITY.fullmatch(text)
    if quantity:
        value = read_number(quantity["number"])
        return None if value is None else Reading(value=value, unit=quantity["unit"])
    definition = _DEFINITION.fullmatch(text)
    if definition:
        value = read_number(definition["number"])
        return None if value is None else Reading(var=definition["letter"].lower(), value=value)
    return Reading(var=text.lower()) if _MENTION.fullmatch(text) else None
