"""The text form of leak-proof templates as a machine over bytes: a state and a byte come in, the next state goes out.

A state that cannot be finished does not exist: whatever would lead there is refused at once, so the text can always
be ended, and `closing` says how. Words are forbidden as a whole ("Mar", not "Market"): a match is pending until the
word has ended.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from tenfold.nn.utf8 import is_beginning
from tenfold.systems.slotsum.leaks import Policy, fold_letter, has_number
from tenfold.systems.slotsum.tokens import is_ideograph

DEAD = -1
START = 0
MOST_TRIED = 4000
FILLERS = (b"x", b"q", b"z", b"e")
"""Letters to write on with where a forbidden word must not end."""
CONTINUATIONS = tuple(bytes([byte]) for byte in range(0x80, 0xC0))
EXAMPLES = 3
Mode = Literal["prose", "escape", "open", "key", "close"]


@lru_cache(maxsize=4096)
def endings(pending: bytes) -> tuple[bytes, ...]:
    """Bytes that make an unfinished character whole: a few letters and a few other characters, none of them a number.

    Of characters of two bytes all of them.
    """
    found: dict[bool, list[bytes]] = {True: [], False: []}
    most = EXAMPLES if len(pending) > 1 or pending[0] >= 0xE0 else len(CONTINUATIONS)
    for ending in _endings(pending):
        letter = (pending + ending).decode()
        kind = found[letter.isalnum()]
        if len(kind) < most and not has_number(letter):
            kind.append(ending)
        if all(len(kind) == most for kind in found.values()):
            break
    return (*found[False], *found[True])


def _endings(pending: bytes) -> Iterator[bytes]:
    for byte in CONTINUATIONS:
        if is_beginning(pending + byte):
            try:
                (pending + byte).decode()
                yield byte
            except UnicodeDecodeError:
                yield from (byte + rest for rest in _endings(pending + byte))


@dataclass(eq=False)
class Node:
    """A node of a trie over letters; `number` names it, `ends` says that a word sequence or key ends here."""

    number: int
    ends: bool = False
    children: dict[str, "Node"] = field(default_factory=dict)


class Trie:
    """Letters as paths; between two words of a sequence stands SEPARATOR."""

    SEPARATOR = "\x00"

    def __init__(self) -> None:
        self.nodes = [Node(0)]

    @property
    def root(self) -> Node:
        return self.nodes[0]

    def add(self, letters: str) -> None:
        node = self.root
        for letter in letters:
            if letter not in node.children:
                node.children[letter] = Node(len(self.nodes))
                self.nodes.append(node.children[letter])
            node = node.children[letter]
        node.ends = True


class State(NamedTuple):
    """Where the text stands: the mode, bytes of an unfinished character, forbidden sequences begun, whether a word may begin
    here, and the place in the lexicon or among the keys."""

    mode: Mode
    pending: bytes = b""
    active: frozenset[int] = frozenset()
    fresh: bool = True
    place: int = 0


class TemplateMachine:
    """The machine of one policy; states are numbers, `START` is the empty text."""

    def __init__(self, rules: Policy) -> None:
        self.rules = rules
        self.keys, self.forbidden, self.lexicon = Trie(), Trie(), Trie()
        for key in rules.keys:
            self.keys.add(key.encode().decode("latin-1"))  # one letter per byte
        for words in sorted(rules.forbidden):
            self.forbidden.add(Trie.SEPARATOR.join(words))
        for word in sorted(rules.lexicon or ()):  # sorted, so that machines of one lexicon number its nodes alike
            self.lexicon.add(word)
        self.states: list[State] = [State("prose")]
        self._numbers: dict[State, int] = {self.states[0]: START}
        self._steps: dict[tuple[int, int], int] = {}
        self._closings: dict[int, bytes | None] = {}

    def step(self, state: int, byte: int) -> int:
        """The state after one more byte; DEAD where it may not come."""
        known = self._steps.get((state, byte))
        if known is None:
            raw = self._raw(state, byte)
            known = DEAD if raw == DEAD or self.closing(raw) is None else raw
            self._steps[state, byte] = known
        return known

    def run(self, state: int, data: bytes) -> int:
        """The state after several bytes."""
        for byte in data:
            state = self.step(state, byte)
            if state == DEAD:
                break
        return state

    def accepts(self, number: int) -> bool:
        """Whether the text may end here."""
        state = self.states[number]
        return state.mode == "prose" and not state.pending and self._word_may_end(state)

    def closing(self, number: int) -> bytes | None:
        """Few bytes after which the text may end (breadth first); None if there are none."""
        if number not in self._closings:
            self._closings[number] = self._search(number)
        return self._closings[number]

    def plain(self, number: int) -> int:
        """The state of the same kind in which no forbidden sequence has begun."""
        return self.number(self.states[number]._replace(active=frozenset()))

    def is_prose(self, number: int) -> bool:
        """Whether the state is outside of slots and between whole characters."""
        return self.states[number].mode == "prose" and not self.states[number].pending

    def number(self, state: State) -> int:
        """The number of a state."""
        number = self._numbers.get(state)
        if number is None:
            number = self._numbers[state] = len(self.states)
            self.states.append(state)
        return number

    def _raw(self, number: int, byte: int) -> int:
        state = self.states[number]
        following = getattr(self, f"_{state.mode}")(state, byte)
        return DEAD if following is None else self.number(following)

    def _prose(self, state: State, byte: int) -> State | None:
        if not state.pending and byte in b"\\[]":
            return self._mark(state, byte)
        data = state.pending + bytes([byte])
        if not is_beginning(data):
            return None
        try:
            letter = data.decode()
        except UnicodeDecodeError:
            return state._replace(pending=data)
        return self._letter(state._replace(pending=b""), letter)

    def _mark(self, state: State, byte: int) -> State | None:
        if byte == ord("\\"):
            return state._replace(mode="escape")
        return State("open") if byte == ord("[") and self._word_may_end(state) else None

    def _escape(self, state: State, byte: int) -> State | None:
        return self._letter(state._replace(mode="prose"), chr(byte)) if byte in b"\\[]" else None

    def _open(self, state: State, byte: int) -> State | None:
        return State("key") if byte == ord("[") else None

    def _key(self, state: State, byte: int) -> State | None:
        node = self.keys.nodes[state.place]
        if byte == ord("]") and node.ends:
            return State("close")
        child = node.children.get(chr(byte))
        return state._replace(place=child.number) if child else None

    def _close(self, state: State, byte: int) -> State | None:
        return State("prose") if byte == ord("]") else None

    def _letter(self, state: State, letter: str) -> State | None:
        """One whole character of prose; folded, it may be several or none."""
        if has_number(letter):
            return None
        for part in fold_letter(letter):
            following = self._part(state, part)
            if following is None:
                return None
            state = following
        return state

    def _part(self, state: State, letter: str) -> State | None:
        alone = is_ideograph(letter)
        if not letter.isalnum() or alone:
            if not self._word_may_end(state):
                return None
            state = state._replace(fresh=True, place=0)
        if letter.isalnum() or alone:
            return self._in_word(state, letter, alone)
        return state

    def _in_word(self, state: State, letter: str, alone: bool) -> State | None:
        nodes = [self.forbidden.nodes[number] for number in state.active]
        if state.fresh:
            nodes = [node.children[Trie.SEPARATOR] for node in nodes if Trie.SEPARATOR in node.children]
            nodes.append(self.forbidden.root)
        active = frozenset(node.children[letter].number for node in nodes if letter in node.children)
        place = 0
        if self.rules.lexicon is not None:
            child = self.lexicon.nodes[state.place].children.get(letter)
            if child is None:
                return None
            place = child.number
        following = State("prose", b"", active, False, place)
        if not alone:
            return following
        return following._replace(fresh=True, place=0) if self._word_may_end(following) else None

    def _word_may_end(self, state: State) -> bool:
        """Whether no forbidden sequence ends with the word just written, and the lexicon has it."""
        if state.fresh:
            return True
        is_known = self.rules.lexicon is None or self.lexicon.nodes[state.place].ends
        return is_known and not any(self.forbidden.nodes[number].ends for number in state.active)

    def _search(self, number: int) -> bytes | None:
        if self.accepts(number):
            return b""
        reached = {number}
        frontier = [(number, b"")]
        for current, path in frontier:
            for data in self._moves(self.states[current]):
                following = current
                for byte in data:
                    following = self._raw(following, byte)
                    if following == DEAD:
                        break
                if following == DEAD or following in reached:
                    continue
                if self.accepts(following):
                    return path + data
                reached.add(following)
                frontier.append((following, path + data))
            if len(reached) > MOST_TRIED:
                break
        return None

    def _lexicon_endings(self, state: State) -> Iterator[bytes]:
        """What makes the unfinished character one of those with which a word of the lexicon goes on."""
        for letter in self.lexicon.nodes[state.place].children:
            if letter.encode().startswith(state.pending):
                yield letter.encode()[len(state.pending) :]

    def _moves(self, state: State) -> Iterator[bytes]:
        """What may help to end a text."""
        if state.pending:
            yield from endings(state.pending)
            yield from self._lexicon_endings(state)
        elif state.mode == "key":
            node = self.keys.nodes[state.place]
            yield from ([b"]"] if node.ends else [letter.encode("latin-1") for letter in node.children])
        elif state.mode == "close":
            yield b"]"
        elif state.mode in ("escape", "open"):
            yield b"["
        elif self.rules.lexicon is None:
            yield from FILLERS
        else:
            yield from (letter.encode() for letter in self.lexicon.nodes[state.place].children)
            yield b" "
