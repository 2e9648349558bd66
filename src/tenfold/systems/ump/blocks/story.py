"""The text of a base as pieces, with some stretches replaced and sentences put in before the last one."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

from tenfold.systems.ump.bases import Base, Bound
from tenfold.systems.ump.blocks.sketch import Origin, Piece, SketchError
from tenfold.systems.ump.numerals import write_number
from tenfold.systems.ump.problems import Span


def origin(base: Base) -> Origin:
    """Where blocks of this base come from."""
    return Origin(base.source, base.source_id, base.split, base.licence, base.question, base.answer)


def number_piece(bound: Bound, value: Fraction | None = None) -> Piece:
    """A number of the base, with its own value or another."""
    if bound.num_uses == 0:
        return Piece(bound.numeral.text, unused=True)
    if value is None:
        return Piece(bound.numeral.text, var=bound.var, value=bound.numeral.value)
    return Piece(write_number(value, bound.numeral), var=bound.var, value=value)


def tell(base: Base, replaced: Mapping[Span, Sequence[Piece]], inserted: Sequence[Piece] = ()) -> list[Piece]:
    """The text with other pieces at some spans, and with new sentences before the last one.

    `inserted` brings its own space at the end. Numbers outside the replaced spans stay as they are.
    """
    places = {bound.numeral.span: [number_piece(bound)] for bound in base.numbers} | dict(replaced)
    question = (base.last_sentence[0], base.last_sentence[0])
    pieces, start = [], 0
    for (begin, end), new in sorted({question: list(inserted), **places}.items()):
        if begin < start:
            raise SketchError("replaced stretches overlap")
        pieces += [Piece(base.question[start:begin]), *new]
        start = end
    return [*pieces, Piece(base.question[start:])]


def equations(base: Base) -> list:
    """The base's calculations as a cell holds them."""
    return [(equation.var, equation.tree) for equation in base.equations]


def stays_sensible(base: Base, changes: Mapping[str, Fraction]) -> bool:
    """Whether all results stay positive, whole ones whole, and the others as fine as cents."""
    try:
        values = base.values(changes)
    except ZeroDivisionError:
        return False
    return all(_sensible(values[equation.var], equation.value) for equation in base.equations)


def _sensible(new: Fraction, old: Fraction) -> bool:
    if new <= 0 or old <= 0:
        return False
    return new.denominator == 1 or (old.denominator != 1 and 100 % new.denominator == 0)


def context(base: Base, span: Span) -> tuple[str, str]:
    """The text before and after a span."""
    return base.question[: span[0]], base.question[span[1] :]
