"""Reads an answer to a question with lettered options, rule by rule (deepeval.md section 7)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from tenfold.evals.parsing.cleaning import clean
from tenfold.evals.parsing.mentions import Mention, covered, find_mentions, is_as_written, is_word_instead, text_mentions
from tenfold.evals.parsing.statements import is_added, is_closing, is_refusal, is_rejected, is_statement, is_weakly_praised
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
    r"[^\w(\[]*+(?i:option\s++)?+(?:[(\[]\s*([A-Z])\s*[)\]][\"']?(?:\s|\Z|[.,:])"
    r"|([A-Z])\s*(?:[).:=]|[-\u2013\u2014](?=\s))(?!\w\.)[\"']?(?:\s|\Z|[.,:])|([A-Z])\s*,?\s+(?:because|since|as)\b)"
)
LINE = re.compile(r"[^\n]+")
CLOSING = re.compile(r"(?:[.!?:)\"'\u2026]|\s{2})\s*[\s\"'(\[]*([A-Z])[\s\"')\].!]*\Z")
LISTED = 3
CUT = "\ue000"
"""Stands at the end of an answer that the budget cut off, so that its last letter does not count as standing alone there."""
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

    @property
    def is_cut(self) -> bool:
        """Whether the budget ended the answer before more than a letter was said."""
        return self.text.endswith(CUT)


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
    end = CUT if truncated and not BARE.fullmatch(cleaned.text) else ""
    parse = _read(cleaned.before_next + end, options)
    if parse.state != "ok" and cleaned.text != cleaned.before_next:
        parse = _read(cleaned.text + end, options)
    if parse.state in ("none", "ambiguous") and parse.rule != "json" and (truncated or cleaned.unfinished):
        return Parse("truncated", None, "cut off", None)
    return _placed(parse, start, len(answer))


def _placed(parse: Parse, start: int, length: int) -> Parse:
    """The same with its span in the whole answer; what was read began at `start`."""
    if parse.span is None:
        return parse
    first, last = (min(length, place + start) for place in parse.span)
    return replace(parse, span=(first, last))


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
    if is_added(read.text, last):
        before = read.mentions[:place]
        letters |= {mention.letter for mention in before if is_statement(read.text, mention, read.options)}
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
    closing = CLOSING.search(lines[-1].group())
    if closing and len(lines[-1].group().split()) > LISTED and closing.group(1) in read.options:
        start = lines[-1].start()
        return _decided({closing.group(1)}, "closing letter", (start + closing.start(1), start + closing.end(1)))
    started = {letter for letter in (_started(line.group(), read.options) for line in lines) if letter}
    if not _started(lines[0].group(), read.options) or len(started) >= LISTED:
        return None
    first = next((place for place, mention in enumerate(read.mentions) if mention.letter in started), None)
    if first is not None and is_rejected(read.text, read.mentions[first]):
        return None
    if read.is_cut and _names_others(read, started):
        return None
    joined = set() if first is None else _joined_after(read, first)
    return _decided(started | joined, "letter and text", lines[0].span())


def by_text(read: Answer) -> Parse | None:
    """An option's text, where it is set off or long enough not to be there by chance."""
    texts = [mention for mention in read.mentions if mention.kind == "text" and not _is_where_cut(read, mention)]
    taken = covered(read.text, texts)
    others = "".join(" " if inside else sign for sign, inside in zip(read.text, taken, strict=True))
    if read.is_cut and _names_others(read, {mention.letter for mention in texts}):
        return None
    nothing_else = not set(re.findall(r"[^\W_]+", others.lower())) - {"or", "and", "either", "both"}
    joined = {m for pair in pairwise(texts) if _are_joined(read, *pair) for m in pair}
    return _survivors(read, [m for m in texts if m.exact or nothing_else or m in joined], "option text")


def _are_joined(read: Answer, first: Mention, second: Mention) -> bool:
    """Whether two texts, written with their own capitals, are offered together ("Greed or War")."""
    as_written = all(is_as_written(read.text, mention, read.options) for mention in (first, second))
    return as_written and JOINED.fullmatch(read.text[first.end : second.start]) is not None


def _names_others(read: Answer, letters: set[str]) -> bool:
    """Whether other letters are named too; of a cut answer it may then be that it only began to list the options."""
    return any(mention.kind == "letter" and mention.letter not in letters for mention in read.mentions)


def _is_where_cut(read: Answer, mention: Mention) -> bool:
    """Whether a cut answer ends with this text, after others: it may be one of a list."""
    return read.is_cut and not read.text[mention.end :].strip(f"{CUT} .\n") and "\n" in read.text[: mention.start].strip()


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
    kept = [mention for mention in letters if not is_rejected(read.text, mention)]
    survivors = {mention.letter for mention in kept}
    if len(survivors) == 1 and not read.is_cut and _is_settled(read.text, kept[-1]):
        return Parse("ok", kept[-1].letter, "only letter left", (kept[-1].start, kept[-1].end))
    return Parse("ambiguous" if len(survivors) > 1 else "none", None, "letters" if survivors else "nothing", None)


def _is_settled(text: str, mention: Mention) -> bool:
    return is_closing(text, mention) or is_weakly_praised(text, mention)


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
