"""From pieces of text to problems: a cell is a list of pieces, some of which carry what they say.

The four cells of a block have pieces at the same places, so the repair of a flawed cell is read off: put in what its
sound partner has at the places where the two differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from tenfold.systems.ump import problems
from tenfold.systems.ump.chain import Tree, evaluate, to_expression, variables
from tenfold.systems.ump.problems import Category, Certificate, Constraint, Edit, Fact, Flaw, Problem, Repair, Span, Verdict

FACTORS = {"c1": (0, 0), "c2": (1, 1), "u1": (0, 1), "u2": (1, 0)}
"""The cells and their two factors; a cell is flawed where the factors differ."""
PARTNERS = {"u1": "c1", "u2": "c2"}


class SketchError(ValueError):
    """A block that cannot be made as planned; the message says why in a few words."""


@dataclass(frozen=True)
class Piece:
    """A stretch of text, and what it says: a fact, a demand on a variable, or a number that nothing uses."""

    text: str
    var: str | None = None
    value: Fraction | None = None
    unit: str | None = None
    demand: tuple[str, str] | None = None
    """(variable, type of constraint)"""
    unused: bool = False
    blame: bool = False
    """Whether a flawed text is to blame on this piece."""


@dataclass(frozen=True)
class Cell:
    """One text with the mathematics behind it."""

    pieces: Sequence[Piece]
    equations: Sequence[tuple[str, Tree]]
    ask: str
    verdict: Verdict = "unique"
    witness: Mapping[str, Any] | None = None
    explanation: str = ""


@dataclass(frozen=True)
class Origin:
    """Where a block comes from."""

    source: str
    source_id: str
    split: str
    licence: str
    question: str | None = None
    answer: Fraction | None = None


def solve(cell: Cell) -> dict[str, Fraction]:
    """The values of all variables, first the facts', then by the equations; a fact about a result is not looked at.

    Raises:
        KeyError: a variable is free.
    """
    results = {var for var, _ in cell.equations}
    values = {
        piece.var: piece.value for piece in cell.pieces if piece.var and piece.value is not None and piece.var not in results
    }
    for var, tree in cell.equations:
        values[var] = evaluate(tree, values)
    return values


def assignment(values: Mapping[str, Fraction]) -> dict[str, str]:
    """Values as a witness writes them."""
    return {var: str(value) for var, value in values.items()}


def make_block(category: Category, name: str, cells: Mapping[str, Cell], origin: Origin) -> list[Problem]:
    """The four problems of a block."""
    block = f"{category}-{name}"
    made = {cell: _problem(category, block, cell, cells, origin) for cell in problems.CELLS}
    return [
        problem if problem.sound else _with_repair(problem, cells[cell], cells[PARTNERS[cell]], made[PARTNERS[cell]])
        for cell, problem in made.items()
    ]


def _problem(category: Category, block: str, name: str, cells: Mapping[str, Cell], origin: Origin) -> Problem:
    cell = cells[name]
    spans = _spans(cell.pieces)
    certificate = _certificate(cell, spans)
    sound = cell.verdict == "unique"
    return Problem(
        id=f"{block}-{name}",
        block=block,
        cell=name,
        pair_id=f"{block}-{name[1]}",
        category=category,
        tier=_tier(cell, origin),
        split=origin.split,
        source=origin.source,
        source_id=origin.source_id,
        question="".join(piece.text for piece in cell.pieces),
        answer=certificate.witness["value"] if sound else None,
        original_question=origin.question,
        original_answer=None if origin.answer is None else str(origin.answer),
        flaw=None if sound else _flaw(category, cell, spans),
        certificate=certificate,
        licence=origin.licence,
    )


def _spans(pieces: Sequence[Piece]) -> list[Span]:
    spans, start = [], 0
    for piece in pieces:
        spans.append((start, start + len(piece.text)))
        start += len(piece.text)
    return spans


def _certificate(cell: Cell, spans: Sequence[Span]) -> Certificate:
    placed = list(zip(cell.pieces, spans, strict=True))
    return Certificate(
        facts=tuple(
            Fact(
                span=span,
                text=piece.text,
                var=piece.var,
                value=None if piece.value is None else str(piece.value),
                unit=piece.unit,
            )
            for piece, span in placed
            if piece.var
        ),
        unused=tuple(span for piece, span in placed if piece.unused),
        equations=tuple(problems.Equation(var=var, expr=to_expression(tree)) for var, tree in cell.equations),
        constraints=tuple(
            Constraint(var=piece.demand[0], type=piece.demand[1], span=span, text=piece.text)
            for piece, span in placed
            if piece.demand
        ),
        ask=cell.ask,
        verdict=cell.verdict,
        witness=dict(cell.witness) if cell.witness is not None else _unique(cell),
    )


def _unique(cell: Cell) -> dict[str, Any]:
    values = solve(cell)
    return {"value": str(values[cell.ask]), "assignment": assignment(values)}


def _flaw(category: str, cell: Cell, spans: Sequence[Span]) -> Flaw:
    blamed = tuple(span for piece, span in zip(cell.pieces, spans, strict=True) if piece.blame)
    return Flaw(kind=category, spans=blamed, text=cell.explanation)


def _with_repair(problem: Problem, flawed: Cell, sound: Cell, partner: Problem) -> Problem:
    assert len(flawed.pieces) == len(sound.pieces), f"{problem.id} and its partner have different pieces"
    places = zip(flawed.pieces, _spans(flawed.pieces), sound.pieces, strict=True)
    edits = tuple(Edit(span=span, text=after.text) for before, span, after in places if before.text != after.text)
    assert partner.answer is not None, f"{partner.id} has no answer"
    return problem.model_copy(update={"repair": Repair(edits=edits, answer=partner.answer)})


def _tier(cell: Cell, origin: Origin) -> str:
    """`easy`: at most two calculations and no number above 50."""
    numbers = [piece.value for piece in cell.pieces if piece.value is not None]
    operations = sum(_num_operations(tree) for _, tree in cell.equations)
    return "easy" if operations <= 2 and all(number <= 50 for number in numbers) else "standard"


def _num_operations(tree: Tree) -> int:
    return 1 + _num_operations(tree[1]) + _num_operations(tree[2]) if isinstance(tree, tuple) else 0


def depends_on(equations: Sequence[tuple[str, Tree]], var: str) -> set[str]:
    """All results that change with `var`."""
    moved = {var}
    for result, tree in equations:
        if moved & set(variables(tree)):
            moved.add(result)
    return moved - {var}


def rename(tree: Tree, names: Mapping[str, str]) -> Tree:
    """The tree with some variables called otherwise."""
    if isinstance(tree, tuple):
        return (tree[0], rename(tree[1], names), rename(tree[2], names))
    return names.get(tree, tree) if isinstance(tree, str) else tree


def blamed(piece: Piece) -> Piece:
    """The piece as one that a flawed text is to blame on."""
    return replace(piece, blame=True)
