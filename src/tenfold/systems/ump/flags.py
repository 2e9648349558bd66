"""What the linear stage sees of an answer: the end of its text with digits masked, and named flags.

A flag is 0 or 1: which cue families occur in the last two paragraphs, the last paragraph and the last sentence, how
many, and in what form the answer ends. The reference answer, where known, only tells whether its number is there.
The question and the label are never looked at, so a judgement cannot depend on them.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from tenfold.evals.judges.linear import Features
from tenfold.systems.ump.answers import BOX, END_OF_THOUGHT, to_number, visible
from tenfold.systems.ump.cues import FAMILIES, GAP, OPEN, Parts, families, has_cue

TOKENS = r"[^\W\d_]+|#|\?"
"""Words, each masked digit by itself (so that their number counts), and question marks."""
THRESHOLDS = (1, 2, 3, 5)
SCALE = 0.15
"""What a flag weighs against a text of length 1; the penalty of the fit sees both."""

DIGIT = re.compile(r"\d")
NUMBER = re.compile(r"\d+(?:\.\d+)?")
MARKUP = re.compile(r"\\(?:text\w*|math\w+|quad|left|right|displaystyle)")
COMMAND = re.compile(r"\\[a-z]+")
WORD = re.compile(r"[a-z]{4,}")
EQUALS_NUMBER = re.compile(r"=\s*\**\$?\s*-?\d")
BOLD_NUMBER = re.compile(r"\*\*[^*\n]*\d[^*\n]*\*\*")
SYMBOLS = re.compile(r"\\frac|\\\(|\\\[|\^|_")
OPERATOR = re.compile(r"[=+*/×÷]")
FINAL = re.compile(r"(?:answer|conclusion)\W{0,8}\s*([^\n]*(?:\n[^\n]+)?)\s*$")


def features(answer: str, reference: str | None = None) -> Features:
    """The view of an answer that the linear stage is fitted on and applied to."""
    parts = Parts.of(answer)
    flags = _of_cues(parts) | _of_ending(parts, visible(answer)) | _of_reference(parts, reference)
    flags |= _together(flags) | {"reasons": END_OF_THOUGHT in answer}
    return Features(mask(parts.two), {name: SCALE * flag for name, flag in flags.items()})


def mask(text: str) -> str:
    """The text without markup and with a `#` for each digit."""
    return DIGIT.sub("#", MARKUP.sub(" ", text))


def _of_cues(parts: Parts) -> dict[str, float]:
    two = families(parts.two)
    last, end = families(parts.last, two), families(parts.sentences[-1], two)
    flags: dict[str, float] = {"rules": has_cue(parts)}
    for name in FAMILIES:
        flags |= {f"{name}@two": name in two, f"{name}@last": name in last, f"{name}@end": name in end}
    for where, found in (("two", two), ("last", last), ("end", end)):
        for kind, members in (("open", OPEN), ("gap", GAP)):
            flags |= _at_least(f"{kind}@{where}", len(found.intersection(members)))
    gaps = [bool(families(sentence, GAP)) for sentence in parts.sentences] if two.intersection(GAP) else [False]
    first = families(parts.paragraphs[0][:600], OPEN)
    return flags | {
        "share of gap sentences": sum(gaps) / len(gaps),
        "gap near the end": any(gaps[-2:]),
        "gap, then more": any(before and not after for before, after in pairwise(gaps)),
        "gap at the beginning": bool(first.intersection(GAP)),
        "open at the beginning": bool(first),
    }


def _at_least(name: str, count: int) -> dict[str, float]:
    return {f"{name} >= {threshold}": count >= threshold for threshold in THRESHOLDS}


def _of_ending(parts: Parts, text: str) -> dict[str, float]:
    boxes = BOX.findall(text)
    box = boxes[-1].lower() if boxes else ""
    end, two = parts.sentences[-1], parts.two
    final = FINAL.search(two)
    stated = final.group(1) if final else ""
    digits, operators = len(DIGIT.findall(two)) / (len(two) + 1), len(OPERATOR.findall(two)) / (len(two) + 1)
    return {
        "box": bool(boxes),
        "number in box": bool(NUMBER.search(box)),
        "cue in box": bool(families(re.sub(r"[\\{}]|text", " ", box), OPEN)) if box else False,
        "word in box": bool(WORD.search(COMMAND.sub("", box))),
        "number at the end": bool(NUMBER.search(end)),
        "question at the end": end.rstrip().endswith("?"),
        "question": "?" in two,
        "number stated": bool(NUMBER.search(stated)) and not families(stated, OPEN),
        "cue stated": bool(families(stated, OPEN)) if stated else False,
        "bold number": bool(BOLD_NUMBER.search(parts.last)),
        "equals a number": bool(EQUALS_NUMBER.search(parts.last)),
        "symbols": bool(SYMBOLS.search(parts.last)),
        "symbols at the end": bool(SYMBOLS.search(end)),
        "no number": not NUMBER.search(two),
        "digits": min(1.0, 10 * digits),
        "many digits": digits > 0.03,
        "very many digits": digits > 0.08,
        "operators": min(1.0, 20 * operators),
        "short": len(text) < 300,
        "long": len(text) > 4000,
    }


def _of_reference(parts: Parts, reference: str | None) -> dict[str, float]:
    value = to_number(reference or "")
    numbers: Sequence[str] = NUMBER.findall(parts.two.replace(",", "")) if value is not None else ()
    values = [to_number(number) for number in numbers]
    return {
        "reference": value in values,
        "reference last": bool(values) and values[-1] == value,
        "no reference": value is None,
    }


def _together(flags: Mapping[str, float]) -> dict[str, float]:
    """A few flags that only mean something together."""
    gap, plain = flags["gap@two >= 1"], not flags["open@two >= 1"]
    guessed = flags["assumes@two"] or flags["example@two"]
    ends_on_number = flags["number at the end"] and not flags["open@end >= 1"]
    return {
        "plain": plain,
        "plain with a number": plain and not flags["no number"],
        "open without a number": not plain and bool(flags["no number"]),
        "gap without boxed number": bool(gap and not flags["number in box"]),
        "gap and a guess": bool(gap and guessed),
        "gap and a number at the end": bool(gap and ends_on_number),
        "gap alone": bool(gap and not (guessed or flags["number in box"] or ends_on_number)),
        "number at the end alone": bool(ends_on_number),
        "number at the end, if": bool(flags["number at the end"] and flags["if@end"]),
        "reference last, gap": bool(flags["reference last"] and gap),
        "reference last, plain": bool(flags["reference last"] and plain),
    }
