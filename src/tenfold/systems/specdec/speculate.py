"""The loop: draft, check in one pass, keep what holds, go on.

The cache holds the prompt and all emitted tokens but the last; a pass feeds that last token and the draft after it.
A drafter cannot harm the text: if it fails, or its draft is malformed, the round is a plain step and the draft is counted.
"""

# K query rows of a pass
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tenfold.core.errors import UserError
from tenfold.nn.causal_lm import CausalLM, check_one_row, check_room
from tenfold.nn.drafting import NOTHING, ROOT, Draft, Drafter, StateScope
from tenfold.nn.generation import OnTokens, ignore_tokens
from tenfold.nn.sampling import GenerationSettings, Processors
from tenfold.nn.stopping import Stopper, StopReason
from tenfold.systems.specdec.draft_length import DraftLength, FixedLength
from tenfold.systems.specdec.randomness import Randomness, SeededRandomness
from tenfold.systems.specdec.rounds import Round, Speculation
from tenfold.systems.specdec.verifiers.block import Block
from tenfold.systems.specdec.verifiers.evidence import LawOf, Verdict, Verifier, gather
from tenfold.systems.specdec.verifiers.greedy import Greedy


def speculate(
    model: CausalLM,
    prompt: Sequence[int],
    settings: GenerationSettings,
    stopper: Stopper,
    *,
    drafter: Drafter,
    num_draft: int | DraftLength,
    verifier: Verifier | None = None,
    allow_lossy: bool = False,
    randomness: Randomness | None = None,
    law_of: LawOf | None = None,
    on_tokens: OnTokens = ignore_tokens,
) -> Speculation:
    """Continues `prompt` as `nn.generation.generate` does, with at most `num_draft` drafted tokens a pass.

    Args:
        num_draft: a fixed number, or who decides it per round (`draft_length.Controller`).
        verifier: by default `greedy`, or `block` when sampling; both take chains and trees.
        allow_lossy: consent to a verifier that does not keep the target's own law.
        randomness: by default the streams of the settings' seed.
        law_of: from logits and prefixes to laws; by default what the settings ask for.

    Raises:
        ValueError: the prompt is empty, prompt and output do not fit into the model's positions, num_draft < 1, or the
            verifier does not suit the settings.
    """
    draft_length = FixedLength(num_draft) if isinstance(num_draft, int) else num_draft
    if draft_length.most < 1:
        raise ValueError(f"num_draft is {draft_length.most}; give at least 1 (plain decoding is nn.generation.generate)")
    verifier = verifier or (Block() if settings.do_sample else Greedy())
    _check_verifier(verifier, settings, allow_lossy)
    if stopper.max_new_tokens == 0:
        return Speculation((), "length", verifier=verifier.name, lossless=verifier.lossless)
    judge = _Judge(verifier, randomness or SeededRandomness(settings.seed), law_of or Processors(settings).law)
    return _Request(model, prompt, stopper, drafter, draft_length, judge, on_tokens).run()


class Silent:
    """A drafter that never guesses: speculation with it is plain decoding under the verifier's own rule."""

    name = "none"
    state: StateScope = "none"

    def reset(self) -> None:
        """Nothing to forget."""

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        return NOTHING

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """Nothing to learn."""


def _check_verifier(verifier: Verifier, settings: GenerationSettings, allow_lossy: bool) -> None:
    if not verifier.lossless and not allow_lossy:
        raise UserError(
            f"verifier {verifier.name!r} changes the target's law; give allow_lossy=true, or take a lossless one"
        )
    if settings.do_sample and isinstance(verifier, Greedy):
        raise UserError("verifier 'greedy' cannot sample; take sample, block or coupled, or leave do_sample off")


@dataclass(frozen=True)
class _Judge:
    """Decides what of a draft is kept."""

    verifier: Verifier
    randomness: Randomness
    law_of: LawOf

    def decide(self, draft: Draft, logits_KV: Tensor, context: Sequence[int]) -> Verdict:
        return self.verifier(gather(draft, logits_KV, context, self.law_of), self.randomness)


