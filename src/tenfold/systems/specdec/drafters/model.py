"""A small network drafts for a large one (survey, section 4.1: independent drafting).

Any `CausalLM` will do. With the target's own tokenizer it reads the context as it is; with another one, what it may
guess is cut to the tokens that both vocabularies spell alike (`SharedVocabulary`), or the draft is carried over as text
(`retokenized`). Drawn tokens come with the law they were drawn from, so that the target can accept them by min(1, p/q).
"""

# n drafted tokens, V the target's vocabulary, W the drafter's, s tokens spelt alike in both
from collections.abc import Sequence
from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor

from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.nn import models, stories
from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.drafting import NOTHING, Draft, StateScope
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings, Processors, draw
from tenfold.store.artifacts import find_data
from tenfold.systems.specdec.drafters.codec import Codec, Reencoder, TransformersCodec
from tenfold.systems.specdec.drafters.in_step import InStep
from tenfold.systems.specdec.randomness import draw_coupled, stream

STORIES = "stories260k"
MIN_SHARED = 32
"""Fewer shared tokens than this are taken for a mistake: nothing but single letters."""


class ModelDraftConfig(Config):
    """How a draft model drafts."""

    min_confidence: float = Field(default=0.0, ge=0, lt=1)
    """Stop the draft where the likeliest token is less likely than this."""
    coupled: bool = False
    """When sampling: draw by the noise of the token's place in the text, as the verifier `coupled` does."""


class ModelDrafterConfig(ModelDraftConfig):
    """Which model drafts."""

    model: str = "stories260k"
    """Draft model: a folder, a .gguf file, a hub id, or stories260k."""


class Vocabulary(Protocol):
    """How a drafter's tokens relate to the target's."""

    def own_context(self, context: Sequence[int]) -> Sequence[int]:
        """The target's context in the drafter's tokens."""
        ...

    def own_token(self, token: int) -> int:
        """A drafted token in the drafter's vocabulary."""
        ...

    def in_target(self, own_logits_W: Tensor) -> Tensor:
        """The drafter's logits over the target's vocabulary [V]; -inf where it has no such token."""
        ...


class OwnVocabulary:
    """Drafter and target read and write the same tokens."""

    def own_context(self, context: Sequence[int]) -> Sequence[int]:
        return context

    def own_token(self, token: int) -> int:
        return token

    def in_target(self, own_logits_W: Tensor) -> Tensor:
        return own_logits_W


class SharedVocabulary:
    """The drafter guesses only tokens whose text both vocabularies hold; its law over those is renormalised by softmax.

    The context reaches it as text, in its own tokens.
    """

    def __init__(self, target: Codec, own: Codec, target_size: int) -> None:
        own_ids = {text: token for token, text in reversed(list(enumerate(own.pieces()))) if is_whole(text)}
        pairs = [(token, own_ids[text]) for token, text in enumerate(target.pieces()) if text in own_ids]
        if len(pairs) < MIN_SHARED:
            raise UserError(
                f"draft model and target share {len(pairs)} tokens, we want at least {MIN_SHARED}; "
                "take another draft model or let the draft be carried over as text"
            )
        self.reencoder = Reencoder(target, own)
        self.to_own = dict(pairs)
        self.target_s, self.own_s = torch.tensor(pairs).T.contiguous()
        self.target_size = target_size

    def own_context(self, context: Sequence[int]) -> Sequence[int]:
        return self.reencoder(context)

    def own_token(self, token: int) -> int:
        return self.to_own[token]

    def in_target(self, own_logits_W: Tensor) -> Tensor:
        logits_V = own_logits_W.new_full((self.target_size,), float("-inf"))
        return logits_V.index_copy_(0, self.target_s, own_logits_W[self.own_s])


def is_whole(text: str) -> bool:
    """Whether a token's text says something on its own: not empty, no part of a character."""
    return bool(text) and "\ufffd" not in text


class Network(Protocol):
    """Whatever gives a next-token law after the context and after each drafted token; `InStep` makes a model one."""

    def reset(self) -> None:
        """Forgets the request."""
        ...

    def room_after(self, context: Sequence[int]) -> int:
        """How many tokens can be drafted after `context`."""
        ...

    def follow(self, context: Sequence[int]) -> Tensor:
        """The logits [W] of what follows the context."""
        ...

    def feed(self, token: int) -> Tensor:
        """The logits [W] of what follows one more drafted token."""
        ...

    def observe(self, emitted: Sequence[int], draft: Draft) -> None:
        """What the target made of the last draft."""
        ...


