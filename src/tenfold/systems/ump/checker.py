"""The independent checker: does a certificate prove the label of its text? It imports nothing of the generator.

`check` verifies one problem: (1) every fact reads as claimed, and every number of the text, in digits or words, is a fact or
listed as unused; (2) the equations are free of cycles and are evaluated in rationals; (3) the verdict holds by its witness,
with our own table of units and claims; (4) a repair makes the text sound, with the stated answer. `check_block` verifies (5):
four cells, flawed where the factors differ, and the same words in {c1, c2} and {u1, u2}. Whether the English means the
equations is beyond it; people read samples for that.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from tenfold.systems.ump import checker_units as units
from tenfold.systems.ump.derivations import Refused, derive, rational
from tenfold.systems.ump.problems import CELLS, Certificate, Constraint, Edit, Fact, Problem, Repair, Span
from tenfold.systems.ump.reading import numbers_in, read
from tenfold.systems.ump.verdicts import answer_of, prove

CATEGORY_OF = {
    "inconsistent": "inconsistent",
    "underdetermined": "undefined",
    "violates": "illogical",
    "dimension": "units",
    "false_predicate": "assumption",
}


def check(problem: Problem) -> str | None:
    """Why the certificate does not prove the label, or None if it does. A problem without certificate is refused."""
    try:
        _check(problem)
    except Refused as refusal:
        return str(refusal)
    return None


def _check(problem: Problem) -> None:
    certificate = problem.certificate
    if certificate is None:
        raise Refused("uncertified")
    check_text(problem.question, certificate)
    answer = prove(certificate)
    if answer is not None:
        _check_sound(problem, answer)
    else:
        _check_flawed(problem, certificate)


def _check_sound(problem: Problem, answer: object) -> None:
    if problem.flaw is not None or problem.repair is not None:
        raise Refused("the text is sound, but the record names a flaw")
    if problem.answer is None or rational(problem.answer) != answer:
        raise Refused(f"the answer is {answer}, but the record says {problem.answer}")


def _check_flawed(problem: Problem, certificate: Certificate) -> None:
    if problem.flaw is None or problem.answer is not None:
        raise Refused("the text is flawed, but the record calls it sound")
    if not problem.flaw.kind == problem.category == CATEGORY_OF[certificate.verdict]:
        raise Refused(f"the verdict {certificate.verdict} does not belong to the category {problem.category!r}")
    certified = {fact.span for fact in certificate.facts} | {constraint.span for constraint in certificate.constraints}
    if not problem.flaw.spans or not set(problem.flaw.spans) <= certified:
        raise Refused("the flaw does not point at facts or demands")
    if problem.repair is None:
        raise Refused("the flawed text has no repair")
    _check_repair(problem.question, certificate, problem.repair)


def check_text(text: str, certificate: Certificate) -> None:
    """Refused unless the text says what the certificate says it does, and no number is passed over."""
    for fact in certificate.facts:
        _check_fact(text, fact)
    for constraint in certificate.constraints:
        _check_constraint(text, constraint)
    for span in certificate.unused:
        if read(_at(text, span)) is None:
            raise Refused(f"{_at(text, span)!r} is listed as unused, but is no number and no name")
    covered = [fact.span for fact in certificate.facts] + list(certificate.unused)
    claims = [demand.span for demand in certificate.constraints if demand.span and demand.type.startswith("predicate:")]
    _check_apart([*covered, *claims])
    _check_covered(text, [*covered, *claims], numbers_in(text))
    _check_covered(text, covered, list(_spans_of(text, _names(text, certificate))))
    _check_persons(text, certificate)


def _check_fact(text: str, fact: Fact) -> None:
    if _at(text, fact.span) != fact.text:
        raise Refused(f"the text does not say {fact.text!r} at {fact.span}")
    reading = read(fact.text)
    if reading is None:
        raise Refused(f"{fact.text!r} cannot be read")
    value = None if fact.value is None else rational(fact.value)
    if reading.value != value or reading.unit != fact.unit or reading.var not in (None, fact.var):
        raise Refused(f"{fact.text!r} does not read as {fact.var} = {fact.value} {fact.unit or ''}".rstrip())


def _check_constraint(text: str, constraint: Constraint) -> None:
    if constraint.span is None:
        if constraint.type not in ("count", "nonneg", "percent", "probability"):
            raise Refused(f"{constraint.type} needs the words of the text that demand it")
        return
    if _at(text, constraint.span) != constraint.text:
        raise Refused(f"the text does not say {constraint.text!r} at {constraint.span}")
    if read_demand(constraint.text, constraint.type.partition(":")[0]) != constraint.type:
        raise Refused(f"{constraint.text!r} does not read as {constraint.type}")


def read_demand(words: str, kind: str) -> str | None:
    """The demand of a kind (count, dimension, per, predicate) that words make, or None."""
    if kind == "count":
        return "count" if words.lower().split()[-1] in units.INDIVISIBLE else None
    if kind == "predicate":
        predicate = units.predicate_of_words(words)
        return predicate and f"predicate:{predicate}"
    return f"{kind}:{units.demanded_base(words)}" if kind in ("dimension", "per") else None


def _at(text: str, span: Span) -> str:
    start, end = span
    if not 0 <= start < end <= len(text):
        raise Refused(f"the span {span} is not in the text")
    return text[start:end]


def _check_apart(spans: Iterable[Span]) -> None:
    ordered = sorted(spans)
    if any(after[0] < before[1] for before, after in zip(ordered, ordered[1:], strict=False)):
        raise Refused("two facts overlap")


def _check_covered(text: str, covered: Iterable[Span], needed: Iterable[Span]) -> None:
    for start, end in needed:
        if not any(begin <= start and end <= stop for begin, stop in covered):
            raise Refused(f"{text[start:end]!r} is neither a fact nor listed as unused")


def _names(text: str, certificate: Certificate) -> set[str]:
    """The letters and names that facts or the list of unused words speak of: they must be accounted for wherever they stand."""
    quoted = [fact.text for fact in certificate.facts] + [_at(text, span) for span in certificate.unused]
    readings = [(words, read(words)) for words in quoted]
    return {words.split(" = ")[0] for words, reading in readings if reading and reading.var}


def _spans_of(text: str, names: Iterable[str]) -> Iterable[Span]:
    for name in names:
        yield from (match.span() for match in re.finditer(rf"\b{re.escape(name)}\b", text))


def _check_persons(text: str, certificate: Certificate) -> None:
    """Where persons are named, the story is of one, whom an equation owns its result, and the question is of the asked one."""
    persons = [fact for fact in certificate.facts if fact.value is None and len(fact.text) > 1]
    if not persons:
        return
    start = question_start(text)
    asked = {fact.var for fact in persons if fact.span[0] >= start}
    told = {fact.var for fact in persons if fact.span[0] < start}
    owners = {equation.var for equation in certificate.equations}
    if asked != {certificate.ask} or len(told) != 1 or not told <= owners:
        raise Refused("the persons of the story and of the question are not those of the certificate")


def question_start(text: str) -> int:
    """Where the last sentence begins."""
    ends = [match.end() for match in re.finditer(r"[.!?][\"”']? +(?=[A-Z0-9$])", text)]
    return ends[-1] if ends else 0


def _check_repair(text: str, certificate: Certificate, repair: Repair) -> None:
    _check_apart(edit.span for edit in repair.edits)
    for edit in repair.edits:
        _at(text, edit.span)
    mended_text = repair.apply(text)
    mended = rebind(mended_text, certificate, repair.edits)
    check_text(mended_text, mended)
    answer = answer_of(mended, derive(mended))
    if answer != rational(repair.answer):
        raise Refused(f"the repaired text has the answer {answer}, not {repair.answer}")


def rebind(mended_text: str, certificate: Certificate, edits: Iterable[Edit]) -> Certificate:
    """The certificate's facts and demands as the edited text states them; Refused where an edit cuts through one."""
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
            raise Refused("an edit cuts through a fact")
    return start + shift, end + shift + growth


