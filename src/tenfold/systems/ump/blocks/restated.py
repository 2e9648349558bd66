"""`inconsistent`: a number of the text, and a sentence that restates a result which follows from it.

f: the number is x or x'. g: the sentence gives the result h(x) or h(x'). The sentence is a line of the solution without
its calculation (`sentences.py`), put before the question.
"""

import random
import re
from collections.abc import Iterator
from fractions import Fraction

from tenfold.systems.ump.bases import Base, Bound
from tenfold.systems.ump.blocks.sentences import Restated, sentences
from tenfold.systems.ump.blocks.sketch import FACTORS, Cell, Piece, SketchError, assignment, depends_on, make_block, solve
from tenfold.systems.ump.blocks.story import context, equations, number_piece, origin, stays_sensible, tell
from tenfold.systems.ump.numerals import Numeral, write_number
from tenfold.systems.ump.problems import Problem

LEADS = ("It turns out that", "As it turns out,", "In fact,", "It is known that")
_FIXED_COUNT_NEAR = re.compile(
    r"^(?:-| ?(?:sisters?|brothers?|siblings?|children|kids|sons|daughters|friends|times|days|weeks|months|years|year-old|"
    r"hours (?:a|per|each)|hour|minutes|seconds|o'clock|degrees|percent|%|feet|inches|-))\b|^-",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"\b(?:the|all|of|other|remaining|those|these|both|another|next|first|last|every)(?: \$)? ?$", re.I
)


def restated_block(base: Base, rng: random.Random) -> list[Problem]:
    """One block of a base.

    Raises:
        SketchError: no line of the solution makes a good sentence, or no number can be changed.
    """
    choices = list(_choices(base))
    if not choices:
        raise SketchError("no result can be restated")
    restated, bound, value = rng.choice(choices)
    lead = rng.choice(LEADS)
    cells = {
        cell: _cell(base, restated, bound, (bound.numeral.value, value), lead, *factors) for cell, factors in FACTORS.items()
    }
    return make_block("inconsistent", f"{base.source}-{base.split}-{base.source_id}", cells, origin(base))


def _choices(base: Base) -> Iterator[tuple[Restated, Bound, Fraction]]:
    for restated in sentences(base):
        for bound in base.numbers:
            if can_change(base, bound) and restated.equation.var in depends_on(equations(base), bound.var):
                for value in near_values(bound.numeral.value):
                    if _fits(base, restated, bound, value):
                        yield restated, bound, value
                        break


def can_change(base: Base, bound: Bound) -> bool:
    """Whether the number may have another value: nothing else stands for it, and it is no number that the world fixes."""
    before, after = context(base, bound.numeral.span)
    return (
        bound.alone
        and depends_on(equations(base), bound.var).isdisjoint(base.doubtful)
        and bound.numeral.kind in ("plain", "money")
        and bound.numeral.value >= 2
        and bound.numeral.span[1] <= base.last_sentence[0]
        and not _FIXED_COUNT_NEAR.match(after)
        and not _POINTS_BACK.search(before)
    )


def near_values(value: Fraction) -> list[Fraction]:
    """Other values that one would believe as well: near ones first, then simple multiples; as many digits come first."""
    steps = [
        value + sign * step for step in (*range(1, 11), 12, 15, 20, 25, 50, 100) for sign in (1, -1) if step * 2 <= value
    ]
    products = [value * factor for factor in (Fraction(3, 2), Fraction(1, 2), Fraction(2), Fraction(3))]
    good = [
        new for new in dict.fromkeys([*steps, *products]) if new >= 2 and (new.denominator == 1 or value.denominator > 1)
    ]
    return sorted(good, key=lambda new: (len(str(new)) != len(str(value)), abs(new - value) < value / 5))


def _fits(base: Base, restated: Restated, bound: Bound, value: Fraction) -> bool:
    """Whether all stays sensible, the results differ, and no number of one factor is also one of the other."""
    changes = {bound.var: value}
    if not stays_sensible(base, changes):
        return False
    old, new = base.values(), base.values(changes)
    var = restated.equation.var
    results = {old[var], new[var]}
    others = {old[base.ask], new[base.ask], bound.numeral.value, value}
    return len(results) == 2 and min(results) >= 2 and not results & others and _writable(new[var], restated.numeral)


def _writable(value: Fraction, numeral: Numeral) -> bool:
    return value.denominator == 1 or numeral.kind == "money"


def _cell(
    base: Base, restated: Restated, bound: Bound, values: tuple[Fraction, Fraction], lead: str, f: int, g: int
) -> Cell:
    var = restated.equation.var
    results = [base.values({bound.var: value})[var] for value in values]
    given = Piece(write_number(results[g], restated.numeral), var=var, value=results[g], blame=True)
    tail = f" {restated.after}. " if restated.after else ". "
    number = number_piece(bound, values[f])
    number = Piece(number.text, var=number.var, value=number.value, blame=True)
    pieces = tell(base, {bound.numeral.span: [number]}, [Piece(f"{lead} {restated.before} "), given, Piece(tail)])
    cell = Cell(pieces, equations(base), base.ask)
    if f == g:
        return cell
    witness = {"var": var, "values": [str(results[f]), str(results[g])], "assignment": assignment(solve(cell))}
    derived = write_number(results[f], restated.numeral)
    explanation = f"The sentence before the question says {given.text}; from the other numbers it comes out as {derived}."
    return Cell(pieces, cell.equations, cell.ask, "inconsistent", witness, explanation)
