"""`undefined` (a): one number of the text is a letter, and only one of two letters is given a value.

f: the letter in the text is P, and Q is named as another number, or the other way round. g: P is given and Q is not known,
or the other way round. So all four texts have the same words, and only their order tells a flawed one.
"""

import random
import re
from fractions import Fraction

from tenfold.systems.ump.bases import Base, Bound
from tenfold.systems.ump.blocks.sketch import FACTORS, Cell, Piece, SketchError, assignment, make_block, rename, solve
from tenfold.systems.ump.blocks.story import context, equations, origin, tell
from tenfold.systems.ump.problems import Problem

LETTERS = "BCDFGHJKMNPQRTVWYZ"
LEADS = (
    ("We know that", ", but we do not know", "yet"),
    ("It is given that", ", but nothing is given about", "so far"),
    ("It was found that", ", but nobody has found", "yet"),
)
COUNTING_WORDS = ("three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen", "twenty")
NO_LETTER_BEFORE = re.compile(r"(?:\ba|\ban|\bevery|\bone|[-/#])[ ]?$", re.IGNORECASE)
NO_LETTER_AFTER = re.compile(r"^(?:-|/|'|\s*(?:st|nd|rd|th)\b|,?\s*\d)")


def letter_block(base: Base, rng: random.Random) -> list[Problem]:
    """One block of a base.

    Raises:
        SketchError: no number of the text can well be a letter.
    """
    bound = _choose(base, rng)
    letters = _letters(base, rng)
    lead = rng.choice(LEADS)
    cells = {cell: _cell(base, bound, letters, lead, *factors) for cell, factors in FACTORS.items()}
    return make_block("undefined", f"{base.source}-{base.split}-{base.source_id}-letter", cells, origin(base))


def _choose(base: Base, rng: random.Random) -> Bound:
    good = [bound for bound in base.numbers if _can_be_letter(base, bound)]
    digits = [bound for bound in good if bound.numeral.kind != "word"]
    if not good:
        raise SketchError("no number can be a letter")
    return rng.choice(digits or good)


def _can_be_letter(base: Base, bound: Bound) -> bool:
    before, after = context(base, bound.numeral.span)
    return (
        bound.alone
        and (bound.numeral.kind in ("plain", "money") or bound.numeral.text.lower() in COUNTING_WORDS)
        and bound.numeral.value > 1
        and bound.numeral.span[1] <= base.last_sentence[0]
        and not NO_LETTER_BEFORE.search(before)
        and not NO_LETTER_AFTER.match(after)
    )


def _letters(base: Base, rng: random.Random) -> tuple[str, str]:
    free = [letter for letter in LETTERS if not re.search(rf"\b{letter}\b", base.question, re.IGNORECASE)]
    first, second = sorted(rng.sample(free, 2))
    return first, second


def _cell(base: Base, bound: Bound, letters: tuple[str, str], lead: tuple[str, str, str], f: int, g: int) -> Cell:
    masked, defined, value = letters[f], letters[g], bound.numeral.value
    sign = "$" if bound.numeral.kind == "money" else ""
    number = str(value) if bound.numeral.kind == "word" else bound.numeral.text.removeprefix("$")
    inserted = [
        *(Piece(letters[1 - f], unused=True), Piece(f" is another number. {lead[0]} ")),
        Piece(f"{defined} = {number}", var=defined.lower(), value=value, blame=True),
        *(Piece(f"{lead[1]} "), Piece(letters[1 - g], unused=True), Piece(f" {lead[2]}. ")),
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