class ModelDrafter:
    """Drafts with a network, greedily or by drawing, as `settings` ask of the target.

    `vocabulary` is needed where the network's tokens are not the target's.
    """

    state: StateScope = "request"

    def __init__(
        self,
        network: Network,
        settings: GenerationSettings,
        config: ModelDraftConfig | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        name: str = "model",
    ) -> None:
        self.network, self.settings, self.processors = network, settings, Processors(settings)
        self.config = config or ModelDraftConfig()
        self.vocabulary = vocabulary or OwnVocabulary()
        self.name = name
        self.reset()

    def reset(self) -> None:
        self.network.reset()
        self.generator = stream(self.settings.seed, "draft")

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        own_context = self.vocabulary.own_context(context)
        num_tokens = min(num_tokens, self.network.room_after(own_context))
        if num_tokens < 1 or not own_context:
            return NOTHING
        return self._chain(context, self.network.follow(own_context), num_tokens)

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        self.network.observe(emitted, draft)

    def _chain(self, context: Sequence[int], own_logits_W: Tensor, num_tokens: int) -> Draft:
        tokens: list[int] = []
        laws: list[Tensor] = []
        while len(tokens) < num_tokens:
            if tokens:
                own_logits_W = self.network.feed(self.vocabulary.own_token(tokens[-1]))
            law_V = self._law(own_logits_W, [*context, *tokens])
            # Decided before the draw: dropping a token for being unlikely would bend the law of those that stay.
            if law_V.max() < self.config.min_confidence:
                break
            tokens.append(self._choose(law_V, len(context) + len(tokens)))
            laws.append(law_V)
        return self._draft(tokens, laws)

    def _law(self, own_logits_W: Tensor, prefix: Sequence[int]) -> Tensor:
        """The softmax [V] of the processed logits, also when decoding greedily: its peak is the confidence."""
        logits_1V = self.vocabulary.in_target(own_logits_W)[None]
        return self.processors(logits_1V, [prefix]).softmax(-1)[0]

    def _choose(self, law_V: Tensor, position: int) -> int:
        """The token to stand at `position` of the text."""
        if not self.settings.do_sample:
            return int(law_V.argmax())
        if self.config.coupled:
            return draw_coupled(self.settings.seed, position, law_V.double().numpy())
        return draw(law_V, self.generator)

    def _draft(self, tokens: Sequence[int], laws: Sequence[Tensor]) -> Draft:
        if not tokens:
            return NOTHING
        confidence = [float(law_V[token]) for law_V, token in zip(laws, tokens, strict=True)]
        law_nV = torch.stack(list(laws)) if self.settings.do_sample else None
        return Draft.chain(tokens, self.name, confidence=confidence, law_nV=law_nV)


def model_drafter(
    target: LoadedModel, settings: GenerationSettings, config: ModelDrafterConfig | None = None
) -> ModelDrafter:
    """A model by name as drafter for `target`, over the tokens that both vocabularies share if these differ.

    Raises:
        MissingArtifactError: there is no such model here.
        UserError: the vocabularies have next to nothing in common.
    """
    config = config or ModelDrafterConfig()
    size = target.engine.vocab_size
    if config.model == STORIES:
        story = stories.load(find_data(STORIES))
        engine, own = LeanLlama(story.config, story.state), story.tokenizer
    else:
        loaded = models.load(config.model)
        engine, own = loaded.engine, TransformersCodec(loaded.tokenizer, loaded.engine.vocab_size)
        if loaded.tokenizer.get_vocab() == target.tokenizer.get_vocab() and engine.vocab_size == size:
            return ModelDrafter(InStep(_unpadded(engine)), settings, config)
    vocabulary = SharedVocabulary(TransformersCodec(target.tokenizer, size), own, size)
    return ModelDrafter(InStep(_unpadded(engine)), settings, config, vocabulary=vocabulary)


def _unpadded(engine: CausalLM) -> CausalLM:
    """A drafter need not pay for passes of exact widths."""
    return engine.with_weights(engine.weights) if isinstance(engine, LeanLlama) else engine


def lean_engine(target: LoadedModel, drafter: str) -> LeanLlama:
    """The target's engine, for a drafter that is made from the target's own weights.

    Raises:
        UserError: the target runs on another engine.
    """
    if isinstance(target.engine, LeanLlama):
        return target.engine
    raise UserError(
        f"drafter {drafter!r} is made from the layers of a Llama-architecture model, and {target.name!r} runs as "
        f"{type(target.engine).__name__}; take a model drafter, or one that needs no network"
    )
