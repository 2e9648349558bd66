"""A drafter that speaks another tokenizer's tokens: context and draft are carried over as text.

Any drafter can be carried over, but the tokens that arrive were not drawn one by one, so there is no law to accept them
by: the target treats the draft as given (accepts a token with its own probability).
"""

from collections.abc import Sequence

from torch import Tensor

from tenfold.nn.drafting import NOTHING, Draft, Drafter, StateScope
from tenfold.systems.specdec.drafters.codec import Codec, Reencoder


class RetokenizedDrafter:
    """Carries `inner`, which reads and writes `own` tokens, over to a target that reads and writes `target` tokens."""

    def __init__(self, inner: Drafter, target: Codec, own: Codec, *, own_per_token: int = 1) -> None:
        """`own_per_token`: tokens the inner drafter guesses per token asked for; more where its tokens are shorter."""
        self.inner, self.target, self.own, self.own_per_token = inner, target, own, own_per_token
        self.reencoder = Reencoder(target, own)
        self.name = f"{inner.name}-retokenized"
        self.state: StateScope = inner.state

    def reset(self) -> None:
        self.inner.reset()
        self.reencoder = Reencoder(self.target, self.own, self.reencoder.lookbehind)

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        own_context = self.reencoder(context)
        if not own_context:
            return NOTHING
        draft = self.inner.propose(own_context, num_tokens * self.own_per_token)
        tokens = self._in_target(context, own_context, draft.tokens)[:num_tokens] if draft.is_chain else []
        return Draft.chain(tokens, self.name) if tokens else NOTHING

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """The target's logits are over another vocabulary, so there is nothing to pass on."""

    def _in_target(self, context: Sequence[int], own_context: Sequence[int], drafted: Sequence[int]) -> list[int]:
        """The drafted text in the target's tokens, split as it would be after the end of the context if possible."""
        lookbehind = self.reencoder.lookbehind
        before = self.own.decode(own_context[-lookbehind:])
        text = self.own.decode([*own_context[-lookbehind:], *drafted])[len(before) :].rstrip("\ufffd")
        end = list(context[-lookbehind:])
        together = self.target.encode(self.target.decode(end) + text)
        return together[len(end) :] if together[: len(end)] == end else self.target.encode(text)
