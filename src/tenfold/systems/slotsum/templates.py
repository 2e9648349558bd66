r"""Templates: prose with named slots; text comes in, text goes out unchanged (section 3 of the paper).

Text form: `[[key]]`, a second value of the same key `[[key#2]]`, a numeral that no fact explains `[[?number]]`. In prose
`\`, `[` and `]` are escaped with `\`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.core.errors import ConfigError

PIECE = re.compile(r"\\(?P<escaped>.)|\[\[(?P<slot>[^\[\]]*)\]\]|(?P<bad>[\[\]\\])|(?P<prose>[^\[\]\\]+)", re.DOTALL)
ANONYMOUS = "?"


@dataclass(frozen=True)
class Text:
    """Prose, as it reads."""

    text: str


@dataclass(frozen=True)
class Slot:
    """A place for a value: the key, the kind of value, and which value of that key (from 1)."""

    key: str
    kind: str = "string"
    index: int = 1

    @property
    def marker(self) -> str:
        return f"[[{self.key}{f'#{self.index}' if self.index > 1 else ''}]]"


@dataclass(frozen=True)
class Template:
    """Prose and slots in the order in which they are read."""

    pieces: tuple[Text | Slot, ...]

    @property
    def slots(self) -> list[Slot]:
        return [piece for piece in self.pieces if isinstance(piece, Slot)]

    @property
    def prose(self) -> str:
        """What stands outside the slots; each slot is a blank."""
        return " ".join(piece.text for piece in self.pieces if isinstance(piece, Text))

    def render(self, surfaces: Sequence[str]) -> str:
        """The text with one surface per slot, in order.

        Raises:
            ConfigError: there are more or fewer surfaces than slots.
        """
        self.check_count(len(surfaces))
        rest = iter(surfaces)
        return "".join(piece.text if isinstance(piece, Text) else next(rest) for piece in self.pieces)

    def check_count(self, count: int) -> None:
        """Raises ConfigError if there are not as many slots as that."""
        if count != len(self.slots):
            raise ConfigError(f"{count} surfaces for {len(self.slots)} slots; give one for each slot, in order")

    def __str__(self) -> str:
        return "".join(escape(piece.text) if isinstance(piece, Text) else piece.marker for piece in self.pieces)


def escape(prose: str) -> str:
    """Prose in which no marker can be read."""
    return re.sub(r"([\\\[\]])", r"\\\1", prose)


def parse_template(text: str) -> Template:
    """Reads the text form; kinds are not part of it.

    Raises:
        ConfigError: a marker is unbalanced, nested or without a key; the message gives its position.
    """
    pieces: list[Text | Slot] = []
    for match in PIECE.finditer(text):
        if match["bad"]:
            raise ConfigError(
                f"{match['bad']!r} at character {match.start()} opens or closes no slot; write [[key]], or \\{match['bad']}"
            )
        pieces.append(_read_slot(match) if match["slot"] is not None else Text(match["escaped"] or match["prose"]))
    return Template(_joined(pieces))


def _read_slot(match: re.Match[str]) -> Slot:
    key, sign, index = match["slot"].partition("#")
    if not key.strip() or (sign and not (index.isdecimal() and int(index) > 0)):
        raise ConfigError(f"slot {match[0]!r} at character {match.start()}; write [[key]] or [[key#2]]")
    return Slot(key, "number" if key.startswith(ANONYMOUS) else "string", int(index) if sign else 1)


def _joined(pieces: Sequence[Text | Slot]) -> tuple[Text | Slot, ...]:
    """Neighbouring prose as one piece."""
    joined: list[Text | Slot] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, Text) and isinstance(last, Text):
            joined[-1] = Text(last.text + piece.text)
        else:
            joined.append(piece)
    return tuple(joined)
