"""Cues: words by which an answer says that something is wrong or missing. The rules stage, and parts of an answer.

A family is one regular expression over lower-cased text. `OPEN` families say that the problem leaves something open;
the others (assumptions, examples, conclusions) only help the linear stage to weigh them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from tenfold.systems.ump.answers import visible, without_lines

CONTEXT = 1500
"""Characters of the last two paragraphs that are looked at, as the labellers of stored answers did."""
LONGEST = 8000
"""Characters of the end of an answer in which paragraphs are looked for."""

_VERBS = (
    "determin|answer|calculat|comput|find|solv|know|tell|say|evaluat|deduc|figure"
    "|conclude|assign|simplif|establish|provid|give|infer|proceed|be "
)
_STATED = (
    "stated?|specif(?:y|ied)|provided?|given?|mention(?:ed)?|included?|contain|told|tell|say|indicated?|related?|directly"
    "|clear|know|known|defined?|correspond|involve|connect(?:ed)?|match|available|described?|well-defined|address(?:ed)?"
)
_NOT = r"(?:\bnot|n't)"

FAMILIES = {
    "undeterminable": r"\b(?:can ?not|can't|could ?n(?:o|')t|unable to|no way (?:to|of)|not possible to|impossible to"
    rf"|difficult to|hard to)\b[^.\n]{{0,60}}?\b(?:{_VERBS})",
    "not_enough": rf"{_NOT} (?:\w+ ){{0,3}}?(?:enough|sufficient|adequate|suffice)|\binsufficient"
    rf"|too little information|\binadequate",
    "missing": r"\bmissing\b|\black(?:s|ing|ed)?\b|\bomitted\b|\bincomplete|left out|under-?determined"
    r"|under-?specified|ill-?defined|ill-?posed",
    "absent": rf"{_NOT} (?:\w+ ){{0,2}}?(?:{_STATED})\b",
    "no_information": r"\bno (?:\w+ ){0,3}?(?:information|mention|data|details?|basis|indication|context"
    r"|relation|relationship"
    r"|connection|reference|given|way|direct|clear|logical|link)\b|\bnothing (?:in|about|to|is)|neither of|nowhere",
    "unknown": r"\bun(?:known|specified|defined|clear|stated|related|determined|solvable|answerable)\b"
    r"|\bindetermina|\birrelevant\b",
    "without": r"\bwithout (?:\w+ ){0,3}?(?:know|more|additional|further|information|specific"
    r"|context|inform|details?|data|values?|that|this|these|those|any|the|a)\b",
    "asks": r"please (?:\w+ )?(?:provide|clarify|specify|share|give|supply|check|double|state"
    r"|tell|confirm|let|include|review|verify)"
    r"|(?:can|could|would) you (?:please |kindly )?(?:provide|clarify|specify|share|give|tell|check|confirm)"
    r"|let me know (?:the|how|what|if you (?:know|have|can|meant|intended|find) |which|that|those|this)|tell me"
    r"|if you (?:can |could )?(?:provide|give|share|clarify|specify|know|tell)"
    r"|if you (?:have|had) (?:more|additional|the|any (?:more|additional|further)|that"
    r"|this|further|details)|once (?:you|we|i) "
    r"|to (?:get|give|provide|find|calculate|solve|determine) (?:\w+ ){0,4}?(?:you"
    r"|we|i)(?:'d| would)? (?:would |will |'ll )?need",
    "more": r"(?:more|additional|further|extra|other|specific|necessary|needed|required|crucial|relevant) (?:\w+ ){0,2}?"
    r"(?:information|info|context|details?|data|clarification|constraints?|conditions?|specifics|piece)",
    "needs": r"\b(?:we|you|i|one)(?:'d|'ll)?(?: would| will| still| also)? need(?:ed)?\b|\bneed to know\b"
    r"|\brequires? (?:more|additional|know|inform)|\b(?:is|are) (?:needed|required)\b",
    "clash": r"contradict|inconsisten|conflict|(?:doesn't|does not|not|no) (?:make )?sense|nonsens|\bimpossible\b"
    r"|no (?:real |valid )?(?:solution|answer|result)|illogical|flaw(?:ed)?\b|invalid|incompatible|at variance|disagree"
    r"|(?:do|does|did) ?n(?:o|')t (?:agree|fit|match|go together|add up|work out|hold)|can(?:no|')t (?:both"
    r"|happen|hold|be right|be true)"
    r"|(?:can|could) be right|false (?:premise|assumption)|(?:premise|assumption|claim|condition)s? (?:is|are"
    r"|fails?|cannot)\b"
    r"|(?:is|are|be) (?:wrong|false|erroneous)|exclude each other|not (?:possible|solvable|feasible)"
    r"|does not exist|there is no such",
    "error": r"\btypo|mistake|misprint|\berror in\b|an error|misstat|misunderst|ambigu|confus"
    r"|mismatch|mix-?up|\btrick|disconnect|unusual",
    "turn": r"\bhowever\b|\bbut\b|unfortunately|\bsorry\b|afraid|\balthough\b|since (?:we|the|there)",
    "depends": r"\bdepend(?:s|ing)? on\b|\bin terms of\b|as (?:a )?function of|general (?:formula|expression|form|solution)"
    r"|any (?:value|number|integer|positive)|infinitely many|range of|multiple (?:possible )?(?:solutions|answers)|unique",
    "assumes": r"\bassum|\bsuppose\b|\blet's say\b|\bif we (?:take|consider|interpret|treat|say"
    r"|assume)|\bhypothetical|\bpresum"
    r"|\binterpret|likely|typical|plausib|commonly",
    "example": r"for example|for instance|e\.g\.|example:|let's (?:say|assume|imagine|pretend)",
    "if": r"(?:^|[\s*(])if\b",
    "would": r"\bwould be\b|\bcould be\b|\bmight be\b|\bmay be\b|would have",
    "therefore": r"\btherefore\b|\bthus\b|\bhence\b|(?:^|\s)so,? (?:the|there|he|she|they|we|it)\b",
    "answer": r"final answer|\*\*answer|answer:|the answer is|conclusion",
    "given": r"provided|given information|information (?:given|provided)|based on the|the (?:problem|question)",
    "cleared": r"\bcleared\b|(?:makes|make) sense|\bsensible\b|\bconsistent\b|\bsolvable\b|\bsound\b|\bagrees?\b|\bfine\b"
    r"|\bvalid\b",
    "about": r"approximately|roughly|\\approx",
}
CLEARED = re.compile(
    r"(?:\bno|\bnot|n't|\bnothing|\bnone|\bneither|\bwithout)(?: \w+){0,3}? (?:missing|lacking|contradict\w*"
    r"|inconsisten\w*|flaws?"
    r"|conflicts?|wrong|impossible|ambiguit\w*|ambiguous|unclear|problems?|issues?|fails?)\b(?! not\b)"
    r"|(?:contradictions?|missing|flaws?|conflicts?|issues?): (?:no|none|nothing)\b"
    r"|no more information is needed|no (?:further|additional|other) information is (?:needed|required)"
)
"""Cue words that are denied: `nothing is missing` says the opposite of `missing`."""
PATTERNS = {name: re.compile(pattern) for name, pattern in FAMILIES.items()}
GAP = ("undeterminable", "not_enough", "missing", "absent", "no_information", "unknown", "without")
OPEN = (*GAP, "asks", "more", "needs", "clash", "error")

RULES = re.compile(
    r"cannot be (?:determined|answered|calculated|computed|found|solved)|can(?:no|')t (?:be )?(?:determin"
    r"|answer|calculat|comput"
    r"|find|solve)|not enough|insufficient|missing|please (?:provide|clarify|specify)|if you (?:can )?provide"
    r"|(?:does not|doesn't|do not|don't) (?:state|specify|provide|give|mention|include|contain|tell|say|know|have)"
    r"|not (?:given|specified|stated|provided|mentioned|possible|clear|sufficient)"
    r"|isn't|contradict|impossible|more information"
    r"|additional (?:information|context|details)|typo|without (?:knowing|more|additional|further)|unclear"
    r"|need (?:to know|more)|undefined|no information|let me know"
)
PARAGRAPH = re.compile(r"\n\s*\n")
SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
CLOSING = re.compile(
    r"(?:please )?(?:let me know|feel free|i(?:'m| am) happy|hope this helps|would you like)[^.!?\n]*"
    r"(?:other|another|any|more|different|like to|help|assist|want|explore)\b[^.!?\n]*[.!?]?"
)
ABOUT_THE_PROBLEM = re.compile(r"information|detail|clarif|provide|context|specif|value|number of|how (?:many|much)|data")


@dataclass(frozen=True)
class Parts:
    """The end of an answer, lower-cased, without verdict lines and without offers of further help."""

    paragraphs: tuple[str, ...]
    """Of the visible answer's end; at least one, possibly empty."""

    @staticmethod
    def of(answer: str) -> "Parts":
        text = without_lines(visible(answer))[-LONGEST:].lower().replace("’", "'")
        cleared = CLEARED.sub("cleared", _without_closing(text))
        paragraphs = tuple(part for part in PARAGRAPH.split(cleared) if part.strip())
        return Parts(paragraphs or ("",))

    @cached_property
    def two(self) -> str:
        """The last two paragraphs, at most CONTEXT characters."""
        return "\n\n".join(self.paragraphs[-2:])[-CONTEXT:]

    @cached_property
    def last(self) -> str:
        """The last paragraph."""
        return self.paragraphs[-1][-CONTEXT:]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Of the last two paragraphs; at least one, possibly empty."""
        return tuple(part for part in SENTENCE.split(self.two) if len(part.strip()) > 2) or ("",)


def has_cue(parts: Parts) -> bool:
    """The rules stage: whether the last two paragraphs hold a cue."""
    return RULES.search(parts.two) is not None


def families(text: str, among: Iterable[str] = FAMILIES) -> frozenset[str]:
    """The cue families that a lower-cased text shows."""
    return frozenset(name for name in among if PATTERNS[name].search(text))


def first_cue(answer: str) -> int | None:
    """Where in the whole answer, reasoning included, the first cue stands, in characters; None where there is none."""
    match = RULES.search(answer.lower().replace("’", "'"))
    return match.start() if match else None


def _without_closing(text: str) -> str:
    return CLOSING.sub(lambda match: match.group() if ABOUT_THE_PROBLEM.search(match.group()) else " ", text)
