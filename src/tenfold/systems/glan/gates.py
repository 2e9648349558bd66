"""Gates on single pairs: a pair in, the reason why it is not good enough out, or None. Nothing is asked and nothing lost.

    length      too few or too many words          truncation  cut off by the limit, an open fence, or no end
    echo        the answer repeats the question    refusal     the teacher declined, or spoke as a model
    language    not the language asked for         figure      the question needs a picture that is not there

Every gate has a version: a changed rule is a changed verdict.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tenfold.systems.glan.grams import gram_hashes, word_hashes, words_of
from tenfold.systems.glan.tree import Pair

VERSION = 1
LEAST_QUESTION, MOST_QUESTION = 4, 600
LEAST_ANSWER, MOST_ANSWER = 3, 4000
ECHO = 8
ECHO_SHARE = 0.8
ENDS = tuple(".!?:;)]}\"'`”’»*|$>…。！？")
HANGING = frozenset(words_of("a an the of to and or but with for in on at by from as is are was were that which because if"))
LONGEST_BARE_LINE = 8
"""A last line of more words needs a mark at its end; a shorter one may be a formula, a heading or an item of a list."""
REFUSALS = re.compile(
    r"\b(?:as an? (?:ai|artificial intelligence|(?:large )?language model)|i am an ai|i(?: a|')m (?:unable|not able) to|"
    r"i(?: a|')m (?:sorry|afraid),? (?:but|i )|"
    r"i (?:can ?not|can't|won't|will not) (?:help|assist|answer|provide|fulfil|complete|comply|do that))",
    re.IGNORECASE,
)
REFUSAL_WINDOW = 200
FIGURE = re.compile(
    r"\b(?:figure|diagram|graph|chart|image|picture|photo|map|table) (?:below|above|attached|provided below|shown)|"
    r"\b(?:shown|given|depicted|refer to|see|attached) (?:in )?(?:the |this )?(?:figure|diagram|image|picture|photo)\b",
    re.IGNORECASE,
)
COMMON_WORDS = frozenset(
    words_of(
        "the of and to a in is that for it as with are on be this by an or from at which can not if what how one we you has"
        "  have was were will would do does your their its than then each into about between there when where who why"
    )
)
LEAST_COMMON = 0.08
ENOUGH_WORDS = 20
LEAST_LATIN = 0.7


@dataclass(frozen=True)
class Reason:
    """Which gate holds a pair back, and the evidence."""

    gate: str
    detail: str


Gate = Callable[[Pair], str | None]


def length(pair: Pair) -> str | None:
    """Words of question and answer within their limits."""
    limits = {
        "question": (pair.instruction, LEAST_QUESTION, MOST_QUESTION),
        "answer": (pair.answer, LEAST_ANSWER, MOST_ANSWER),
    }
    for what, (text, least, most) in limits.items():
        number = len(text.split())
        if not least <= number <= most:
            return f"the {what} has {number} words; {least} to {most} are accepted"
    return None


def truncation(pair: Pair) -> str | None:
    """The teacher's own word, an open fence, or a last line that does not end."""
    if pair.truncated:
        return "cut off by the token limit"
    for what, text in (("question", pair.instruction), ("answer", pair.answer)):
        if text.count("```") % 2:
            return f"the {what} leaves a code fence open"
        if _hangs(text.rstrip()):
            return f"the {what} ends with {text.rstrip()[-30:]!r}"
    return None


def _hangs(text: str) -> bool:
    last_line = text.splitlines()[-1] if text else ""
    words = last_line.split()
    if not words or text.endswith(ENDS):
        return False
    return len(words) > LONGEST_BARE_LINE or text.endswith((",", "-")) or words[-1].lower() in HANGING


def echo(pair: Pair) -> str | None:
    """The answer starts with the question, or holds more than 0.8 of its runs of 8 words."""
    question, answer = words_of(pair.instruction), words_of(pair.answer)
    if answer[: len(question)] == question:
        return "the answer starts with the question"
    asked = set(gram_hashes(word_hashes(question), ECHO).tolist())
    repeated = asked & set(gram_hashes(word_hashes(answer), ECHO).tolist())
    if asked and len(repeated) > ECHO_SHARE * len(asked):
        return f"the answer holds {len(repeated)} of the question's {len(asked)} runs of {ECHO} words"
    return None


def refusal(pair: Pair) -> str | None:
    """The answer's beginning declines, or either text speaks as a language model."""
    found = REFUSALS.search(pair.answer[:REFUSAL_WINDOW].replace("’", "'")) or REFUSALS.search(pair.instruction)
    return f"{found[0]!r}" if found else None


def english(pair: Pair) -> str | None:
    """Latin letters, and in longer texts a share of common English words."""
    for what, text in (("question", pair.instruction), ("answer", pair.answer)):
        letters = [character for character in text if character.isalpha()]
        latin = sum(character < "\u0250" for character in letters)
        if letters and latin < LEAST_LATIN * len(letters):
            return f"{latin} of the {what}'s {len(letters)} letters are Latin"
        words = [word for word in words_of(text) if not word.isdigit()]
        common = sum(word in COMMON_WORDS for word in words)
        if len(words) >= ENOUGH_WORDS and common < LEAST_COMMON * len(words):
            return f"{common} of the {what}'s {len(words)} words are common English ones"
    return None


def figure(pair: Pair) -> str | None:
    """The question speaks of a picture or a table that is not in it."""
    found = FIGURE.search(pair.instruction)
    return f"{found[0]!r}" if found and "|" not in pair.instruction else None


GATES: Mapping[str, Gate] = {
    "truncation": truncation,
    "length": length,
    "refusal": refusal,
    "echo": echo,
    "language": english,
    "figure": figure,
}


def check(pair: Pair, *, language: str = "en") -> Reason | None:
    """The first gate that holds the pair back, or None; `language` is en, or any for no such gate."""
    for name, gate in GATES.items():
        detail = None if name == "language" and language == "any" else gate(pair)
        if detail is not None:
            return Reason(name, detail)
    return None