class _Request:
    """One prompt on its way to its text."""

    def __init__(
        self,
        model: CausalLM,
        prompt: Sequence[int],
        stopper: Stopper,
        drafter: Drafter,
        draft_length: DraftLength,
        judge: _Judge,
        on_tokens: OnTokens,
    ) -> None:
        check_one_row(model)
        model.reset()
        check_room(model, len(prompt) + stopper.max_new_tokens - 1)
        drafter.reset()
        self.model, self.drafter, self.judge = model, drafter, judge
        self.stopper, self.on_tokens, self.draft_length = stopper, on_tokens, draft_length
        self.context, self.prompt_length = list(prompt), len(prompt)
        self.rounds: list[Round] = []
        self.dropped_drafts: list[str] = []

    @property
    def output(self) -> Sequence[int]:
        return self.context[self.prompt_length :]

    def run(self) -> Speculation:
        start = time.perf_counter()
        logits_1V = self.model.prefill([self.context])
        prefill_ms = _ms_since(start)
        _, reason = self._emit([self.judge.decide(NOTHING, logits_1V, self.context).next_token])
        while reason is None:
            reason = self._round()
        return Speculation(
            list(self.output),
            reason,
            rounds=self.rounds,
            verifier=self.judge.verifier.name,
            lossless=self.judge.verifier.lossless,
            dropped_drafts=self.dropped_drafts,
            prefill_ms=prefill_ms,
            total_ms=_ms_since(start),
        )

    def _round(self) -> StopReason | None:
        start = time.perf_counter()
        draft = self._draft()
        draft_ms = _ms_since(start)
        start = time.perf_counter()
        verdict, logits_KV = self._check(draft)
        verify_ms = _ms_since(start)
        block = [*(draft.tokens[node] for node in verdict.accepted), verdict.next_token]
        emitted, reason = self._emit(block)
        self._teach(emitted, logits_KV, draft)
        num_accepted = min(len(verdict.accepted), len(emitted))
        self.rounds.append(Round(draft.source, len(draft.tokens), num_accepted, len(emitted), draft_ms, verify_ms))
        self.draft_length.observe(self.rounds[-1], self.model.lengths[0])
        return reason

    def _draft(self) -> Draft:
        """Never drafts past the token limit: the target's own next token needs a place too."""
        room = min(self.draft_length.most, self.stopper.max_new_tokens - len(self.output) - 1)
        if room <= 0:
            return NOTHING
        try:
            draft = self.drafter.propose(self.context, room)
            flaw = _flaw(draft, room, self.model.vocab_size)
        except Exception as error:  # whatever a drafter raises, the text goes on without it
            flaw, draft = f"{type(error).__name__}: {error}", NOTHING
        if flaw is None:
            return self.draft_length.trim(draft, self.model.lengths[0])
        self.dropped_drafts.append(flaw)
        return NOTHING

    def _teach(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        try:
            self.drafter.observe(emitted, logits_KV, draft)
        except Exception as error:  # as in _draft
            self.dropped_drafts.append(f"{type(error).__name__}: {error}")

    def _check(self, draft: Draft) -> tuple[Verdict, Tensor]:
        """One pass over the last token and the draft; leaves the accepted part in the cache."""
        start = self.model.lengths[0]
        ids_1K = torch.tensor([[self.context[-1], *draft.tokens]])
        tree = {} if draft.is_chain else {"depths_K": torch.tensor([0, *draft.depths]), "ancestors_KK": draft.ancestry()}
        logits_KV = self.model.forward(ids_1K, **tree)[0]
        verdict = self.judge.decide(draft, logits_KV, self.context)
        self.model.keep(0, start, [start, *(start + 1 + node for node in verdict.accepted)])
        return verdict, logits_KV

    def _emit(self, block: Sequence[int]) -> tuple[list[int], StopReason | None]:
        emitted, reason = self.stopper.cut(self.output, block)
        self.context += emitted
        self.on_tokens(emitted)
        return emitted, reason


def _flaw(draft: Draft, most: int, vocab_size: int) -> str | None:
    """Why a draft cannot be used; None if it can."""
    if len(draft.tokens) > most:
        return f"{draft.source} drafted {len(draft.tokens)} tokens, but there is room for {most}"
    in_order = all(ROOT <= parent < node for node, parent in enumerate(draft.parents))
    if len(draft.parents) != len(draft.tokens) or not in_order:
        return f"{draft.source} drafted a tree whose parents do not stand before their children: {list(draft.parents)}"
    strange = [token for token in draft.tokens if not 0 <= token < vocab_size]
    return f"{draft.source} drafted token {strange[0]} of a vocabulary of {vocab_size}" if strange else None


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
