"""Reads an answer to a question with lettered options, rule by rule (deepeval.md section 7)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tenfold.evals.parsing.cleaning import clean
from tenfold.evals.parsing.mentions import Mention, covered, find_mentions, is_word_instead, text_mentions
from tenfold.evals.parsing.statements import is_refusal, is_rejected, is_statement
from tenfold.evals.parsing.structured import boxed, json_answer, tagged

State = Literal["ok", "ambiguous", "none", "refusal", "truncated"]
Span = tuple[int, int]

JOINED = re.compile(
    r"[\"')\]]*\s*(?:,?\s*(?:or|and|und|oder|ou|y|as well as)\s+|[,/&|]\s*)(?:also\s+|option\s+)*[\"'(\[]*\Z", re.IGNORECASE
)
NOTHING = re.compile(r"[\"')\].;]{0,3}\s*[\"'(\[]?")
NEW_CLAUSE = re.compile(
    r"[\"')\]]*\s+(?:is|was|are|shows?|has|does|do|would|could|can|might|may|seems?|looks?|describes?)\b"
)
BARE = re.compile(
    r"[\s\"'(\[{>\-]*+(?:(?i:(?:the )?(?:option|choice|answer|letter))[\s:]*+)?+[\"'(\[{]*+\s*+([A-Z])[\s\"')\]}.,:;!]*+"
)
STARTED = re.compile(
    r"[\s\"'>\-]*+(?i:option\s++)?+(?:[(\[]\s*([A-Z])\s*[)\]][\"']?(?:\s|\Z|[.,:])"
    r"|([A-Z])\s*(?:[).:]|[-\u2013\u2014]\s)(?!\w\.)[\"']?(?:\s|\Z|[.,:])|([A-Z])\s*,?\s+(?:because|since|as)\b)"
)
LINE = re.compile(r"[^\n]+")
LISTED = 3
LONGEST = 20_000


@dataclass(frozen=True)
class Parse:
    """What an answer says."""

    state: State
    letter: str | None
    """The chosen option's letter; None unless the state is ok."""
    rule: str
    """The rule that decided."""
    span: Span | None
    """Where in the answer."""


Rule = Callable[["Answer"], Parse | None]


@dataclass(frozen=True)
class Answer:
    """An answer with what the rules need of it."""

    text: str
    """As `clean` leaves it."""
    options: Mapping[str, str]
    mentions: Sequence[Mention]


def parse_letter(answer: str, options: Mapping[str, str], *, truncated: bool = False) -> Parse:
    """The letter that an answer chooses.

    Args:
        answer: any text; it never makes this function raise. Of a very long one only the last 20,000 characters are read.
        options: the text of each option by its letter (2 to 26 capitals), in the order shown.
        truncated: the token budget ended the answer; if nothing can be read, the state is then `truncated`.

    Raises:
        ValueError: a key of `options` is no capital letter, or there are fewer than two.
    """
    if len(options) < 2 or not all(re.fullmatch("[A-Z]", letter) for letter in options):
        raise ValueError(f"options have the letters {list(options)}; give two or more single capitals A to Z")
    start = max(0, len(answer) - LONGEST)
    cleaned = clean(answer[start:])
    parse = _read(cleaned.before_next, options)
    if parse.state != "ok" and cleaned.text != cleaned.before_next:
        parse = _read(cleaned.text, options)
    if parse.state in ("none", "ambiguous") and parse.rule != "json" and (truncated or cleaned.unfinished):
        return Parse("truncated", None, "cut off", None)
    return parse if parse.span is None else replace(parse, span=(parse.span[0] + start, parse.span[1] + start))


def _read(text: str, options: Mapping[str, str]) -> Parse:
    """The first rule that decides."""
    answer = Answer(text, options, find_mentions(text, options))
    parses = (rule(answer) for rule in RULES)
    return next((parse for parse in parses if parse is not None), None) or _unread(answer)


def by_json(read: Answer) -> Parse | None:
    """A field such as "answer" in JSON."""
    found = json_answer(read.text)
    if found is None:
        return None
    value, span = found
    if value is None:
        return Parse("none", None, "json", span)
    values = value if isinstance(value, list) else [value]
    letters = {_whole_value(str(each), read.options) for each in values} - {None}
    return _decided({letter for letter in letters if letter}, "json", span)


def by_box(read: Answer) -> Parse | None:
    """A LaTeX box or an answer tag."""
    found = boxed(read.text) or tagged(read.text)
    if found is None:
        return None
    letter = _whole_value(found[0], read.options)
    return _decided({letter} if letter else set(), "boxed", found[1])


def by_statement(read: Answer) -> Parse | None:
    """The last explicit statement, with what is joined to it by "or" and "and"."""
    places = range(len(read.mentions) - 1, -1, -1)
    place = next((place for place in places if is_statement(read.text, read.mentions[place], read.options)), None)
    if place is None:
        return None
    last = read.mentions[place]
    if last.letter not in read.options:
        return Parse("none", None, "statement", (last.start, last.end))
    letters = {last.letter} | _joined_after(read, place) | _joined_before(read, place)
    return _decided(letters, "statement", (last.start, last.end))


