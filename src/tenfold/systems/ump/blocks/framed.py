"""Blocks from our own frames: `units`, `illogical` and `assumption`, one or two calculations each.

A frame is a text with marks in brackets: `[a]` and `[a liters per hour]` are facts about a, `[a:type=words]` is a demand on
a (`ask` is the result), `[claim]` stands for a claim about x; `{f}` and `{g}` are the two factors' wordings; `<man>` and
`<woman>` are names. Every third frame is kept for tests.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tenfold.systems.ump.blocks.claims import choose_claims, claim_cell, claim_piece
from tenfold.systems.ump.blocks.dimensions import dimension_of, write_dimension
from tenfold.systems.ump.blocks.sketch import FACTORS, Cell, Origin, Piece, SketchError, assignment, make_block, solve
from tenfold.systems.ump.chain import Tree, parse_named_tree
from tenfold.systems.ump.problems import Category, Problem
from tenfold.systems.ump.wordings import MEN, WOMEN, read_rows

FRAMED: tuple[Category, ...] = ("units", "illogical", "assumption")
VARIANTS = 4
Frame = Mapping[str, Any]
Values = Mapping[str, Fraction]

_MARK = re.compile(r"\[([^\]]+)\]")


def framed_blocks(category: Category, seed: int) -> Iterator[list[Problem]]:
    """All blocks of a category's frames, each frame with several numbers."""
    for place, frame in enumerate(read_rows(f"{category}.jsonl")):
        seen: set[tuple[Fraction, ...]] = set()
        for variant in range(VARIANTS):
            rng = random.Random(f"{seed}/{category}/{frame['name']}/{variant}")
            numbers = _fresh_numbers(category, frame, rng, seen)
            origin = Origin("frames", frame["name"], "test" if place % 3 == 2 else "train", "Apache-2.0")
            named = dict(frame, text=_with_names(frame["text"], rng))
            cells = MAKERS[category](named, numbers, rng)
            yield make_block(category, f"frames-{frame['name']}-{variant + 1}", cells, origin)


def _fresh_numbers(category: Category, frame: Frame, rng: random.Random, seen: set[tuple[Fraction, ...]]) -> list[Values]:
    """Numbers that this frame has not had yet: one set, or one for each value of the factors."""
    while True:
        numbers = NUMBERS[category](frame, rng)
        key = tuple(value for values in numbers for value in values.values())
        if key not in seen:
            seen.add(key)
            return numbers


def _with_names(text: str, rng: random.Random) -> str:
    return text.replace("<woman>", rng.choice(WOMEN)).replace("<man>", rng.choice(MEN))


def read_marks(text: str, values: Values, result: str, unused: Sequence[str] = ()) -> list[Piece]:
    """A text with marks as pieces; `values` are the numbers to put in, `result` is the variable that `ask` means."""
    pieces, start = [], 0
    for match in _MARK.finditer(text):
        pieces += [Piece(text[start : match.start()]), _marked(match[1], values, result, unused)]
        start = match.end()
    return [*pieces, Piece(text[start:])]


def _marked(mark: str, values: Values, result: str, unused: Sequence[str]) -> Piece:
    head, _, words = mark.partition("=")
    if words:
        var, _, kind = head.partition(":")
        return Piece(words, demand=(result if var == "ask" else var, kind), blame=True)
    var, _, unit = mark.partition(" ")
    number = str(values[var])
    if var in unused:
        return Piece(number, unused=True)
    return Piece(f"{number} {unit}".strip(), var=var, value=values[var], unit=unit or None, blame=var in "nkx" or bool(unit))


def _equations(frame: Frame) -> list[tuple[str, Tree]]:
    return [("y", parse_named_tree(frame["ask"]))]


def _unit_numbers(frame: Frame, rng: random.Random) -> list[Values]:
    b = rng.randint(2, 9)
    low, high = frame.get("a", (2, 12))
    a = b * rng.randint(2, 6) if "/" in frame["ask"] else rng.choice([n for n in range(low, high + 1) if n != b])
    return [{"a": Fraction(a), "b": Fraction(b)}]


def _unit_cells(frame: Frame, numbers: list[Values], rng: random.Random) -> dict[str, Cell]:
    cells = {}
    for name, (f, g) in FACTORS.items():
        text = frame["text"].replace("{f}", frame["f"][f]).replace("{g}", frame["g"][g])
        cell = Cell(read_marks(text, numbers[0], "y"), _equations(frame), "y")
        cells[name] = cell if f == g else _with_clash(cell)
    return cells