def _replaced(span: Span, edits: Iterable[Edit]) -> str | None:
    return next((edit.text for edit in edits if edit.span == span), None)


def _reread_fact(fact: Fact, edits: list[Edit]) -> Fact:
    span, words = _moved(fact.span, edits), _replaced(fact.span, edits)
    if words is None:
        return fact.model_copy(update={"span": span})
    reading = read(words)
    if reading is None:
        raise Refused(f"the edit {words!r} cannot be read")
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
        raise Refused(f"the edit {words!r} makes no demand that we know")
    return constraint.model_copy(update={"span": span, "text": words, "type": demand})


def check_block(cells: Mapping[str, Problem]) -> str | None:
    """Why four problems are no crossed block, or None if they are; each is checked as well."""
    if sorted(cells) != sorted(CELLS):
        return f"the block has the cells {', '.join(sorted(cells))}, not {', '.join(CELLS)}"
    for cell in CELLS:
        reason = check(cells[cell])
        if reason:
            return f"{cell}: {reason}"
    if any(cells[cell].sound != cell.startswith("c") for cell in CELLS):
        return "the flawed cells are not u1 and u2"
    return _check_words(cells)


def _check_words(cells: Mapping[str, Problem]) -> str | None:
    """Counts and presence of words must add up alike over sound and flawed cells, or a count of words could tell them apart."""
    c1, c2, u1, u2 = (words_in(cells[cell].question) for cell in CELLS)
    if c1 + c2 != u1 + u2:
        return "the sound cells' words are not the flawed cells' words"
    if Counter([*c1]) + Counter([*c2]) != Counter([*u1]) + Counter([*u2]):
        return "some word is present in more sound than flawed cells"
    if len({cells[cell].category for cell in CELLS}) != 1:
        return "the cells are of different categories"
    return None


def words_in(text: str) -> Counter[str]:
    """The words and marks of a text, with their counts."""
    return Counter(re.findall(r"\w+|[^\w\s]", text))