def by_form(read: Answer) -> Parse | None:
    """A bare letter as the reply, its first or its last line, or a reply that starts with `X) text`."""
    lines = [line for line in LINE.finditer(read.text) if line.group().strip()]
    if not lines:
        return None
    ends = [_bare(line.group(), read.options) for line in (lines[0], lines[-1])]
    letters = {letter for letter in ends if letter}
    if letters:
        return _decided(letters, "bare letter", lines[-1 if ends[1] else 0].span())
    started = {letter for letter in (_started(line.group(), read.options) for line in lines) if letter}
    if not _started(lines[0].group(), read.options) or len(started) >= LISTED:
        return None
    first = next((place for place, mention in enumerate(read.mentions) if mention.letter in started), None)
    if first is not None and is_rejected(read.text, read.mentions[first]):
        return None
    joined = set() if first is None else _joined_after(read, first)
    return _decided(started | joined, "letter and text", lines[0].span())


def by_text(read: Answer) -> Parse | None:
    """An option's text, where it is set off or long enough not to be there by chance."""
    texts = [mention for mention in read.mentions if mention.kind == "text"]
    taken = covered(read.text, texts)
    others = "".join(" " if inside else sign for sign, inside in zip(read.text, taken, strict=True))
    nothing_else = not set(re.findall(r"[^\W_]+", others.lower())) - {"or", "and", "either", "both"}
    return _survivors(read, [mention for mention in texts if mention.exact or nothing_else], "option text")


def by_ordinal(read: Answer) -> Parse | None:
    """The place of an option."""
    return _survivors(read, [mention for mention in read.mentions if mention.kind == "ordinal"], "ordinal")


RULES: tuple[Rule, ...] = (by_json, by_box, by_statement, by_form, by_text, by_ordinal)


def _unread(read: Answer) -> Parse:
    """The state of an answer that no rule could read: refusal, several letters that survive, or none."""
    if is_refusal(read.text):
        return Parse("refusal", None, "refusal", None)
    named = [m for m in read.mentions if m.kind == "letter" and m.letter in read.options]
    letters = [mention for mention in named if not is_word_instead(read.text, mention)]
    survivors = {mention.letter for mention in letters if not is_rejected(read.text, mention)}
    return Parse("ambiguous" if len(survivors) > 1 else "none", None, "letters" if survivors else "nothing", None)


def _decided(letters: set[str], rule: str, span: Span) -> Parse | None:
    if not letters:
        return None
    if len(letters) > 1:
        return Parse("ambiguous", None, rule, span)
    return Parse("ok", letters.pop(), rule, span)


def _survivors(read: Answer, mentions: Sequence[Mention], rule: str) -> Parse | None:
    kept = [mention for mention in mentions if not is_rejected(read.text, mention)]
    return _decided({m.letter for m in kept}, rule, (kept[-1].start, kept[-1].end)) if kept else None


def _joined_after(read: Answer, place: int) -> set[str]:
    """The letters joined to a mention by what follows it ("B or C", "B, C and D")."""
    letters: set[str] = set()
    here = read.mentions[place]
    for mention in read.mentions[place + 1 :]:
        between = read.text[here.end : mention.start]
        same = mention.letter == here.letter and len(between) < 4
        joined = len(between) < 40 and JOINED.fullmatch(between) and not NEW_CLAUSE.match(read.text, mention.end)
        if not (same or joined or (len(between) < 9 and NOTHING.fullmatch(between))) or is_word_instead(read.text, mention):
            break
        if mention.letter not in read.options or is_rejected(read.text, mention):
            break
        letters.add(mention.letter)
        here = mention
    return letters


def _joined_before(read: Answer, place: int) -> set[str]:
    """The letters joined to a mention by what comes before it ("both B and C are correct")."""
    letters: set[str] = set()
    here = read.mentions[place]
    for mention in reversed(read.mentions[:place]):
        between = read.text[mention.end : here.start]
        if len(between) >= 40 or "," in between or not JOINED.fullmatch(between):
            break
        letters.add(mention.letter)
        here = mention
    return letters


def _whole_value(value: str, options: Mapping[str, str]) -> str | None:
    """A short value that is a letter in any case, a letter and text, or an option's text."""
    bare = re.fullmatch(r"[\s\"'(\[]*(?:option\s+)?([A-Za-z])[\s\"')\].:]*", value, re.IGNORECASE)
    if bare and bare.group(1).upper() in options:
        return bare.group(1).upper()
    texts = {m.letter for m in text_mentions(value, options) if not re.search(r"[^\W_]", value[: m.start] + value[m.end :])}
    return texts.pop() if len(texts) == 1 else _started(value, options)


def _bare(line: str, options: Mapping[str, str]) -> str | None:
    """The capital letter that a line is, with or without brackets, marks and the word "option"."""
    match = BARE.fullmatch(line)
    letter = match.group(1) if match else None
    return letter if letter in options else None


def _started(line: str, options: Mapping[str, str]) -> str | None:
    """The capital letter at the start of a line, set off from the text after it."""
    match = STARTED.match(line)
    letter = match and (match.group(1) or match.group(2) or match.group(3))
    return letter if letter in options else None
