"""Decoding within a grammar, by xgrammar: a schema, a regular expression or an EBNF becomes a mask over the next token.

The grammar speaks of bytes and the model of tokens; any way of cutting an allowed text into tokens is allowed. The text
ends only where the grammar lets it end, by an end-of-sequence token; a token budget may cut it off before, which the
generation reports as `length`. What xgrammar 0.2 would let through is ruled out here: special tokens as text, bytes that
are no UTF-8, and control characters inside JSON strings of limited length.
"""

# V vocabulary of the model, T of the tokenizer, W words of 32 bits
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
import xgrammar
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import UserError
from tenfold.nn.generation import Constraint
from tenfold.nn.utf8 import Utf8Masks

__all__ = [
    "Constraint",
    "GrammarConstraint",
    "grammar_constraint",
    "json_schema_constraint",
    "regex_constraint",
    "vocabulary_of",
]


@dataclass(frozen=True)
class Vocabulary:
    """What grammars need to know of a tokenizer; read once, as it takes half a second."""

    compiler: xgrammar.GrammarCompiler
    """Keeps what it has compiled."""
    eos_ids: frozenset[int]
    specials: frozenset[int]
    """Tokens that stand for no text."""
    controls: frozenset[int]
    """Tokens with control characters, which JSON on one line never has."""
    utf8: Utf8Masks

    @property
    def texts(self) -> Sequence[bytes]:
        """The bytes of each token of the tokenizer's vocabulary."""
        return self.utf8.vocabulary


class GrammarConstraint:
    """A `Constraint` that follows a compiled grammar; one per text."""

    def __init__(
        self, grammar: xgrammar.CompiledGrammar, vocabulary: Vocabulary, *, forbidden: Collection[int] = ()
    ) -> None:
        self._matcher = xgrammar.GrammarMatcher(grammar)
        self._vocabulary = vocabulary
        self._num_tokens = grammar.tokenizer_info.vocab_size
        self._words_1W = xgrammar.allocate_token_bitmask(1, self._num_tokens)
        self._forbidden = sorted((vocabulary.specials | set(forbidden)) - vocabulary.eos_ids)
        self._unfinished = [b""]
        """After each accepted token: the bytes of a character that is not whole yet."""

    @property
    def finished(self) -> bool:
        return self._matcher.is_terminated()

    @property
    def may_end(self) -> bool:
        """Whether the text so far is a whole one."""
        return self._matcher.is_completed()

    def mask(self, logits_V: Tensor) -> Tensor:
        """-inf for every token that may not come next, also for logits beyond the tokenizer's vocabulary.

        Raises:
            ValueError: the text has been ended.
        """
        if self.finished:
            raise ValueError("the text has been ended by its grammar; roll back before going on")
        allowed_V = torch.zeros(len(logits_V), dtype=torch.bool)
        allowed_T = self._allowed()
        shared = min(len(allowed_T), len(allowed_V))
        allowed_V[:shared] = allowed_T[:shared]
        return logits_V.masked_fill(~allowed_V.to(logits_V.device), -torch.inf)

    def accept(self, token: int) -> None:
        """Moves on by one token.

        Raises:
            ValueError: the grammar does not allow it.
        """
        if token in self._forbidden or not self._matcher.accept_token(token):
            raise ValueError(f"token {token} is not allowed here by the grammar; take one that the mask leaves standing")
        self._unfinished.append(self._vocabulary.utf8.unfinished(self._unfinished[-1], token))

    def rollback(self, count: int) -> None:
        """Takes the last `count` accepted tokens back, the end token included."""
        self._matcher.rollback(count)
        del self._unfinished[len(self._unfinished) - count :]

    def _allowed(self) -> Tensor:
        """[T] bool."""
        self._matcher.fill_next_token_bitmask(self._words_1W)
        bits_W32 = self._words_1W[0][:, None] >> torch.arange(32) & 1
        allowed_T = bits_W32.flatten()[: self._num_tokens].bool()
        allowed_T[self._forbidden] = False
        return allowed_T & self._vocabulary.utf8.allowed(self._unfinished[-1])


def json_schema_constraint(
    tokenizer: PreTrainedTokenizerBase, schema: Mapping[str, Any], *, eos_ids: Collection[int] = ()
) -> GrammarConstraint:
    """JSON of this schema on one line, with properties in the schema's order and none that it does not name.

    Free white space is not allowed, because small models never stop writing it. `eos_ids` default to the tokenizer's.

    Raises:
        UserError: the schema holds something that cannot be compiled.
    """
    known, text = vocabulary_of(tokenizer, eos_ids), json.dumps(schema)
    with _clear_errors("JSON schema"):
        grammar = known.compiler.compile_json_schema(text, any_whitespace=False)
    return GrammarConstraint(grammar, known, forbidden=known.controls)


def regex_constraint(
    tokenizer: PreTrainedTokenizerBase, pattern: str, *, eos_ids: Collection[int] = ()
) -> GrammarConstraint:
    """A text that the whole of `pattern` matches.

    Raises:
        UserError: the pattern cannot be compiled.
    """
    known = vocabulary_of(tokenizer, eos_ids)
    with _clear_errors("regular expression"):
        return GrammarConstraint(known.compiler.compile_regex(pattern), known)


def grammar_constraint(tokenizer: PreTrainedTokenizerBase, ebnf: str, *, eos_ids: Collection[int] = ()) -> GrammarConstraint:
    """A text of the grammar `ebnf` (in the form that llama.cpp uses; it begins at the rule `root`).

    Raises:
        UserError: the grammar cannot be compiled.
    """
    known = vocabulary_of(tokenizer, eos_ids)
    with _clear_errors("grammar"):
        return GrammarConstraint(known.compiler.compile_grammar(ebnf), known)


@contextmanager
def _clear_errors(kind: str) -> Iterator[None]:
    """Turns xgrammar's errors into one line."""
    try:
        yield
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[0].rpartition(".cc:")[2]
        raise UserError(f"this {kind} cannot be decoded under ({cause}); simplify it") from None


_VOCABULARIES: WeakKeyDictionary[PreTrainedTokenizerBase, dict[frozenset[int], Vocabulary]] = WeakKeyDictionary()


def vocabulary_of(tokenizer: PreTrainedTokenizerBase, eos_ids: Collection[int] = ()) -> Vocabulary:
    """What constraints need to know of a tokenizer, read once; `eos_ids` default to the tokenizer's."""
    ends = frozenset(eos_ids) or _own_eos(tokenizer)
    known = _VOCABULARIES.setdefault(tokenizer, {})
    if ends not in known:
        known[ends] = _read_vocabulary(tokenizer, ends)
    return known[ends]


def _read_vocabulary(tokenizer: PreTrainedTokenizerBase, eos_ids: frozenset[int]) -> Vocabulary:
    info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=sorted(eos_ids))
    texts = info.decoded_vocab
    added: Mapping[int, Any] = tokenizer.added_tokens_decoder
    return Vocabulary(
        compiler=xgrammar.GrammarCompiler(info),
        eos_ids=eos_ids,
        specials=frozenset(tokenizer.all_special_ids) | {number for number, token in added.items() if token.special},
        controls=frozenset(number for number, text in enumerate(texts) if any(byte < 0x20 for byte in text)),
        utf8=Utf8Masks(texts),
    )


def _own_eos(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    eos = tokenizer.eos_token_id
    if not isinstance(eos, int):
        raise UserError("the tokenizer names no end-of-sequence token; pass eos_ids")
    return frozenset({eos})