def _with_clash(cell: Cell) -> Cell:
    """The cell whose first unmet demand for a dimension is its verdict."""
    dimensions = {piece.var: dimension_of(piece.unit) for piece in cell.pieces if piece.var}
    for piece in cell.pieces:
        if piece.demand and piece.demand[1].startswith("per:"):
            var = piece.demand[0]
            dimensions[var] = dimensions[var] - dimension_of(piece.demand[1].removeprefix("per:"))
    for var, tree in cell.equations:
        dimensions[var] = _dimension(tree, dimensions)
    for piece in cell.pieces:
        if piece.demand and piece.demand[1].startswith("dimension:"):
            var, expected = piece.demand[0], piece.demand[1].removeprefix("dimension:")
            got = write_dimension(dimensions[var])
            if got != expected:
                return _clashing(cell, var, expected, got)
    raise SketchError("no demand for a dimension is left unmet")


def _clashing(cell: Cell, var: str, expected: str, got: str) -> Cell:
    witness = {"var": var, "expected": expected, "got": got, "assignment": assignment(solve(cell))}
    explanation = f"What should be {expected} has the unit of {got}."
    return Cell(cell.pieces, cell.equations, cell.ask, "dimension", witness, explanation)


def _dimension(tree: Tree, dimensions: Mapping[str, Any]) -> Any:
    assert isinstance(tree, tuple), "a frame's result is one product or quotient"
    left, right = (dimensions[str(side)] for side in tree[1:])
    return left + right if tree[0] == "*" else left - right


def _quotient_numbers(frame: Frame, rng: random.Random) -> list[Values]:
    """(n, k) and (n', k'): each divides its own, neither divides the other's."""
    while True:
        (n, k), (m, j) = ((divisor * rng.randint(2, 50 // divisor), divisor) for divisor in rng.sample(range(3, 10), 2))
        wrong = n % j and m % k
        if wrong and min(n, m) >= 10 and len({n, m, k, j}) == 4 and n // k > 1 and m // j > 1:
            extra = Fraction(rng.choice([number for number in range(2, 10) if number not in (k, j)]))
            return [{"n": Fraction(a), "k": Fraction(b), "b": extra} for a, b in ((n, k), (m, j))]


def _quotient_cells(frame: Frame, numbers: list[Values], rng: random.Random) -> dict[str, Cell]:
    cells = {}
    for name, (f, g) in FACTORS.items():
        values = {"n": numbers[f]["n"], "k": numbers[g]["k"], "b": numbers[0]["b"]}
        cell = Cell(read_marks(frame["text"], values, "y", frame.get("unused", ())), _equations(frame), "y")
        cells[name] = cell if f == g else _broken(cell)
    return cells


def _broken(cell: Cell) -> Cell:
    values = solve(cell)
    counted = next(piece.text for piece in cell.pieces if piece.demand)
    witness = {"var": "y", "type": "count", "value": str(values["y"]), "assignment": assignment(values)}
    explanation = f"{values['n']} divided by {values['k']} is {values['y']}, which is no whole number of {counted}."
    return Cell(cell.pieces, cell.equations, cell.ask, "violates", witness, explanation)


def _claim_numbers(frame: Frame, rng: random.Random) -> list[Values]:
    return [{"x": Fraction(rng.randint(12, 50)), "b": Fraction(rng.randint(2, 9))}]


def _claim_cells(frame: Frame, numbers: list[Values], rng: random.Random) -> dict[str, Cell]:
    x, b = numbers[0]["x"], numbers[0]["b"]
    others = [x + step for step in (*range(-9, 0), *range(1, 10)) if 12 <= x + step <= 50]
    values, claims = choose_claims(x, others, rng)
    cells = {}
    for name, (f, g) in FACTORS.items():
        before, after = frame["text"].split("[claim]")
        numbers_of_cell = {"x": values[f], "b": b}
        pieces = [
            *read_marks(before, numbers_of_cell, "y"),
            claim_piece("x", claims[g]),
            *read_marks(after, numbers_of_cell, "y"),
        ]
        cells[name] = claim_cell(Cell(pieces, _equations(frame), "y"), "x", claims, f, g, values)
    return cells


NUMBERS = {"units": _unit_numbers, "illogical": _quotient_numbers, "assumption": _claim_numbers}
MAKERS = {"units": _unit_cells, "illogical": _quotient_cells, "assumption": _claim_cells}
