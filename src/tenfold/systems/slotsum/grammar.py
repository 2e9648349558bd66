"""Leak-proof decoding: a policy becomes a mask over the next token, for any tokenizer whose tokens are bytes.

Tokens stand in a trie by their bytes, in order, so that those that begin alike are neighbours. The mask of a state
is found by walking that trie with the machine once, and is kept. Where forbidden words have begun, only the parts of
the trie are walked in which that makes a difference; the rest is copied from the state in which none has.
"""

# V vocabulary of the model, T tokens in trie order
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenfold.nn.constrain import vocabulary_of
from tenfold.systems.slotsum.leaks import Policy, policy
from tenfold.systems.slotsum.machine import DEAD, START, TemplateMachine

KEPT_MASKS = 1024
SPARE = 6
"""Tokens beside a key or word: an unfinished character, a letter after a forbidden word, the brackets that open."""
ENDED = -2


@dataclass
class TokenNode:
    """A node of the trie of tokens: those below it are [low, high) in trie order, those that end here come first."""

    low: int = 0
    own: int = 0
    high: int = 0
    children: dict[int, "TokenNode"] = field(default_factory=dict)


class TokenTrie:
    """A vocabulary in trie order."""

    def __init__(self, texts: Sequence[bytes], specials: frozenset[int]) -> None:
        usable = [number for number, text in enumerate(texts) if text and number not in specials]
        ordered = sorted(usable, key=lambda number: texts[number])
        self.texts = texts
        self.tokens_T = np.array(ordered, dtype=np.int64)
        self.root = TokenNode(high=len(ordered))
        for place, number in enumerate(ordered):
            self._add(place, texts[number])

    def _add(self, place: int, text: bytes) -> None:
        node = self.root
        for byte in text:
            if byte not in node.children:
                node.children[byte] = TokenNode(place, 0, place)
            node = node.children[byte]
            node.high = place + 1
        node.own += 1


class MaskTable:
    """The masks of one policy over one vocabulary; shared by all texts written under it."""

    def __init__(
        self,
        rules: Policy,
        trie: TokenTrie,
        eos_ids: frozenset[int],
        num_tokens: int,
        *,
        base: "MaskTable | None" = None,
    ) -> None:
        """`base` is the table of the same level without keys and values, from which most of each mask is copied."""
        self.base = base
        self.machine = TemplateMachine(rules)
        self.trie = trie
        self.eos_ids = sorted(eos_ids)
        self.num_tokens = num_tokens
        self._rows: dict[int, np.ndarray] = {}
        self._masks: OrderedDict[int, Tensor] = OrderedDict()

    @cached_property
    def reserve(self) -> int:
        """So many tokens always end a text: the rest of any key, in the longest tokens there are, or any word's in bytes."""
        ends = [f"{key}]]".encode() for key in self.machine.rules.keys]
        key = max(self._num_tokens(end[start:]) for end in ends for start in range(len(end)))
        word = max((len(word.encode()) for word in self.machine.rules.lexicon or ()), default=0)
        return max(key, word) + SPARE

    def _num_tokens(self, data: bytes) -> int:
        """Tokens of a text that is written with the longest token each time, as `closing` does."""
        count = 0
        while data:
            data, count = data[len(self._longest(data)) :], count + 1
        return count

    def _longest(self, data: bytes) -> bytes:
        """The longest token that the text begins with."""
        node, length, found = self.trie.root, 0, 0
        for byte in data:
            if byte not in node.children:
                break
            node, length = node.children[byte], length + 1
            found = length if node.own else found
        assert found, f"no token begins with byte {data[0]:#x}"
        return data[:found]

    def allowed(self, state: int) -> Tensor:
        """[num_tokens] bool: the tokens that may come next."""
        if state in self._masks:
            self._masks.move_to_end(state)
            return self._masks[state]
        mask = np.zeros(self.num_tokens, dtype=bool)
        mask[self.trie.tokens_T[self._row(state)]] = True
        mask[self.eos_ids] = self.machine.accepts(state)
        self._masks[state] = torch.from_numpy(mask)
        if len(self._masks) > KEPT_MASKS:
            self._masks.popitem(last=False)
        return self._masks[state]

    def closing(self, state: int) -> Tensor:
        """[num_tokens] bool: the longest tokens that lead the shortest way to the end; the end itself if it may come."""
        mask = torch.zeros(self.num_tokens, dtype=torch.bool)
        path = self.machine.closing(state)
        assert path is not None, self.machine.states[state]
        if not path:
            mask[self.eos_ids] = True
            return mask
        found = self.trie.root
        for byte in self._longest(path):
            found = found.children[byte]
        mask[torch.from_numpy(self.trie.tokens_T[found.low : found.low + found.own])] = True
        return mask

    def _row(self, state: int) -> np.ndarray:
        """[T] bool in trie order. Only states without begun words are kept, for others to be copied from."""
        plain = self.machine.plain(state) if self.machine.is_prose(state) else state
        if plain != state:
            row = self._row(plain).copy()
            self._correct(state, plain, self, row)
            return row
        if state not in self._rows:
            self._rows[state] = self._plain_row(state)
        return self._rows[state]

    def _plain_row(self, state: int) -> np.ndarray:
        if self.base is not None and self.machine.is_prose(state):
            usual = self.base.machine.number(self.machine.states[state])
            row = self.base._row(usual).copy()
            self._correct(state, usual, self.base, row)
            return row
        row = np.zeros(len(self.trie.tokens_T), dtype=bool)
        self._walk(state, self.trie.root, row)
        return row

    def _walk(self, state: int, node: TokenNode, row: np.ndarray) -> None:
        for byte, child in node.children.items():
            following = self.machine.step(state, byte)
            if following != DEAD:
                row[child.low : child.low + child.own] = True
                if child.children:
                    self._walk(following, child, row)

    def _correct(self, state: int, usual: int, other: "MaskTable", row: np.ndarray, node: TokenNode | None = None) -> None:
        """Makes the row of `usual` (a state of `other`) that of `state`: walks both until they become one."""
        for byte, child in (node or self.trie.root).children.items():
            following, expected = self.machine.step(state, byte), other.machine.step(usual, byte)
            if self._is_same(following, expected, other):
                continue
            if following == DEAD:
                row[child.low : child.high] = False
            elif expected == DEAD:
                row[child.low : child.low + child.own] = True
                self._walk(following, child, row)
            else:
                self._correct(following, expected, other, row, child)

    def _is_same(self, mine: int, theirs: int, other: "MaskTable") -> bool:
        if mine == DEAD or theirs == DEAD or other is self:
            return mine == theirs
        state = self.machine.states[mine]
        return state.mode == "prose" and not state.active and state == other.machine.states[theirs]


