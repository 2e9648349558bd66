"""Equations of numbers in an answer, such as `3 + 4 * 2 = 11`: are both sides equal? An optional gate; nothing is asked.

Only whole equations between numbers are judged: what holds a letter, or cannot be read as arithmetic, is left alone. A side
that was rounded to the digits that stand there is right; so is a share that is written as a percentage.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import pairwise

from tenfold.systems.glan.gates import Reason
from tenfold.systems.glan.tree import Pair

RUN = re.compile(r"(?<![\w.,)/*+\-–−×÷=%$€£(])(?<![/*+\-–−×·x÷=] )[\d$€£(][\d\s.,$€£()%+\-−–*x×·/÷=≈]*[\d)%](?![\w(^²³])")
"""A stretch of text that may be an equation."""
BREAKS = re.compile(r"\n|[.,]\s|\s{3,}")
"""Where one equation ends and another begins."""
TIMES = re.compile(r"(?<=[\d)%])\s*[x×·]\s*(?=[\d($€£])")
CALCULATION = re.compile(r"[\d)%]\s*[-+*/x×·÷–−]")
LONGEST = 200
OPERATORS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def false_equation(text: str) -> str | None:
    """The first equation of numbers in a text that does not hold, or None."""
    return next((left + " = " + right for left, right in equations(text) if _holds(left, right) is False), None)


def arithmetic(pair: Pair) -> Reason | None:
    """The gate: every equation of numbers in the answer holds."""
    found = false_equation(pair.answer)
    return Reason("arithmetic", f"{found} does not hold") if found else None


def equations(text: str) -> Iterator[tuple[str, str]]:
    """(left, right) of every equals sign between two pieces of arithmetic, in the order of the text."""
    for run in RUN.findall(text):
        for part in BREAKS.split(run):
            sides = [side.strip() for side in re.split(r"[=≈]", part)]
            yield from ((left, right) for left, right in pairwise(sides) if left and right and len(part) <= LONGEST)


def _holds(left: str, right: str) -> bool | None:
    """Whether two sides are equal; None where one cannot be read or neither is a calculation."""
    if not (CALCULATION.search(left) or CALCULATION.search(right)):
        return None
    first, second = _value(left), _value(right)
    if first is None or second is None:
        return None
    return any(_equal(first, second * factor, _decimals(right)) for factor in _readings(right)) or _equal(
        second, first, _decimals(left)
    )


def _readings(side: str) -> tuple[Fraction, ...]:
    """A percentage is a share, or the number of hundredths."""
    return (Fraction(1), Fraction(100)) if "%" in side else (Fraction(1),)


def _equal(exact: Fraction, written: Fraction, decimals: int) -> bool:
    """Equal, or what is left when `exact` is rounded or cut off after so many digits."""
    unit = Fraction(1, 10**decimals)
    is_whole = (exact / unit).denominator == 1
    return exact == written if is_whole else abs(exact - written) < unit


def _decimals(side: str) -> int:
    """Digits behind the point of a side that is a single number; else those of no rounding."""
    found = re.fullmatch(r"[$€£]?\s*-?[\d,]*(?:\.(\d+))?(%?)", side)
    if not found:
        return 12
    return len(found[1] or "") + (2 if found[2] else 0)


def _value(side: str) -> Fraction | None:
    plain = TIMES.sub("*", re.sub(r"[$€£]\s*", "", side))
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain).replace("−", "-").replace("–", "-").replace("÷", "/")
    plain = re.sub(r"(\d+(?:\.\d+)?)%", r"(\1/100)", plain).strip()
    try:
        return _evaluated(ast.parse(plain, mode="eval").body, plain)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _evaluated(node: ast.expr, source: str) -> Fraction:
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](_evaluated(node.left, source), _evaluated(node.right, source))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _evaluated(node.operand, source)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return Fraction(ast.get_source_segment(source, node) or "")  # as written: 0.1 is a tenth
    raise ValueError(ast.dump(node))
