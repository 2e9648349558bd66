"""Decoding within a grammar, by xgrammar: a schema, a regular expression or an EBNF becomes a mask over the next token.

The grammar speaks of bytes and the model of tokens; any way of cutting an allowed text into tokens is allowed. The text
ends only where the grammar lets it end, by an end-of-sequence token; a token budget may cut it off before, which the
generation reports as `length`. Special tokens are never part of a text.
"""

# V vocabulary of the model, T of the tokenizer, W words of 32 bits
import json
from collections.abc import Callable, Collection, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
import xgrammar
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import UserError
from tenfold.nn.generation import Constraint

__all__ = ["Constraint", "GrammarConstraint", "grammar_constraint", "json_schema_constraint", "regex_constraint"]


class GrammarConstraint:
    """A `Constraint` that follows a compiled grammar; one per text."""

    def __init__(self, grammar: xgrammar.CompiledGrammar, specials: Collection[int]) -> None:
        """`specials` are tokens that stand for no text; of these only the grammar's own end tokens are allowed."""
        self._matcher = xgrammar.GrammarMatcher(grammar)
        self._num_tokens = grammar.tokenizer_info.vocab_size
        self._words_1W = xgrammar.allocate_token_bitmask(1, self._num_tokens)
        self._specials = sorted(set(specials) - set(self._matcher.stop_token_ids))

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
        if token in self._specials or not self._matcher.accept_token(token):
            raise ValueError(f"token {token} is not allowed here by the grammar; take one that the mask leaves standing")

    def rollback(self, count: int) -> None:
        """Takes the last `count` accepted tokens back, the end token included."""
        self._matcher.rollback(count)

    def _allowed(self) -> Tensor:
        """[T] bool."""
        self._matcher.fill_next_token_bitmask(self._words_1W)
        bits_W32 = self._words_1W[0][:, None] >> torch.arange(32) & 1
        allowed_T = bits_W32.flatten()[: self._num_tokens].bool()
        allowed_T[self._specials] = False
        return allowed_T


def json_schema_constraint(
    tokenizer: PreTrainedTokenizerBase, schema: Mapping[str, Any], *, eos_ids: Collection[int] = ()
) -> GrammarConstraint:
    """JSON of this schema on one line, with properties in the schema's order and none that it does not name.

    Free white space is not allowed, because small models never stop writing it. `eos_ids` default to the tokenizer's.

    Raises:
        UserError: the schema holds something that cannot be compiled.
    """
    text = json.dumps(schema)
    return _constraint(tokenizer, eos_ids, "JSON schema", lambda c: c.compile_json_schema(text, any_whitespace=False))


def regex_constraint(
    tokenizer: PreTrainedTokenizerBase, pattern: str, *, eos_ids: Collection[int] = ()
) -> GrammarConstraint:
    """A text that the whole of `pattern` matches.

    Raises:
        UserError: the pattern cannot be compiled.
    """
    return _constraint(tokenizer, eos_ids, "regular expression", lambda compiler: compiler.compile_regex(pattern))


def grammar_constraint(tokenizer: PreTrainedTokenizerBase, ebnf: str, *, eos_ids: Collection[int] = ()) -> GrammarConstraint:
    """A text of the grammar `ebnf` (in the form that llama.cpp uses; it begins at the rule `root`).

    Raises:
        UserError: the grammar cannot be compiled.
    """
    return _constraint(tokenizer, eos_ids, "grammar", lambda compiler: compiler.compile_grammar(ebnf))


Compile = Callable[[xgrammar.GrammarCompiler], xgrammar.CompiledGrammar]


def _constraint(
    tokenizer: PreTrainedTokenizerBase, eos_ids: Collection[int], kind: str, compile_with: Compile
) -> GrammarConstraint:
    try:
        grammar = compile_with(_compiler(tokenizer, frozenset(eos_ids) or _own_eos(tokenizer)))
    except RuntimeError as error:
        cause = str(error).strip().splitlines()[0].rpartition(".cc:")[2]
        raise UserError(f"this {kind} cannot be decoded under ({cause}); simplify it") from None
    return GrammarConstraint(grammar, _specials(tokenizer))


_COMPILERS: WeakKeyDictionary[PreTrainedTokenizerBase, dict[frozenset[int], xgrammar.GrammarCompiler]] = WeakKeyDictionary()
"""Reading a vocabulary takes half a second; a compiler also keeps what it has compiled."""


def _compiler(tokenizer: PreTrainedTokenizerBase, eos_ids: frozenset[int]) -> xgrammar.GrammarCompiler:
    compilers = _COMPILERS.setdefault(tokenizer, {})
    if eos_ids not in compilers:
        info = xgrammar.TokenizerInfo.from_huggingface(tokenizer, stop_token_ids=sorted(eos_ids))
        compilers[eos_ids] = xgrammar.GrammarCompiler(info)
    return compilers[eos_ids]


def _own_eos(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    eos = tokenizer.eos_token_id
    if not isinstance(eos, int):
        raise UserError("the tokenizer names no end-of-sequence token; pass eos_ids")
    return frozenset({eos})


def _specials(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that stand for no text; a grammar would otherwise take `<|im_start|>` for ten characters."""
    added: Mapping[int, Any] = tokenizer.added_tokens_decoder
    return frozenset(tokenizer.all_special_ids) | {number for number, token in added.items() if token.special}
