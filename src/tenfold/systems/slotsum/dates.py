"""Dates as they are written, in English, Chinese and ISO form: text comes in, spans with year, month and day go out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
MONTH = r"(?P<month>" + "|".join(f"{name}|{name[:3]}" for name in MONTHS) + r"|sept)\b\.?"
DAY = r"(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\b"
YEAR = r"(?P<year>[12]\d{3})(?![\d.]\d|\d)"
PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?<!\d)(?P<year>[12]\d{3})[-\u2013/.](?P<month>[01]?\d)[-\u2013/.](?P<day>[0-3]?\d)(?!\d)",
        rf"\b{DAY}(?:\s+day)?(?:\s+of)?\s+{MONTH},?(?:\s+(?:of|in))?\s+{YEAR}",
        rf"\b{MONTH}\s+(?:the\s+)?{DAY},?\s*(?:(?:of|in)\s+)?{YEAR}",
        rf"\b{MONTH},?\s*(?:of\s+)?{YEAR}",
        rf"\b{DAY}(?:\s+of)?\s+{MONTH}",
        rf"\b{MONTH}\s+(?:the\s+)?{DAY}",
        r"(?P<year>[12]\d{3})年(?:(?P<month>[01]?\d)月(?:(?P<day>[0-3]?\d)日)?)?",
        r"(?<![\d.,])(?P<day>[0-3]?\d)/(?P<month>[01]?\d)/(?P<year>[12]\d{3})(?!\d)",
        rf"(?<![\w.,]){YEAR}(?!\w)",
    )
)


@dataclass(frozen=True)
class Date:
    """A date; what is not said is None."""

    year: int | None
    month: int | None = None
    day: int | None = None

    def agrees(self, other: "Date") -> bool:
        """Equal wherever both say something; 03/04 may be read both ways."""
        return any(_shared(mine, theirs) for mine in self.readings() for theirs in other.readings())

    def readings(self) -> tuple["Date", ...]:
        """This date, and it with day and month changed where both could be either."""
        return (self,)

    @property
    def parts(self) -> tuple[int | None, int | None, int | None]:
        return self.year, self.month, self.day


@dataclass(frozen=True)
class SlashDate(Date):
    """A date written 03/04/1930, which is read day first or month first."""

    def readings(self) -> tuple[Date, ...]:
        both = (Date(self.year, self.month, self.day), Date(self.year, self.day, self.month))
        return tuple(date for date in both if date.month is not None and date.month <= 12)


def _shared(first: Date, second: Date) -> bool:
    pairs = [pair for pair in zip(first.parts, second.parts, strict=True) if None not in pair]
    return bool(pairs) and all(a == b for a, b in pairs)


def find_dates(text: str) -> Iterator[tuple[int, int, Date]]:
    """(start, end, date) of each date, the longest reading first where two overlap."""
    taken: list[tuple[int, int]] = []
    for number, pattern in enumerate(PATTERNS):
        for match in pattern.finditer(text):
            date = _read(match, slash=number == 7)
            if date and not any(start < match.end() and match.start() < end for start, end in taken):
                taken.append(match.span())
                yield *match.span(), date


def parse_date(text: str) -> Date | None:
    """The date that the whole of `text` is, else None."""
    bare = text.strip()
    return next((date for start, end, date in find_dates(bare) if (start, end) == (0, len(bare))), None)


def _read(match: re.Match[str], slash: bool) -> Date | None:
    found = match.groupdict()
    month, day = _month(found.get("month")), int(found["day"]) if found.get("day") else None
    if (day is not None and not 1 <= day <= 31) or (month is not None and not 1 <= month <= (31 if slash else 12)):
        return None
    return (SlashDate if slash else Date)(int(found["year"]) if found.get("year") else None, month, day)


def _month(written: str | None) -> int | None:
    if written is None or written.isdigit():
        return int(written) if written else None
    return next(number for number, name in enumerate(MONTHS, start=1) if name.startswith(written.lower()[:3]))
