"""From a teacher's text to subjects and sessions: tolerant of fences, stray commas and a broken last line, and typed where
nothing can be read.

    parse_subjects(text) -> Subjects       keys subject_name, level, subtopics
    parse_sessions(text) -> Sessions       keys session, key_concepts

JSON lines, a list, or an object that holds a list are all read. A record without its name is left out; where no record is
left, `ParseError` says why.
"""

import ast
import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

from tenfold.core.errors import ApparatusError
from tenfold.systems.glan.tree import Session, Subject

FailureKind = Literal["empty", "no_json", "no_records", "too_long"]
LONGEST_NAME = 200
MOST_CONCEPTS_PER_SESSION = 30
FENCE = re.compile(r"```[a-zA-Z]*\n?(.*?)(?:```|\Z)", re.DOTALL)
TRAILING_COMMA = re.compile(r",\s*([}\]])")

Record = TypeVar("Record")


class ParseError(ApparatusError):
    """The reply holds nothing that can be read; `kind` says in which way."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: FailureKind = kind
        """empty (no text), no_json (no JSON object), no_records (objects, but none with a name and its list), too_long (the
        teacher was not asked: the conversation does not fit)."""
        self.detail = detail


def parse_subjects(text: str) -> tuple[Subject, ...]:
    """Subjects of a reply, in order; raises ParseError."""
    return _parse(text, _subject, "subject_name")


def parse_sessions(text: str) -> tuple[Session, ...]:
    """Sessions of a reply, in order, each with one key concept or more; raises ParseError."""
    return _parse(text, _session, "session and key_concepts")


def normalised(name: str) -> str:
    """A name without case, punctuation and extra spaces, to tell whether two are the same."""
    return " ".join(re.findall(r"\w+", name.casefold()))


def unite(lists: Sequence[Sequence[Subject]], most: int) -> tuple[Subject, ...]:
    """The subjects of several queries: query by query, the first of each normalised name, at most so many."""
    united: dict[str, Subject] = {}
    for subject in (subject for subjects in lists for subject in subjects):
        united.setdefault(normalised(subject.name), subject)
    return tuple(united.values())[:most]


def json_objects(text: str) -> list[dict[str, Any]]:
    """All JSON objects in a text, those within fences if there are any; what is broken is skipped."""
    fenced = "\n".join(FENCE.findall(text)) if "```" in text else ""
    for part in (fenced, text):
        found = list(_objects(part))
        if found:
            return found
    return []


def _parse(text: str, read: Callable[[dict[str, Any]], Record | None], wanted: str) -> tuple[Record, ...]:
    if not text.strip():
        raise ParseError("empty", "the reply has no text")
    objects = json_objects(text)
    if not objects:
        raise ParseError("no_json", f"no JSON object in {text.strip()[:60]!r}")
    records = [record for record in map(read, objects) if record is not None]
    if not records:
        raise ParseError("no_records", f"no object with {wanted} among {len(objects)}")
    return tuple(dict.fromkeys(records))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Objects from the left; one that only holds a list of others gives those."""
    decoder = json.JSONDecoder(strict=False)
    text = TRAILING_COMMA.sub(r"\1", text)
    place = text.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(text, place)
        except ValueError:
            value, end = _line_as_python(text, place)
        except RecursionError:
            return
        yield from _unwrapped(value)
        place = text.find("{", end)


def _line_as_python(text: str, place: int) -> tuple[Any, int]:
    """An object in single quotes on one line, as Python would write it; else nothing, and the next place to look."""
    line = text[place:].splitlines()[0].rstrip(" ,")
    try:
        value = ast.literal_eval(line)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None, place + 1
    return value, place + len(line)


def _unwrapped(value: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(value, dict):
        return
    lists = [
        item for item in value.values() if isinstance(item, list) and item and all(isinstance(part, dict) for part in item)
    ]
    if lists:
        yield from lists[0]
    else:
        yield value


def _subject(record: dict[str, Any]) -> Subject | None:
    name = _name(record, "subject_name", "subject", "name", "title")
    if not name:
        return None
    level = record.get("level", "")
    return Subject(
        name, _short(level if isinstance(level, str) else ", ".join(_texts(level))), _names(record.get("subtopics"))
    )


def _session(record: dict[str, Any]) -> Session | None:
    name = _name(record, "session", "session_name", "class_session", "name", "title")
    concepts = _names(record.get("key_concepts", record.get("concepts")))
    return Session(name, concepts[:MOST_CONCEPTS_PER_SESSION]) if name and concepts else None


def _name(record: dict[str, Any], *keys: str) -> str:
    return next((_short(record[key]) for key in keys if isinstance(record.get(key), str)), "")


def _names(value: Any) -> tuple[str, ...]:
    """A list of names, or names in one text; the first of each normalised name."""
    parts = re.split(r"[;,\n]", value) if isinstance(value, str) else _texts(value)
    unique: dict[str, str] = {}
    for part in map(_short, parts):
        if normalised(part):
            unique.setdefault(normalised(part), part)
    return tuple(unique.values())


def _texts(value: Any) -> list[str]:
    """The texts of a list; of an object in it, its first text."""
    if not isinstance(value, list):
        return [str(value)] if isinstance(value, int | float) else []
    firsts = [next(iter(item.values()), "") if isinstance(item, dict) else item for item in value]
    return [str(item) for item in firsts if isinstance(item, str | int | float)]


def _short(text: str) -> str:
    """One line, without the marks of a list."""
    return " ".join(re.sub(r"^[\s\-*•]+|^\d+[.)]\s+", "", text).split())[:LONGEST_NAME].rstrip()
