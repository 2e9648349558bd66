"""`undefined` (b): all is told of one person, and another one is asked about.

f: N' tells a story about N, or N one about N'. g: N' asks about N, or N about N'. So all four texts have the same words.
Stories with more than one person, or with pronouns of both sexes, are refused.
"""

import random
import re
from collections.abc import Iterator

from tenfold.systems.ump.bases import Base
from tenfold.systems.ump.blocks.sketch import FACTORS, Cell, Piece, SketchError, assignment, make_block, solve
from tenfold.systems.ump.blocks.story import equations, origin, tell
from tenfold.systems.ump.problems import Problem, Span
from tenfold.systems.ump.wordings import MEN, NAMES, WOMEN, read_list

CALENDAR = frozenset(read_list("calendar.txt"))
_OTHER_PEOPLE = re.compile(
    r"\b(?:friends?|sisters?|brothers?|siblings?|mother|mom|father|dad|parents?|husband|wife|sons?|daughters?|aunt|uncle"
    r"|cousins?|grand\w+|neighbou?rs?|boss|roommates?|famil\w+|teams?|they|their|them|we|our|us|together|both|twins?"
    r"|teacher|students?|partner|classmates?|coworkers?|colleagues?|kids?|children|people|persons?|someone|others?)\b",
    re.IGNORECASE,
)
_ASKED = r"\b(?:does|did|do|will|is|was|has|have|had|can|could|would|should|must) (%s)\b(?!')"
_WORD = re.compile(r"[A-Za-z]+")


def person_block(base: Base, rng: random.Random) -> list[Problem]:
    """One block of a base.

    Raises:
        SketchError: the text is not about one person who is named in the question.
    """
    name, others = _find_person(base)
    second = rng.choice([other for other in others if other not in base.question])
    names = (name, second)
    cells = {cell: _cell(base, names, *factors) for cell, factors in FACTORS.items()}
    return make_block("undefined", f"{base.source}-{base.split}-{base.source_id}-person", cells, origin(base))


def _find_person(base: Base) -> tuple[str, list[str]]:
    """The one person of the text, and names of the same sex."""
    text, question = base.question, base.question[base.last_sentence[0] :]
    if _OTHER_PEOPLE.search(text):
        raise SketchError("the text is about more than one person")
    if re.search(r"\d|\bif\b", question, re.IGNORECASE):
        raise SketchError("the question tells more of the story")
    found = {name for name in _capitalised(base) if name in NAMES}
    if len(found) != 1 or not set(_capitalised(base)) <= found | CALENDAR:
        raise SketchError("the text is not about one person")
    name = found.pop()
    if not re.search(_ASKED % f"(?:{name}|he|she)", question) or not re.search(
        rf"\b{name}\b", text[: base.last_sentence[0]]
    ):
        raise SketchError("the question does not name the person")
    if re.search(r"\b(?:you|I|my|your|it|its|this|that|these|those|his|her|him)\b", question):
        raise SketchError("the question points back into the story")
    return name, _same_sex(name, text)


def _same_sex(name: str, text: str) -> list[str]:
    he, she = (
        re.search(rf"\b(?:{words})\b", text, re.IGNORECASE) for words in ("he|him|his|himself", "she|her|hers|herself")
    )
    if (he and (she or name not in MEN)) or (she and name not in WOMEN):
        raise SketchError("the pronouns do not fit the name")
    return WOMEN if name in WOMEN else MEN


def _capitalised(base: Base) -> Iterator[str]:
    """Words that begin with a capital though no sentence begins with them, and names at the beginning of one."""
    starts = {start for start, _ in base.sentences}
    for match in _WORD.finditer(base.question):
        if match.group()[0].isupper() and (match.start() not in starts or match.group() in NAMES):
            yield match.group()


def _mentions(base: Base, name: str) -> tuple[Span, list[Span], Span]:
    """Where the story first names the person, where a sentence begins with the name again, and where the question does.

    Raises:
        SketchError: the person is named elsewhere too.
    """
    start = base.last_sentence[0]
    pronoun = re.compile(_ASKED % "he|she").search(base.question, start)
    named = [match.span() for match in re.finditer(rf"\b{name}\b", base.question)]
    told, asked = [span for span in named if span[0] < start], [span for span in named if span[0] >= start]
    if not asked and pronoun:
        asked = [pronoun.span(1)]
    again = [span for span in told[1:] if _begins_sentence(base, span)]
    if len(asked) != 1 or len(again) != len(told) - 1:
        raise SketchError("the person is named too often")
    return told[0], again, asked[0]


def _begins_sentence(base: Base, span: Span) -> bool:
    starts = {start for start, _ in base.sentences}
    return span[0] in starts and re.match(r" [a-z]", base.question[span[1] :]) is not None


def _cell(base: Base, names: tuple[str, str], f: int, g: int) -> Cell:
    told, asked = names[f], names[g]
    first, again, last = _mentions(base, names[0])
    question = (base.last_sentence[0], base.last_sentence[0])
    mentions = {
        first: [Piece(told, var=told.lower())],
        **{span: [Piece("She" if names[0] in WOMEN else "He")] for span in again},
        question: [Piece(names[1 - g], unused=True), Piece(" asks: ")],
        last: [Piece(asked, var=asked.lower(), blame=True)],
    }
    opening = [Piece(names[1 - f], unused=True), Piece(" tells us this. ")]
    cell = Cell([*opening, *tell(base, mentions)], [*equations(base), (told.lower(), base.ask)], asked.lower())
    return cell if f == g else _underdetermined(cell, told, asked)


def _underdetermined(cell: Cell, told: str, asked: str) -> Cell:
    values = solve(Cell(cell.pieces, cell.equations, told.lower()))
    worlds = [assignment(values | {cell.ask: values[told.lower()] + more}) for more in (0, 1)]
    return Cell(
        cell.pieces,
        cell.equations,
        cell.ask,
        "underdetermined",
        {"free": cell.ask, "assignments": worlds},
        f"The question asks about {asked}, but everything in the text is about {told}.",
    )
