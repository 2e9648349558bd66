"""The checker's arithmetic: what follows from a certificate's facts and equations, and in which dimension.

Equations are evaluated forward, in the order of their dependencies; a cycle is refused. A variable's derivations are the
values that its equations give, then those that the text states; they must agree unless the verdict says otherwise.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from typing import Any

from tenfold.systems.ump import checker_units as units
from tenfold.systems.ump.checker_units import Dimension
from tenfold.systems.ump.problems import Certificate, Expression

VARIABLE = re.compile(r"[a-z]\w*")


class RefusedError(Exception):
    """The certificate does not prove its claim; the message says where it fails."""


@dataclass(frozen=True)
class Derivations:
    """Variable -> all values that follow for it, an equation's first. Free variables are missing."""

    values: Mapping[str, tuple[Fraction, ...]]

    @property
    def first(self) -> dict[str, Fraction]:
        """One value for each variable."""
        return {var: values[0] for var, values in self.values.items()}

    @property
    def conflicts(self) -> list[str]:
        """Variables whose derivations differ."""
        return [var for var, values in self.values.items() if len(set(values)) > 1]


def rational(text: Any) -> Fraction:
    """A number of a certificate; Refused if it is none."""
    try:
        return Fraction(text)
    except (ValueError, TypeError, ZeroDivisionError):
        raise RefusedError(f"{text!r} is no rational number") from None


def inputs(expression: Expression) -> set[str]:
    """The variables of an expression; Refused if it is not built from + - * / over variables and rationals."""
    if isinstance(expression, str):
        if VARIABLE.fullmatch(expression):
            return {expression}
        rational(expression)
        return set()
    if len(expression) != 3 or expression[0] not in ("+", "-", "*", "/"):
        raise RefusedError(f"{expression!r} is no operation on two expressions")
    return inputs(expression[1]) | inputs(expression[2])


def value_of(expression: Expression, values: Mapping[str, Fraction]) -> Fraction:
    """The value of an expression whose variables all have one."""
    if isinstance(expression, str):
        return values[expression] if VARIABLE.fullmatch(expression) else rational(expression)
    left, right = value_of(expression[1], values), value_of(expression[2], values)
    match expression[0]:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
    if right == 0:
        raise RefusedError("an equation divides by zero")
    return left / right


def variables_of(certificate: Certificate) -> set[str]:
    """Every variable that a certificate speaks of."""
    named = {fact.var for fact in certificate.facts} | {certificate.ask}
    for equation in certificate.equations:
        named |= {equation.var} | inputs(equation.expr)
    return named


def in_order(certificate: Certificate) -> list[str]:
    """The variables, each after those that it is computed from; Refused for a cycle."""
    sources: dict[str, set[str]] = {var: set() for var in sorted(variables_of(certificate))}
    for equation in certificate.equations:
        sources[equation.var] |= inputs(equation.expr)
    try:
        return list(TopologicalSorter(sources).static_order())
    except CycleError:
        raise RefusedError("the equations run in a circle") from None


def derive(certificate: Certificate) -> Derivations:
    """All derivations of all variables."""
    values: dict[str, tuple[Fraction, ...]] = {}
    first: dict[str, Fraction] = {}
    for var in in_order(certificate):
        computed = [
            value_of(equation.expr, first)
            for equation in certificate.equations
            if equation.var == var and inputs(equation.expr) <= first.keys()
        ]
        stated = [rational(fact.value) for fact in certificate.facts if fact.var == var and fact.value is not None]
        if computed or stated:
            values[var] = (*computed, *stated)
            first[var] = values[var][0]
    return Derivations(values)


def dimensions(certificate: Certificate) -> dict[str, Dimension]:
    """The dimension of every variable, from the units of the facts; Refused where unlike things are added."""
    rates = {
        constraint.var: Dimension([constraint.type.removeprefix("per:")])
        for constraint in certificate.constraints
        if constraint.type.startswith("per:")
    }
    found = {
        fact.var: units.quotient(units.dimension_of_unit(fact.unit), rates.get(fact.var, Dimension()))
        for fact in certificate.facts
    }
    for var in in_order(certificate):
        for equation in certificate.equations:
            if equation.var == var:
                found[var] = _dimension(equation.expr, found)
    return found


def _dimension(expression: Expression, found: Mapping[str, Dimension]) -> Dimension:
    if isinstance(expression, str):
        return found.get(expression, Dimension())
    left, right = _dimension(expression[1], found), _dimension(expression[2], found)
    if expression[0] == "*":
        return units.product(left, right)
    if expression[0] == "/":
        return units.quotient(left, right)
    if left != right:
        raise RefusedError("an equation adds unlike things")
    return left
