"""`assumption`: a number of the text, and a claim about it that is true of x only, or of x' only.

f: the number is x or x'. g: the claim, such as "a prime number" or "a multiple of 7". From GSM8K come numbers before a
plural noun that no other number stands before, so that "the number of eggs given here" can only mean that one.
"""

import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from math import isqrt

from tenfold.systems.ump.bases import Base, Bound
from tenfold.systems.ump.blocks.restated import can_change, near_values
from tenfold.systems.ump.blocks.sketch import FACTORS, Cell, Piece, SketchError, assignment, make_block, solve
from tenfold.systems.ump.blocks.story import context, equations, number_piece, origin, stays_sensible, tell
from tenfold.systems.ump.problems import Problem
from tenfold.systems.ump.wordings import read_list

LEADS = ("Note that", "It is known that", "Remember that", "It is a fact that")
NOT_COUNTED = frozenset(read_list("not_counted.txt"))
NOUN = re.compile(
    r"^ ((?!(?:of|per|and|more|less|fewer|to|in|for|at|as|is|are|was|times|additional|other)\b)[a-z]+ )?"
    r"([a-z]{2,}[^s\W]s)\b(?! (?:of|per|each|a|more|less|fewer)\b)"
)
"""A plural noun behind a number, with at most one word before it."""


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


CLAIMS: dict[str, tuple[str, Callable[[int], bool]]] = {
    "prime": ("prime", _is_prime),
    "square": ("a square number", lambda number: isqrt(number) ** 2 == number),
    "even": ("even", lambda number: number % 2 == 0),
    "odd": ("odd", lambda number: number % 2 == 1),
    **{
        f"multiple:{factor}": (f"a multiple of {factor}", lambda number, factor=factor: number % factor == 0)
        for factor in (3, 4, 5, 6, 7, 8, 9, 11)
    },
}
"""Type of predicate -> its words, and what is true of a number that has it."""


def claim_block(base: Base, rng: random.Random) -> list[Problem]:
    """One block of a base.

    Raises:
        SketchError: no number of the text can be named by a noun and changed.
    """
    bound, noun = _named_number(base, rng)
    value = bound.numeral.value
    others = [
        new
        for new in near_values(value)
        if abs(new - value) <= max(10, value / 2) and stays_sensible(base, {bound.var: new})
    ]
    values, claims = choose_claims(value, others, rng)
    lead = f"{rng.choice(LEADS)} the number of {noun} given here is "
    cells = {cell: _cell(base, bound, lead, values, claims, *factors) for cell, factors in FACTORS.items()}
    return make_block("assumption", f"{base.source}-{base.split}-{base.source_id}", cells, origin(base))


def choose_claims(
    value: Fraction, others: list[Fraction], rng: random.Random
) -> tuple[tuple[Fraction, Fraction], tuple[str, str]]:
    """Another value, and two claims of which each is true of one value only; SketchError if there are none."""
    choices = [
        (other, first, second)
        for other in others
        for first, second in _separating(value, other)
        if len(str(other)) == len(str(value))
    ]
    if not choices:
        raise SketchError("no claim separates the number from another one")
    other, first, second = rng.choice(choices)
    return (value, other), (first, second)


def _separating(value: Fraction, other: Fraction) -> Iterator[tuple[str, str]]:
    if value.denominator != 1 or other.denominator != 1:
        return
    true_of_value, true_of_other = ({name for name, (_, holds) in CLAIMS.items() if holds(int(n))} for n in (value, other))
    for first in sorted(true_of_value - true_of_other):
        for second in sorted(true_of_other - true_of_value):
            digits = set(re.findall(r"\d+", first + second))
            if not digits & {str(value), str(other)} and {first, second} != {"even", "odd"}:
                yield first, second


def _named_number(base: Base, rng: random.Random) -> tuple[Bound, str]:
    found = [(bound, noun) for bound in base.numbers for noun in [_noun(base, bound)] if noun and can_change(base, bound)]
    nouns = [noun for bound in base.numbers for noun in [_noun(base, bound)] if noun]
    clear = [(bound, noun) for bound, noun in found if nouns.count(noun) == 1 and _is_named_once(base, bound, noun)]
    if not clear:
        raise SketchError("no number can be named by its noun")
    return rng.choice(clear)


def _noun(base: Base, bound: Bound) -> str | None:
    match = NOUN.match(context(base, bound.numeral.span)[1])
    if not match or match[2] in NOT_COUNTED or bound.numeral.kind != "plain" or bound.numeral.value < 4:
        return None
    return (match[1] or "") + match[2]


def _is_named_once(base: Base, bound: Bound, noun: str) -> bool:
    """Whether no other count of the same noun could be meant: none of its mentions has an amount but the one."""
    head = noun.split()[-1]
    rest = base.question[: bound.numeral.span[0]] + base.question[bound.numeral.span[1] + len(noun) + 1 :]
    amount = r"\b(?:many|more|fewer|less|most|half|twice|times|dozen|some|few|several|number of|\w*\d\w*)"
    story = rest[: base.last_sentence[0] - (len(base.question) - len(rest))]
    return not re.search(rf"{amount}(?: (?:the|of|as|many|[a-z]+))? {head}\b", story, re.IGNORECASE)


def claim_cell(cell: Cell, var: str, claims: tuple[str, str], f: int, g: int, values: tuple[Fraction, Fraction]) -> Cell:
    """The cell with its verdict: the claim is false where the factors differ."""
    if f == g:
        return cell
    witness = {
        "var": var,
        "type": f"predicate:{claims[g]}",
        "value": str(values[f]),
        "assignment": assignment(solve(cell)),
    }
    explanation = f"The text says that {values[f]} is {CLAIMS[claims[g]][0]}, which is false."
    return Cell(cell.pieces, cell.equations, cell.ask, "false_predicate", witness, explanation)


def claim_piece(var: str, claim: str) -> Piece:
    """The words of a claim about a variable."""
    return Piece(CLAIMS[claim][0], demand=(var, f"predicate:{claim}"), blame=True)


def _cell(
    base: Base,
    bound: Bound,
    lead: str,
    values: tuple[Fraction, Fraction],
    claims: tuple[str, str],
    f: int,
    g: int,
) -> Cell:
    number = number_piece(bound, values[f])
    number = Piece(number.text, var=number.var, value=number.value, blame=True)
    inserted = [Piece(lead), claim_piece(bound.var, claims[g]), Piece(". ")]
    cell = Cell(tell(base, {bound.numeral.span: [number]}, inserted), equations(base), base.ask)
    return claim_cell(cell, bound.var, claims, f, g, values)
