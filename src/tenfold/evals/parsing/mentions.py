"""Where an answer names an option: by its letter, by its text, or by its place ("the second option").

A letter inside an option's text ("Plan B") is no mention of that letter. Of texts that lie inside one another the longest
counts. "A" and "I" are also words, so they need a bracket, a stop or the end of the line after them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

WORDS_TOO = "AI"
USUAL = "ABCDEFGHIJ"
NAMED = re.compile(  # a name that ends in a letter, such as "vitamin C"
    r"\b(?:vitamins?|plan|grade|class|type|person|figure|panel|part|group|team|point|room|exhibit|hepatitis|appendix|side|"
    r"player|phase|level|size|column|row|section|model|generation|list|mr|mrs|ms|dr|scene|frame|step|site)\.?\s\Z",
    re.IGNORECASE,
)
NOUNS = (
    "option|choice|answer|one|title|description|meaning|statement|caption|alternative|candidate|text|sentence|"
    "suggestion|interpretation|item|possibility"
)
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
ORDINAL = re.compile(
    rf"\b(?:(?P<word>{'|'.join(ORDINALS)}|last|final|1st|2nd|3rd|[4-9]th|10th)\s+(?:of the\s+)?(?:{NOUNS})\b"
    r"|(?:option|choice|answer|number|title|description|statement|caption)\s*(?:number\s*|no\.?\s*|#\s*)?"
    r"(?P<digit>10|[1-9])\b(?![.,]?\d|\s*%)"
    rf"|(?:option|choice|number)\s+(?P<number>{'|'.join(NUMBERS)})\b)",
    re.IGNORECASE,
)
BARE_ORDINAL = re.compile(rf"\bthe\s+(?P<word>{'|'.join(ORDINALS)}|last)(?=\s*(?:[.,;!?]|\Z|or\b|and\b))", re.IGNORECASE)
WRITTEN = "A-Za-z0-9_\u00c0-\u024f\u0370-\u052f"
"""What makes a letter part of a word; Chinese, Japanese and Korean signs do not."""
STOP = re.compile(r"[^\S\n]*+(?:[.,:;!?)\]}\"'/&|\-\u2013\u2014\u2026>]|\Z|\n)|[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
LINKED = re.compile(
    r"\s++(?:because|since|as|and|or|but|for|which|with|due|given|if|while|here|then|rather|instead|und|oder|weil|parce|ou)\b"
)


@dataclass(frozen=True)
class Mention:
    """One place where an option is named."""

    letter: str
    start: int
    end: int
    kind: Literal["letter", "small", "text", "ordinal"]
    exact: bool = False
    """Of a text: whether it is set off (quotes, a line of its own) or too long to be there by chance."""


def find_mentions(text: str, options: Mapping[str, str]) -> list[Mention]:
    """All mentions in order; `text` is an answer as `clean` leaves it."""
    texts = text_mentions(text, options)
    taken = covered(text, texts)
    free = [mention for mention in [*_letters(text, options), *_ordinals(text, options)] if not taken[mention.start]]
    return sorted([*texts, *free], key=lambda mention: (mention.start, mention.end))


def text_mentions(text: str, options: Mapping[str, str]) -> list[Mention]:
    """Where an option's whole text stands, longest first, so that no text counts inside another; equal texts all count."""
    found: list[Mention] = []
    taken, spans = bytearray(len(text)), set[tuple[int, int]]()
    for letter, option in sorted(options.items(), key=lambda pair: -len(pair[1])):
        pattern = _text_pattern(option)
        for match in pattern.finditer(text) if pattern else ():
            start, end = match.span()
            if (start, end) in spans or not any(taken[start:end]):
                found.append(Mention(letter, start, end, "text", _stands_out(text, start, end, option)))
                spans.add((start, end))
                taken[start:end] = b"\1" * (end - start)
    return found


def covered(text: str, mentions: Iterable[Mention]) -> bytearray:
    """1 for each character of a text that lies inside a mention."""
    taken = bytearray(len(text))
    for mention in mentions:
        taken[mention.start : mention.end] = b"\1" * (mention.end - mention.start)
    return taken


def is_as_written(text: str, mention: Mention, options: Mapping[str, str]) -> bool:
    """Of a text: whether it has the option's own capitals, and one of them first, which a chance word has not."""
    own = options[mention.letter].strip(" .")
    return not own[:1].islower() and text[mention.start : mention.end] == own


def stops(text: str, end: int) -> bool:
    """Whether a bracket, a mark, a quote or the end of the line follows."""
    return STOP.match(text, end) is not None


def is_word_instead(text: str, mention: Mention) -> bool:
    """Whether a capital letter is the article "A" or the pronoun "I" rather than an option."""
    if mention.kind != "letter" or mention.letter not in WORDS_TOO or text[mention.start - 1 : mention.start] in ("(", "["):
        return False
    return not stops(text, mention.end) and LINKED.match(text, mention.end) is None


@lru_cache(maxsize=4096)
def _text_pattern(option: str) -> re.Pattern[str] | None:
    """The option's words in order, whatever stands between them; None for what has fewer than two characters."""
    words = re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", option)
    if len("".join(words)) < 2:
        return None
    pieces = [re.sub("['\u2019]", "'?", re.escape(word)) for word in words]
    return re.compile(r"(?<![^\W_])" + r"[\W_]{1,4}".join(pieces) + r"(?![^\W_])", re.IGNORECASE)


def _stands_out(text: str, start: int, end: int, option: str) -> bool:
    num_words = len(option.split())
    if num_words >= 3 or (num_words == 2 and text[start:end].strip(".") == option.strip(" .")):
        return True
    before, after = text[max(0, start - 8) : start].rstrip(" "), text[end : end + 8].lstrip(" .!,")
    quoted = before[-1:] in ('"', "'") and after[:1] in ('"', "'")
    return quoted or (before[-1:] in ("", "\n") and after[:1] in ("", "\n"))


def _letters(text: str, options: Mapping[str, str]) -> list[Mention]:
    """Capital letters that stand alone, and small ones before a mark (only an explicit statement makes use of those).

    Among them are usual letters that no option has, so that "the answer is E" can be told from no statement at all.
    """
    letters = "".join(options)
    capital = re.compile(rf"(?<!N/)(?<![{WRITTEN}'\-])[{letters}{USUAL}](?![{WRITTEN}'])(?!-\w)")
    small = re.compile(rf"(?<![{WRITTEN}'\-.])[{letters.lower()}](?![{WRITTEN}'\-])(?=\s*(?:[.,:;!)\]]|\n|\Z))")
    alone = [match for match in capital.finditer(text) if not NAMED.search(text[max(0, match.start() - 16) : match.start()])]
    found = [Mention(match.group(), *match.span(), "letter") for match in alone]
    return found + [Mention(match.group().upper(), *match.span(), "small") for match in small.finditer(text)]


def _ordinals(text: str, options: Mapping[str, str]) -> list[Mention]:
    letters = list(options)
    found: list[Mention] = []
    for match in [*ORDINAL.finditer(text), *BARE_ORDINAL.finditer(text)]:
        groups = match.groupdict()
        place = _place(groups["word"] or groups.get("digit") or groups.get("number") or "", len(letters))
        if place is not None and place < len(letters):
            found.append(Mention(letters[place], *match.span(), "ordinal"))
    return found


def _place(word: str, num_options: int) -> int | None:
    word = word.lower()
    if word in ("last", "final"):
        return num_options - 1
    for words in (ORDINALS, NUMBERS):
        if word in words:
            return words.index(word)
    digits = re.match(r"\d+", word)
    return int(digits.group()) - 1 if digits else None
