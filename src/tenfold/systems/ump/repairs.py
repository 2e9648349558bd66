"""Edits of a certified text: what its facts and demands say afterwards, and whether the text is then sound.

The checker uses `rebind` for the repair that a record carries, the judge of repairs `answer_of_edited` for one that a model
wrote.
"""

import re
from collections.abc import Iterable
from fractions import Fraction

from tenfold.systems.ump.derivations import RefusedError, derive
from tenfold.systems.ump.problems import Certificate, Constraint, Edit, Fact, Problem, Repair, Span
from tenfold.systems.ump.reading import read
from tenfold.systems.ump.textual import check_apart, check_text, quoted, read_demand
from tenfold.systems.ump.verdicts import answer_of


def repaired_answer(text: str, certificate: Certificate, repair: Repair) -> Fraction:
    """The answer of the repaired text; Refused unless it is sound."""
    check_apart(edit.span for edit in repair.edits)
    for edit in repair.edits:
        quoted(text, edit.span)
    mended_text = repair.apply(text)
    mended = rebind(certificate, repair.edits)
    check_text(mended_text, mended)
    return answer_of(mended, derive(mended))


def answer_of_edited(problem: Problem, text: str) -> Fraction | None:
    """The answer of a text that differs from the problem's only inside what its certificate quotes, if it is sound.

    None if it differs elsewhere, cannot be read, or is flawed.
    """
    certificate = problem.certificate
    if certificate is None:
        return None
    edits = _edits_between(problem.question, text, certificate)
    if edits is None:
        return None
    try:
        return repaired_answer(problem.question, certificate, Repair(edits=tuple(edits), answer=""))
    except RefusedError:
        return None


def _edits_between(question: str, text: str, certificate: Certificate) -> list[Edit] | None:
    demands = {constraint.span for constraint in certificate.constraints if constraint.span}
    spans = sorted({fact.span for fact in certificate.facts} | demands | set(certificate.unused))
    pattern, start = "", 0
    for begin, end in spans:
        pattern += re.escape(question[start:begin]) + "(.+?)"
        start = end
    match = re.fullmatch(pattern + re.escape(question[start:]), text.strip())
    if match is None:
        return None
    changed = zip(spans, match.groups(), strict=True)
    return [Edit(span=span, text=words) for span, words in changed if question[span[0] : span[1]] != words]


def rebind(certificate: Certificate, edits: Iterable[Edit]) -> Certificate:
    """The certificate with its facts and demands as the edited text states them; Refused where an edit cuts through one."""
    edits = sorted(edits, key=lambda edit: edit.span)
    facts = [_reread_fact(fact, edits) for fact in certificate.facts]
    persons = [fact for fact in facts if fact.value is None and len(fact.text) > 1]
    return certificate.model_copy(
        update={
            "facts": tuple(facts),
            "unused": tuple(_moved(span, edits) for span in certificate.unused),
            "constraints": tuple(_reread_constraint(constraint, edits) for constraint in certificate.constraints),
            "ask": persons[-1].var if persons else certificate.ask,
        }
    )


def _moved(span: Span, edits: Iterable[Edit]) -> Span:
    """Where a span lies after the edits; one that is replaced as a whole grows or shrinks with its words."""
    start, end = span
    shift = growth = 0
    for edit in edits:
        change = len(edit.text) - (edit.span[1] - edit.span[0])
        if edit.span == span:
            growth = change
        elif edit.span[1] <= start:
            shift += change
        elif edit.span[0] < end:
            raise RefusedError("an edit cuts through a fact")
    return start + shift, end + shift + growth


def _replaced(span: Span, edits: Iterable[Edit]) -> str | None:
    return next((edit.text for edit in edits if edit.span == span), None)


def _reread_fact(fact: Fact, edits: list[Edit]) -> Fact:
    span, words = _moved(fact.span, edits), _replaced(fact.span, edits)
    if words is None:
        return fact.model_copy(update={"span": span})
    reading = read(words)
    if reading is None:
        raise RefusedError(f"the edit {words!r} cannot be read")
    value = None if reading.value is None else str(reading.value)
    return Fact(span=span, text=words, var=reading.var or fact.var, value=value, unit=reading.unit)


def _reread_constraint(constraint: Constraint, edits: list[Edit]) -> Constraint:
    if constraint.span is None:
        return constraint
    span, words = _moved(constraint.span, edits), _replaced(constraint.span, edits)
    if words is None:
        return constraint.model_copy(update={"span": span})
    demand = read_demand(words, constraint.type.partition(":")[0])
    if demand is None:
        raise RefusedError(f"the edit {words!r} makes no demand that we know")
    return constraint.model_copy(update={"span": span, "text": words, "type": demand})
