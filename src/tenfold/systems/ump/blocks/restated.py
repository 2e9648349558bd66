"""`inconsistent`: a number of the text, and a sentence that restates a result which follows from it.

f: the number is x or x'. g: the sentence gives the result h(x) or h(x'). The sentence is a line of the solution without
its calculation, put before the question; only lines with a plain subject and verb, whose words all occur in the text, and
whose truth does not depend on the moment of the story, are taken.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tenfold.systems.ump.bases import Base, Bound, Equation
from tenfold.systems.ump.blocks.sketch import FACTORS, Cell, Piece, SketchError, assignment, depends_on, make_block, solve
from tenfold.systems.ump.blocks.story import context, equations, number_piece, origin, stays_sensible, tell
from tenfold.systems.ump.blocks.wordings import NAMES
from tenfold.systems.ump.chain import variables
from tenfold.systems.ump.numerals import Numeral, NumeralError, find_numerals, write_number
from tenfold.systems.ump.problems import Problem

LEADS = ("It turns out that", "As it turns out,", "In fact,", "It is known that")
_LINE = re.compile(
    r"(?P<before>[A-Z][A-Za-z ,'-]*?[a-z]) ?(?P<expression>\(?\$?\d[\d $,.()+*/x×%-]*)= ?(?P<sign>\$?)<<[^<>]*>>"
    r"(?P<value>\$?[\d,.]*\d)(?P<after>[^\d<>=+*/$]*)"
)
_OPENING = re.compile(r"^(?:(?:So|Thus|Therefore|Hence|That means|This means|This means that|That means that),? )+")
_VERB_LAST = re.compile(
    r"\b(?:is|was|are|were|costs?|spent|spends|earned|earns|makes|made|sold|sells|bought|buys|paid|pays|collects|collected"
    r"|produces|produced|eats|ate|drinks|drank|weighs|weighed|uses|used|received|receives|charged|charges|reads|read|ran|runs"
    r"|walks|walked|planted|plants|baked|bakes|picked|picks|drove|drives|travels|traveled|caught|catches|scored|scores"
    r"|writes|wrote|works|worked|cooked|cooks|needs|needed|takes|took|found|finds|saves|saved|equals|holds|contains|contained"
    r"|lost|loses|gave|gives|watched|watches|visited|swims|swam|sprints|jogs|has|had|have|gets|got)"
    r"(?: (?:a total of|in total|about|out to))?$"
)
_STATIVE = re.compile(r"\b(?:has|have|had|there|is|are|was|were|gets?|got)\b", re.IGNORECASE)
_MEASURE = re.compile(
    r"^(?:the |his |her )?(?:total |combined |overall )?"
    r"(?:number|cost|price|amount|weight|length|height|area|distance|income|salary|bill|fee)\b(?!.*\b(?:has|have|had)\b)",
    re.IGNORECASE,
)
_VAGUE = set(
    [
        "a",
        "an",
        "the",
        "per",
        "each",
        "every",
        "day",
        "days",
        "week",
        "weeks",
        "month",
        "months",
        "year",
        "years",
        "minute",
        "minutes",
        "hour",
        "hours",
        "total",
        "in",
        "all",
        "dollars",
        "money",
        "of",
        "for",
        "to",
        "altogether",
        "from",
        "at",
        "on",
        "his",
        "her",
    ]
)
_MOMENT = re.compile(
    r"\b(?:left|remain\w*|now|still|then|after|before|another|more|less|fewer|additional|extra|other|rest|new|already|again"
    r"|which|who|since|when|while|first|second|next|last|difference|because|if|would|could|should|assume|let|times|than"
    r"|each other|in addition|half|however|later|until|currently|initially|originally|previous\w*|so far|it|this|that|these"
    r"|those|one|two|three|four|five|six|seven|eight|nine|ten|and then|but|percent|also|only|twice|change|further"
    r"|discount\w*|increased?|decreased?|saved|lost|twenty|thirty|dozens?)\b",
    re.IGNORECASE,
)
_CHANGES = re.compile(
    r"\b(?:gave|gives|lost|loses|left|remaining|spent|spends|ate|eats|used|uses|then|later|after|now|another|more|took|takes"
    r"|sold|sells|bought|buys|returned|donated?|received|receives|adds?|added|threw|broke|away|still|died)\b",
    re.IGNORECASE,
)
_RATE = re.compile(r"(?:dollars )?(?:a|per|each|every) (?:day|week|month|year)")
_ADJUSTED = re.compile(
    r"\b(?:discount|tax|coupon|raise|increase\w*|decrease\w*|bonus|fees?|tips?|commission|interest|off|also|another|extra)\b",
    re.IGNORECASE,
)
_PLAIN_WORDS = set(
    [
        "a",
        "an",
        "the",
        "of",
        "in",
        "on",
        "for",
        "from",
        "to",
        "by",
        "at",
        "with",
        "and",
        "all",
        "is",
        "was",
        "are",
        "were",
        "total",
        "totals",
        "number",
        "amount",
        "cost",
        "costs",
        "price",
        "there",
        "he",
        "she",
        "his",
        "her",
        "their",
        "they",
        "altogether",
        "overall",
        "combined",
        "worth",
        "money",
        "sum",
        "day",
        "days",
        "week",
        "weeks",
        "month",
        "months",
        "year",
        "years",
        "dollars",
        "each",
        "per",
        "spent",
        "spends",
        "earned",
        "earns",
        "made",
        "makes",
        "paid",
        "pays",
        "bought",
        "buys",
        "sold",
        "sells",
        "has",
        "had",
        "have",
    ]
)
_FIXED_COUNT_NEAR = re.compile(
    r"^(?:-| ?(?:sisters?|brothers?|siblings?|children|kids|sons|daughters|friends|times|days|weeks|months|years|year-old|"
    r"hours (?:a|per|each)|hour|minutes|seconds|o'clock|degrees|percent|%|feet|inches|-))\b|^-",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile(
    r"\b(?:the|all|of|other|remaining|those|these|both|another|next|first|last|every)(?: \$)? ?$", re.I
)


@dataclass(frozen=True)
class Restated:
    """A sentence about a result: what stands before and after its number."""

    equation: Equation
    before: str
    after: str
    numeral: Numeral


def restated_block(base: Base, rng: random.Random) -> list[Problem]:
    """One block of a base.

    Raises:
        SketchError: no line of the solution makes a good sentence, or no number can be changed.
    """
    choices = list(_choices(base))
    if not choices:
        raise SketchError("no result can be restated")
    restated, bound, value = rng.choice(choices)
    lead = rng.choice(LEADS)
    cells = {
        cell: _cell(base, restated, bound, (bound.numeral.value, value), lead, *factors) for cell, factors in FACTORS.items()
    }
    return make_block("inconsistent", f"{base.source}-{base.split}-{base.source_id}", cells, origin(base))


def _choices(base: Base) -> Iterator[tuple[Restated, Bound, Fraction]]:
    for restated in sentences(base):
        for bound in base.numbers:
            if can_change(base, bound) and restated.equation.var in depends_on(equations(base), bound.var):
                for value in near_values(bound.numeral.value):
                    if _fits(base, restated, bound, value):
                        yield restated, bound, value
                        break


def can_change(base: Base, bound: Bound) -> bool:
    """Whether the number may have another value: nothing else stands for it, and it is no number that the world fixes."""
    before, after = context(base, bound.numeral.span)
    return (
        bound.alone
        and depends_on(equations(base), bound.var).isdisjoint(base.doubtful)
        and bound.numeral.kind in ("plain", "money")
        and bound.numeral.value >= 2
        and bound.numeral.span[1] <= base.last_sentence[0]
        and not _FIXED_COUNT_NEAR.match(after)
        and not _POINTS_BACK.search(before)
    )


def near_values(value: Fraction) -> list[Fraction]:
    """Other values that one would believe as well: near ones first, then simple multiples; as many digits come first."""
    steps = [
        value + sign * step for step in (*range(1, 11), 12, 15, 20, 25, 50, 100) for sign in (1, -1) if step * 2 <= value
    ]
    products = [value * factor for factor in (Fraction(3, 2), Fraction(1, 2), Fraction(2), Fraction(3))]
    good = [
        new for new in dict.fromkeys([*steps, *products]) if new >= 2 and (new.denominator == 1 or value.denominator > 1)
    ]
    return sorted(good, key=lambda new: (len(str(new)) != len(str(value)), abs(new - value) < value / 5))


def _fits(base: Base, restated: Restated, bound: Bound, value: Fraction) -> bool:
    """Whether all stays sensible, the results differ, and no number of one factor is also one of the other."""
    changes = {bound.var: value}
    if not stays_sensible(base, changes):
        return False
    old, new = base.values(), base.values(changes)
    var = restated.equation.var
    results = {old[var], new[var]}
    others = {old[base.ask], new[base.ask], bound.numeral.value, value}
    return len(results) == 2 and min(results) >= 2 and not results & others and _writable(new[var], restated.numeral)


def _writable(value: Fraction, numeral: Numeral) -> bool:
    return value.denominator == 1 or numeral.kind == "money"


def sentences(base: Base) -> Iterator[Restated]:
    """The lines of the solution that can stand in the story as sentences about a result that is not the answer."""
    for equation in base.equations[:-1]:
        if sum(equation.line == other.line for other in base.equations) == 1:
            restated = _sentence(base, equation)
            if restated and _told_before_question(base, equation):
                yield restated


def _sentence(base: Base, equation: Equation) -> Restated | None:
    match = _LINE.fullmatch(equation.line.strip())
    if not match:
        return None
    before = _OPENING.sub("", match["before"])
    after = match["after"].strip().rstrip(".").strip()
    written = ("$" if match["sign"] else "") + match["value"]
    if not _is_plain(base, before, after) or written.startswith("$$"):
        return None
    numeral = _only_numeral(written)
    if numeral is None or numeral.value != equation.value or (numeral.kind == "plain" and not after):
        return None
    return Restated(equation, _lower_first(base, before), after, numeral)


def _only_numeral(text: str) -> Numeral | None:
    try:
        numerals = find_numerals(text)
    except NumeralError:
        return None
    return numerals[0] if len(numerals) == 1 else None


def _is_plain(base: Base, before: str, after: str) -> bool:
    sentence = f"{before} {after}"
    return (
        _VERB_LAST.search(before) is not None
        and len(before.split()) >= 2
        and not _MOMENT.search(sentence)
        and _is_timeless(base, before)
        and (_is_definite(before, after) or _is_steady_rate(base, after))
        and _pronoun_is_clear(base, sentence)
        and _words_occur(base, before, after)
        and after[:1] not in tuple("(,;:-")
        and not re.match(r"(?i)(?:amount|number|cost|price|total)\b", before)
    )


def _is_timeless(base: Base, before: str) -> bool:
    """Whether the sentence is true at the end of the story if it was true at some moment."""
    if not _STATIVE.search(before) or _MEASURE.search(before):
        return True
    return _CHANGES.search(base.question[: base.last_sentence[0]]) is None


def _is_definite(before: str, after: str) -> bool:
    """Whether the sentence says what its number counts: its subject is a measure, or a noun follows."""
    if re.search(r"\b(?:he|she|they|is|was|were|are)\b", after, re.IGNORECASE):
        return False
    return _MEASURE.search(before) is not None or bool(set(re.findall(r"[a-z]+", after.lower())) - _VAGUE)


def _is_steady_rate(base: Base, after: str) -> bool:
    """Whether what follows the number is `a week` or the like, and nothing in the story changes what is paid or earned."""
    return _RATE.fullmatch(after) is not None and _ADJUSTED.search(base.question) is None


def _pronoun_is_clear(base: Base, sentence: str) -> bool:
    story = base.question[: base.last_sentence[0]]
    he, she = (re.search(rf"\b(?:{words})\b", story, re.IGNORECASE) for words in ("he|him|his", "she|her|hers"))
    if re.search(r"\bthey|their\b", sentence, re.IGNORECASE):
        return False
    if re.search(r"\b(?:he|his|him)\b", sentence, re.IGNORECASE):
        return he is not None and she is None
    if re.search(r"\b(?:she|her)\b", sentence, re.IGNORECASE):
        return she is not None and he is None
    return True


def _words_occur(base: Base, before: str, after: str) -> bool:
    """Whether every word is a plain one or occurs in the text: up to its ending before the number, exactly behind it."""
    words = set(re.findall(r"[a-z]+", base.question.lower())) | _PLAIN_WORDS
    stems = {_stem(word) for word in words}
    return set(re.findall(r"[a-z]+", after.lower())) <= words and all(
        _stem(word) in stems for word in re.findall(r"[a-z]+", before.lower())
    )


def _stem(word: str) -> str:
    return re.sub(r"(?:es|s|ed|ing|d)$", "", word) if len(word) > 3 else word


def _lower_first(base: Base, sentence: str) -> str:
    """The sentence as it stands behind a lead: its first word stays a capital only if it is a name."""
    first = sentence.split()[0]
    is_name = re.search(rf"[a-z,] {first}\b", base.question) or first in NAMES
    return sentence if is_name else first.lower() + sentence[len(first) :]


def _told_before_question(base: Base, equation: Equation) -> bool:
    """Whether all numbers from which the result follows stand before the question."""
    needed, sources = {equation.var}, {}
    for other in base.equations:
        sources[other.var] = set(variables(other.tree))
    while True:
        grown = needed | {source for var in needed for source in sources.get(var, ())}
        if grown == needed:
            break
        needed = grown
    return all(bound.numeral.span[1] <= base.last_sentence[0] for bound in base.numbers if bound.var in needed)


def _cell(
    base: Base, restated: Restated, bound: Bound, values: tuple[Fraction, Fraction], lead: str, f: int, g: int
) -> Cell:
    var = restated.equation.var
    results = [base.values({bound.var: value})[var] for value in values]
    given = Piece(write_number(results[g], restated.numeral), var=var, value=results[g], blame=True)
    tail = f" {restated.after}. " if restated.after else ". "
    number = number_piece(bound, values[f])
    number = Piece(number.text, var=number.var, value=number.value, blame=True)
    pieces = tell(base, {bound.numeral.span: [number]}, [Piece(f"{lead} {restated.before} "), given, Piece(tail)])
    cell = Cell(pieces, equations(base), base.ask)
    if f == g:
        return cell
    witness = {"var": var, "values": [str(results[f]), str(results[g])], "assignment": assignment(solve(cell))}
    explanation = f"The last sentence before the question says {given.text}; from the other numbers it comes out as {write_number(results[f], restated.numeral)}."
    return Cell(pieces, cell.equations, cell.ask, "inconsistent", witness, explanation)
