"""The independent checker: does a certificate prove the label of its text? It imports nothing of the generator.

`check` verifies one problem: (1) every fact reads as claimed, and every number of the text, in digits or words, is a fact
or listed as unused; (2) the equations are free of cycles and are evaluated in rationals; (3) the verdict holds by its
witness, with our own table of units and claims; (4) a repair makes the text sound, with the stated answer. `check_block`
verifies (5): four cells, flawed where the factors differ, and the same words in {c1, c2} and {u1, u2}. Whether the English
means the equations is beyond it; people read samples for that.
"""

import re
from collections import Counter
from collections.abc import Mapping

from tenfold.systems.ump.derivations import RefusedError, rational
from tenfold.systems.ump.problems import CELLS, Certificate, Problem
from tenfold.systems.ump.repairs import answer_of_edited, repaired_answer
from tenfold.systems.ump.textual import check_text
from tenfold.systems.ump.verdicts import prove

__all__ = ["answer_of_edited", "check", "check_block", "words_in"]

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
    except RefusedError as refusal:
        return str(refusal)
    return None


def _check(problem: Problem) -> None:
    certificate = problem.certificate
    if certificate is None:
        raise RefusedError("uncertified")
    check_text(problem.question, certificate)
    answer = prove(certificate)
    if answer is not None:
        _check_sound(problem, answer)
    else:
        _check_flawed(problem, certificate)


def _check_sound(problem: Problem, answer: object) -> None:
    if problem.flaw is not None or problem.repair is not None:
        raise RefusedError("the text is sound, but the record names a flaw")
    if problem.answer is None or rational(problem.answer) != answer:
        raise RefusedError(f"the answer is {answer}, but the record says {problem.answer}")


def _check_flawed(problem: Problem, certificate: Certificate) -> None:
    if problem.flaw is None or problem.answer is not None:
        raise RefusedError("the text is flawed, but the record calls it sound")
    if not problem.flaw.kind == problem.category == CATEGORY_OF[certificate.verdict]:
        raise RefusedError(f"the verdict {certificate.verdict} does not belong to the category {problem.category!r}")
    certified = {fact.span for fact in certificate.facts} | {constraint.span for constraint in certificate.constraints}
    if not problem.flaw.spans or not set(problem.flaw.spans) <= certified:
        raise RefusedError("the flaw does not point at facts or demands")
    if problem.repair is None:
        raise RefusedError("the flawed text has no repair")
    answer = repaired_answer(problem.question, certificate, problem.repair)
    if answer != rational(problem.repair.answer):
        raise RefusedError(f"the repaired text has the answer {answer}, not {problem.repair.answer}")


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
    if len({cell.question for cell in cells.values()}) < len(CELLS):
        return "two cells have the same text"
    return _check_words(cells)


def _check_words(cells: Mapping[str, Problem]) -> str | None:
    """No word may tell sound from flawed: the counts add up alike, and each depends on one factor at most.

    The second law holds for any function of the counts too, such as presence or a logarithm.
    """
    c1, c2, u1, u2 = (words_in(cells[cell].question) for cell in CELLS)
    if c1 + c2 != u1 + u2:
        return "the sound cells' words are not the flawed cells' words"
    both = [word for word in c1 | c2 if c1[word] not in (u1[word], u2[word])]
    if both:
        return f"the count of {both[0]!r} depends on both factors"
    if len({cells[cell].category for cell in CELLS}) != 1:
        return "the cells are of different categories"
    return None


def words_in(text: str) -> Counter[str]:
    """The words and marks of a text, with their counts."""
    return Counter(re.findall(r"\w+|[^\w\s]", text))