class LeakProof:
    """A `Constraint` under which a template is written; one per text. A slot is never cut off at `max_new_tokens`."""

    def __init__(self, table: MaskTable, max_new_tokens: int) -> None:
        self.table = table
        self._left = max_new_tokens
        self._states = [START]

    @property
    def finished(self) -> bool:
        return self._states[-1] == ENDED

    def mask(self, logits_V: Tensor) -> Tensor:
        """-inf for every token that may not come next.

        Raises:
            ValueError: the text has been ended.
        """
        if self.finished:
            raise ValueError("the template has been ended; roll back before going on")
        state = self._states[-1]
        is_late = self._left <= self.table.reserve
        allowed_T = self.table.closing(state) if is_late else self.table.allowed(state)
        allowed_V = torch.zeros(len(logits_V), dtype=torch.bool)
        shared = min(len(allowed_T), len(allowed_V))
        allowed_V[:shared] = allowed_T[:shared]
        return logits_V.masked_fill(~allowed_V.to(logits_V.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Moves on by one token.

        Raises:
            ValueError: it is not allowed here.
        """
        state = self._states[-1]
        if token in self.table.eos_ids:
            following = ENDED if state != ENDED and self.table.machine.accepts(state) else DEAD
        else:
            following = self.table.machine.run(state, self.table.trie.texts[token])
        if following == DEAD:
            raise ValueError(f"token {token} is not allowed here; take one that the mask leaves standing")
        self._states.append(following)
        self._left -= 1

    def rollback(self, count: int) -> None:
        """Takes the last `count` accepted tokens back."""
        del self._states[len(self._states) - count :]
        self._left += count


_TRIES: WeakKeyDictionary[PreTrainedTokenizerBase, TokenTrie] = WeakKeyDictionary()
_BASES: WeakKeyDictionary[PreTrainedTokenizerBase, dict[tuple[Any, ...], MaskTable]] = WeakKeyDictionary()


def token_trie(tokenizer: PreTrainedTokenizerBase, eos_ids: frozenset[int]) -> TokenTrie:
    """The vocabulary of a tokenizer in trie order; made once."""
    if tokenizer not in _TRIES:
        known = vocabulary_of(tokenizer, eos_ids)
        _TRIES[tokenizer] = TokenTrie(known.texts, known.specials | known.eos_ids)
    return _TRIES[tokenizer]


def mask_table(tokenizer: PreTrainedTokenizerBase, rules: Policy, eos_ids: frozenset[int]) -> MaskTable:
    """The masks of a policy for a tokenizer; what does not depend on keys and values is computed once per tokenizer."""
    known = vocabulary_of(tokenizer, eos_ids)
    trie, ends = token_trie(tokenizer, eos_ids), known.eos_ids
    bases = _BASES.setdefault(tokenizer, {})
    kind = (rules.level, rules.lexicon, ends)
    if kind not in bases:
        bare = policy(rules.level, (), lexicon=rules.lexicon or ())
        bases[kind] = MaskTable(bare, trie, ends, len(known.texts))
    return MaskTable(rules, trie, ends, len(known.texts), base=bases[kind])
