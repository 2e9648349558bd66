"""Does an answer name the right flaw, and does it mend the problem?

Located: the FLAW line, or else the end of the answer, names the flaw's category and no other one; or it quotes what
proves the flaw: both conflicting values, or the masked quantity. A repair is accepted where the checker, given the text
of the REPAIR line, finds a sound problem that differs only in what the certificate quotes (ump.md section 5).
"""

import re
from fractions import Fraction

from tenfold.systems.ump.answers import NUMBER, read_lines, to_number, visible, without_lines
from tenfold.systems.ump.cues import CONTEXT
from tenfold.systems.ump.problems import CATEGORIES, Certificate, Problem
from tenfold.systems.ump.repairs import answer_of_edited

NAMES = {
    "inconsistent": r"inconsisten|contradict|conflict|disagree|do(?:es)? ?n(?:o|')t agree",
    "undefined": r"missing|undefined|undetermined|unspecified|insufficient|not enough|(?:not|never|n't)"
    r" (?:\w+ )?(?:given|stated?|specified|defined?|told|mentioned|provided?)",
    "units": r"\bunits?\b|dimension",
    "illogical": r"illogical|not a whole|whole number|fraction of a|not divisible|divided? evenly"
    r"|equal(?:ly)? (?:split|parts)",
    "assumption": r"false (?:assumption|premise|claim|statement)|assumption|premise (?:is|that)|\bis(?: not|n't)"
    r" (?:a |an )?(?:prime|multiple|square|perfect|triang)",
}
PATTERNS = {name: re.compile(pattern) for name, pattern in NAMES.items()}


def is_located(problem: Problem, answer: str) -> bool:
    """Whether the answer says what is wrong; only for flawed problems of a known category."""
    lines = read_lines(answer)
    ending = without_lines(visible(answer))[-CONTEXT:]
    named = _categories(lines.flaw) or _categories(ending)
    return named == {problem.category} or _is_quoted(problem.certificate, f"{lines.flaw}\n{ending}")


def can_be_located(problem: Problem) -> bool:
    """Whether we know what an answer would have to say."""
    return not problem.sound and problem.category in CATEGORIES


def offered_repair(answer: str) -> str:
    """The corrected problem that the answer offers; empty where it offers none."""
    return read_lines(answer).repair.strip("\"'“”<> ")


def is_repaired(problem: Problem, repair: str) -> bool:
    """Whether the offered text is sound by the checker, or the very repair whose soundness the record proves."""
    own = problem.repair.apply(problem.question) if problem.repair else None
    return repair.split() == (own or "").split() != [] or answer_of_edited(problem, repair) is not None


def _categories(text: str) -> set[str]:
    lowered = text.lower().replace("’", "'")
    return {name for name, pattern in PATTERNS.items() if pattern.search(lowered)}


def _is_quoted(certificate: Certificate | None, text: str) -> bool:
    if certificate is None:
        return False
    witness = certificate.witness
    if certificate.verdict == "inconsistent":
        return {Fraction(value) for value in witness["values"]} <= _numbers(text)
    if certificate.verdict == "underdetermined":
        masked = [fact.text for fact in certificate.facts if fact.var == witness["free"]]
        return any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in masked)
    return False


def _numbers(text: str) -> set[Fraction | None]:
    return {to_number(match.group()) for match in NUMBER.finditer(text)}
