"""The proof of each verdict, given the derivations: one function a verdict, which raises Refused where the proof fails."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from tenfold.systems.ump import checker_units as units
from tenfold.systems.ump.derivations import (
    Derivations,
    RefusedError,
    derive,
    dimensions,
    inputs,
    rational,
    value_of,
    variables_of,
)
from tenfold.systems.ump.problems import Certificate, Constraint

RANGES: dict[str, Callable[[Fraction], bool]] = {
    "count": lambda value: value.denominator == 1 and value >= 0,
    "nonneg": lambda value: value >= 0,
    "percent": lambda value: 0 <= value <= 100,
    "probability": lambda value: 0 <= value <= 1,
}


def prove(certificate: Certificate) -> Fraction | None:
    """The answer if the verdict is `unique` and holds, None if another verdict holds; Refused if the verdict fails."""
    derivations = derive(certificate)
    if certificate.verdict == "unique":
        return _unique(certificate, derivations)
    PROOFS[certificate.verdict](certificate, derivations)
    return None


def _unique(certificate: Certificate, derivations: Derivations) -> Fraction:
    value = answer_of(certificate, derivations)
    _same(certificate, "value", str(value))
    _same_assignment(certificate, derivations)
    return value


def answer_of(certificate: Certificate, derivations: Derivations) -> Fraction:
    """The answer of a text in which everything is determined, agrees, and meets every demand."""
    _all_agree(derivations)
    missing = variables_of(certificate) - derivations.values.keys()
    if missing:
        raise RefusedError(f"{', '.join(sorted(missing))} has no value")
    unmet = _unmet(certificate, derivations.first)
    if unmet:
        raise RefusedError(f"{unmet[0].type} does not hold of {unmet[0].var}")
    return derivations.first[certificate.ask]


def _inconsistent(certificate: Certificate, derivations: Derivations) -> None:
    if len(derivations.conflicts) != 1:
        raise RefusedError(f"{len(derivations.conflicts)} variables have two values, not one")
    var = derivations.conflicts[0]
    _same(certificate, "var", var)
    values = certificate.witness.get("values")
    if not isinstance(values, list) or {rational(value) for value in values} != set(derivations.values[var]):
        raise RefusedError(f"the witness does not name the values of {var}")
    _same_assignment(certificate, derivations)


def _underdetermined(certificate: Certificate, derivations: Derivations) -> None:
    free = certificate.witness.get("free")
    if free in derivations.values or free not in variables_of(certificate):
        raise RefusedError(f"{free} is not free")
    _all_agree(derivations)
    worlds = certificate.witness.get("assignments")
    if not isinstance(worlds, list) or len(worlds) != 2 or not all(isinstance(world, dict) for world in worlds):
        raise RefusedError("the witness does not hold two assignments")
    first, second = ({var: rational(value) for var, value in world.items()} for world in worlds)
    for world in (first, second):
        _satisfies(certificate, world)
    if first[free] == second[free] or first[certificate.ask] == second[certificate.ask]:
        raise RefusedError("the two assignments do not differ in the free variable and in the answer")


def _satisfies(certificate: Certificate, world: Mapping[str, Fraction]) -> None:
    """Refused unless the assignment gives every variable a value that every fact, equation and demand allows."""
    if world.keys() != variables_of(certificate):
        raise RefusedError("an assignment does not name exactly the variables")
    for fact in certificate.facts:
        if fact.value is not None and world[fact.var] != rational(fact.value):
            raise RefusedError(f"an assignment contradicts the fact {fact.text!r}")
    for equation in certificate.equations:
        if world[equation.var] != value_of(equation.expr, world):
            raise RefusedError(f"an assignment breaks the equation of {equation.var}")
    if _unmet(certificate, world):
        raise RefusedError("an assignment does not meet a demand")


def _violates(certificate: Certificate, derivations: Derivations) -> None:
    broken = _only_unmet(certificate, derivations)
    if broken.type not in RANGES:
        raise RefusedError(f"{broken.type} is no range that a value could leave")
    _same_break(certificate, derivations, broken)


def _false_predicate(certificate: Certificate, derivations: Derivations) -> None:
    broken = _only_unmet(certificate, derivations)
    if not broken.type.startswith("predicate:"):
        raise RefusedError(f"{broken.type} is no claim about a number")
    _same_break(certificate, derivations, broken)


def _dimension(certificate: Certificate, derivations: Derivations) -> None:
    broken = _only_unmet(certificate, derivations)
    expected = broken.type.removeprefix("dimension:")
    if expected == broken.type:
        raise RefusedError(f"{broken.type} is no demand for a dimension")
    _same(certificate, "var", broken.var)
    _same(certificate, "expected", expected)
    _same(certificate, "got", units.write(dimensions(certificate)[broken.var]))
    _same_assignment(certificate, derivations)


PROOFS: dict[str, Callable[[Certificate, Derivations], None]] = {
    "inconsistent": _inconsistent,
    "underdetermined": _underdetermined,
    "violates": _violates,
    "dimension": _dimension,
    "false_predicate": _false_predicate,
}


def _only_unmet(certificate: Certificate, derivations: Derivations) -> Constraint:
    _all_agree(derivations)
    unmet = _unmet(certificate, derivations.first)
    if len(unmet) != 1:
        raise RefusedError(f"{len(unmet)} demands are not met, not one")
    return unmet[0]


def _unmet(certificate: Certificate, values: Mapping[str, Fraction]) -> list[Constraint]:
    return [constraint for constraint in certificate.constraints if not _is_met(constraint, certificate, values)]


def _is_met(constraint: Constraint, certificate: Certificate, values: Mapping[str, Fraction]) -> bool:
    kind, _, detail = constraint.type.partition(":")
    if constraint.var not in values:
        raise RefusedError(f"the demand {constraint.type} is about {constraint.var}, which has no value")
    if kind == "per":
        return True
    if kind == "dimension":
        return units.write(dimensions(certificate)[constraint.var]) == detail
    if kind == "predicate":
        verdict = units.holds(detail, values[constraint.var])
        if verdict is None:
            raise RefusedError(f"we do not know the claim {detail!r}")
        return verdict
    if constraint.type not in RANGES:
        raise RefusedError(f"we do not know the demand {constraint.type!r}")
    return RANGES[constraint.type](values[constraint.var])


def _all_agree(derivations: Derivations) -> None:
    if derivations.conflicts:
        raise RefusedError(f"{derivations.conflicts[0]} has two values")


def _same_break(certificate: Certificate, derivations: Derivations, broken: Constraint) -> None:
    _same(certificate, "var", broken.var)
    _same(certificate, "type", broken.type)
    _same(certificate, "value", str(derivations.first[broken.var]))
    _same_assignment(certificate, derivations)


def _same(certificate: Certificate, key: str, expected: Any) -> None:
    if certificate.witness.get(key) != expected:
        raise RefusedError(f"the witness says {key} {certificate.witness.get(key)!r}, but it is {expected!r}")


def _same_assignment(certificate: Certificate, derivations: Derivations) -> None:
    """Refused unless the witness names the first value of every variable, and nothing is left without a value."""
    unknown = {var for equation in certificate.equations for var in inputs(equation.expr)} - derivations.values.keys()
    if unknown:
        raise RefusedError(f"{', '.join(sorted(unknown))} has no value")
    _same(certificate, "assignment", {var: str(value) for var, value in derivations.first.items()})
