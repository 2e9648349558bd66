"""`undefined` (a): one number of the text is a letter, and only one of two letters is given a value.

f: the letter in the text, P or Q. g: the letter that gets the number. Both letters are named in all four cells, so that
neither the words nor the set of words tell a flawed text from a sound one.
"""

import random
import re
from fractions import Fraction

from tenfold.systems.ump.bases import Base, Bound
from tenfold.systems.ump.blocks.sketch import FACTORS, Cell, Piece, SketchError, assignment, make_block, rename, solve
from tenfold.systems.ump.blocks.story import context, equations, origin, tell
from tenfold.systems.ump.problems import Problem

LETTERS = "BCDFGHJKMNPQRTVWYZ"
NO_LETTER_BEFORE = re.compile(r"(?:\ba|\ban|\bevery|\bone|[-/#])[ ]?$", re.IGNORECASE)
NO_LETTER_AFTER = re.compile(r"^(?:-|/|'|\s*(?:st|nd|rd|th)\b|,?\s*\d)")


def letter_block(base: Base, rng: random.Random) -> list[Problem]:
    """One block of a base.

    Raises:
        SketchError: no number of the text can well be a letter.
    """
    bound = _choose(base, rng)
    letters = _letters(base, rng)
    cells = {cell: _cell(base, bound, letters, *factors) for cell, factors in FACTORS.items()}
    return make_block("undefined", f"{base.source}-{base.split}-{base.source_id}-letter", cells, origin(base))


def _choose(base: Base, rng: random.Random) -> Bound:
    good = [bound for bound in base.numbers if _can_be_letter(base, bound)]
    if not good:
        raise SketchError("no number can be a letter")
    return rng.choice(good)


def _can_be_letter(base: Base, bound: Bound) -> bool:
    before, after = context(base, bound.numeral.span)
    return (
        bound.alone
        and bound.numeral.kind in ("plain", "money")
        and bound.numeral.value > 1
        and bound.numeral.span[1] <= base.last_sentence[0]
        and not NO_LETTER_BEFORE.search(before)
        and not NO_LETTER_AFTER.match(after)
    )


def _letters(base: Base, rng: random.Random) -> tuple[str, str]:
    free = [letter for letter in LETTERS if not re.search(rf"\b{letter}\b", base.question, re.IGNORECASE)]
    first, second = sorted(rng.sample(free, 2))
    return first, second


def _cell(base: Base, bound: Bound, letters: tuple[str, str], f: int, g: int) -> Cell:
    masked, defined = letters[f], letters[g]
    value, sign = bound.numeral.value, bound.numeral.text[0] if bound.numeral.kind == "money" else ""
    number = bound.numeral.text.removeprefix("$")
    inserted = [
        *(Piece("Here "), Piece(letters[0], unused=True), Piece(" and "), Piece(letters[1], unused=True)),
        Piece(" stand for numbers, and "),
        Piece(f"{defined} = {number}", var=defined.lower(), value=value, blame=True),
        Piece(". "),
    ]
    letter = Piece(masked, var=masked.lower(), value=None, blame=True)
    pieces = tell(base, {bound.numeral.span: [Piece(sign), letter]}, inserted)
    names = {bound.var: masked.lower()}
    cell = Cell(pieces, [(var, rename(tree, names)) for var, tree in equations(base)], base.ask)
    return cell if f == g else _underdetermined(cell, masked, value)


def _underdetermined(cell: Cell, masked: str, value: Fraction) -> Cell:
    free = masked.lower()
    worlds = [solve(_with_fact(cell, free, number)) for number in (value, value + 1, 2 * value)]
    other = next((world for world in worlds[1:] if world[cell.ask] != worlds[0][cell.ask]), None)
    if other is None:
        raise SketchError("the answer does not depend on the letter")
    return Cell(
        cell.pieces,
        cell.equations,
        cell.ask,
        "underdetermined",
        {"free": free, "assignments": [assignment(worlds[0]), assignment(other)]},
        f"The text uses {masked} but never says what number it stands for.",
    )


def _with_fact(cell: Cell, var: str, value: Fraction) -> Cell:
    return Cell([*cell.pieces, Piece("", var=var, value=value)], cell.equations, cell.ask)
