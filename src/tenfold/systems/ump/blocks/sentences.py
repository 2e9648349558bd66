"""Lines of a solution as sentences of the story: "Mira fills 12*8=<<12*8=96>>96 jars." becomes "Mira fills 96 jars".

Few lines pass: a plain subject and verb before the number, words that all occur in the text, a pronoun that can mean one
person only, a truth that does not depend on the moment of the story, and no second number, condition or comparison.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tenfold.systems.ump.bases import Base, Equation
from tenfold.systems.ump.chain import variables
from tenfold.systems.ump.numerals import Numeral, NumeralError, find_numerals
from tenfold.systems.ump.wordings import NAMES, read_list

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
_VAGUE = frozenset(read_list("vague_words.txt"))
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
_PLAIN_WORDS = frozenset(read_list("plain_words.txt"))


@dataclass(frozen=True)
class Restated:
    """A sentence about a result: what stands before and after its number."""

    equation: Equation
    before: str
    after: str
    numeral: Numeral


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
        and not re.match(r"(?i)(?:amount|number|cost|price|total|and|or|but|with)\b", before)
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
    """The sentence as it stands behind a lead: its first word loses its capital if it is no name."""
    first = sentence.split()[0]
    is_word = first.lower() in _PLAIN_WORDS or re.search(rf"\b{first.lower()}\b", base.question)
    return first.lower() + sentence[len(first) :] if is_word and first not in NAMES else sentence


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
