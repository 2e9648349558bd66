"""Does a text say what a certificate says it does? Part of the checker.

Every fact and demand quotes the words that it reads; every number of the text, and every letter or name that a fact
speaks of, is quoted by a fact or listed as unused.
"""

import re
from collections.abc import Iterable
from itertools import pairwise

from tenfold.systems.ump import checker_units as units
from tenfold.systems.ump.derivations import RefusedError, rational
from tenfold.systems.ump.problems import Certificate, Constraint, Fact, Span
from tenfold.systems.ump.reading import numbers_in, read


def check_text(text: str, certificate: Certificate) -> None:
    """Refused unless the text says what the certificate says it does, and no number is passed over."""
    for fact in certificate.facts:
        _check_fact(text, fact)
    for constraint in certificate.constraints:
        _check_constraint(text, constraint)
    for span in certificate.unused:
        if read(quoted(text, span)) is None:
            raise RefusedError(f"{quoted(text, span)!r} is listed as unused, but is no number and no name")
    covered = [fact.span for fact in certificate.facts] + list(certificate.unused)
    claims = [demand.span for demand in certificate.constraints if demand.span and demand.type.startswith("predicate:")]
    check_apart([*covered, *claims])
    _check_covered(text, [*covered, *claims], numbers_in(text))
    _check_covered(text, covered, list(_spans_of(text, _names(text, certificate))))
    _check_persons(text, certificate)


def _check_fact(text: str, fact: Fact) -> None:
    if quoted(text, fact.span) != fact.text:
        raise RefusedError(f"the text does not say {fact.text!r} at {fact.span}")
    reading = read(fact.text)
    if reading is None:
        raise RefusedError(f"{fact.text!r} cannot be read")
    value = None if fact.value is None else rational(fact.value)
    if reading.value != value or reading.unit != fact.unit or reading.var not in (None, fact.var):
        raise RefusedError(f"{fact.text!r} does not read as {fact.var} = {fact.value} {fact.unit or ''}".rstrip())


def _check_constraint(text: str, constraint: Constraint) -> None:
    if constraint.span is None:
        if constraint.type not in ("count", "nonneg", "percent", "probability"):
            raise RefusedError(f"{constraint.type} needs the words of the text that demand it")
        return
    if constraint.text is None or quoted(text, constraint.span) != constraint.text:
        raise RefusedError(f"the text does not say {constraint.text!r} at {constraint.span}")
    if read_demand(constraint.text, constraint.type.partition(":")[0]) != constraint.type:
        raise RefusedError(f"{constraint.text!r} does not read as {constraint.type}")


def read_demand(words: str, kind: str) -> str | None:
    """The demand of a kind (count, dimension, per, predicate) that words make, or None."""
    if kind == "count":
        return "count" if words.lower().split()[-1] in units.INDIVISIBLE else None
    if kind == "predicate":
        predicate = units.predicate_of_words(words)
        return predicate and f"predicate:{predicate}"
    return f"{kind}:{units.demanded_base(words)}" if kind in ("dimension", "per") else None


def quoted(text: str, span: Span) -> str:
    """The words at a span; Refused if it does not lie in the text."""
    start, end = span
    if not 0 <= start < end <= len(text):
        raise RefusedError(f"the span {span} is not in the text")
    return text[start:end]


def check_apart(spans: Iterable[Span]) -> None:
    """Refused if two spans overlap."""
    ordered = sorted(spans)
    if any(after[0] < before[1] for before, after in pairwise(ordered)):
        raise RefusedError("two facts overlap")


def _check_covered(text: str, covered: Iterable[Span], needed: Iterable[Span]) -> None:
    for start, end in needed:
        if not any(begin <= start and end <= stop for begin, stop in covered):
            raise RefusedError(f"{text[start:end]!r} is neither a fact nor listed as unused")


def _names(text: str, certificate: Certificate) -> set[str]:
    """Letters and names that facts or unused words speak of: they must be accounted for wherever they stand."""
    stretches = [fact.text for fact in certificate.facts] + [quoted(text, span) for span in certificate.unused]
    readings = [(words, read(words)) for words in stretches]
    return {words.split(" = ")[0] for words, reading in readings if reading and reading.var}


def _spans_of(text: str, names: Iterable[str]) -> Iterable[Span]:
    for name in names:
        yield from (match.span() for match in re.finditer(rf"\b{re.escape(name)}\b", text))


def _check_persons(text: str, certificate: Certificate) -> None:
    """Where persons are named, the story is of one, who owns a result, and the question is of the one who is asked about."""
    persons = [fact for fact in certificate.facts if fact.value is None and len(fact.text) > 1]
    if not persons:
        return
    start = question_start(text)
    asked = {fact.var for fact in persons if fact.span[0] >= start}
    told = {fact.var for fact in persons if fact.span[0] < start}
    owners = {equation.var for equation in certificate.equations}
    if asked != {certificate.ask} or len(told) != 1 or not told <= owners:
        raise RefusedError("the persons of the story and of the question are not those of the certificate")


def question_start(text: str) -> int:
    """Where the last sentence begins."""
    ends = [match.end() for match in re.finditer(r"[.!?][\"”']? +(?=[A-Z0-9$])", text)]
    return ends[-1] if ends else 0
