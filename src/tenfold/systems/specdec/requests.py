"""One prompt on its way to its text, apart from the model: what to draft, what of it to keep, what to emit, when to stop.

A `Request` is what somebody asks for. A `Progress` is its state between passes; whoever runs the passes (`speculate`) asks
it for a draft, gives it the logits, and learns which drafted nodes stay in the cache. A drafter cannot harm the text: if
it fails, or its draft is malformed, the round is a plain step and the draft is counted.
"""

# K query rows of a pass, T emitted tokens, V vocabulary
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from tenfold.nn.drafting import NOTHING, ROOT, Draft, Drafter
from tenfold.nn.generation import OnTokens, ignore_tokens
from tenfold.nn.sampling import GenerationSettings, Processors
from tenfold.nn.stopping import Stopper, StopReason
from tenfold.systems.specdec.draft_length import DraftLength
from tenfold.systems.specdec.randomness import Randomness, SeededRandomness
from tenfold.systems.specdec.rounds import Round, Speculation
from tenfold.systems.specdec.verifiers.evidence import LawOf, Verdict, Verifier, gather


@dataclass(frozen=True)
class Request:
    """A prompt (token ids) and how to continue it."""

    prompt: Sequence[int]
    settings: GenerationSettings
    stopper: Stopper
    law_of: LawOf | None = None
    """From logits and prefixes to laws; by default what the settings ask for."""
    randomness: Randomness | None = None
    """By default the streams of the settings' seed."""
    on_tokens: OnTokens = ignore_tokens
    keeps_logits: bool = False
    """Whether the result holds the target's raw logits for each token."""
    verifier: Verifier | None = None
    """By default that of whoever runs the request."""
    is_drafted: bool = True
    """Whether the drafter may guess for it; without guesses, speculation is plain decoding."""

    def judge(self, verifier: Verifier) -> "Judge":
        """Who decides about this request's drafts."""
        law_of = self.law_of or Processors(self.settings).law
        return Judge(verifier, self.randomness or SeededRandomness(self.settings.seed), law_of)


@dataclass(frozen=True)
class Judge:
    """Decides what of a draft is kept."""

    verifier: Verifier
    randomness: Randomness
    law_of: LawOf

    def decide(self, draft: Draft, logits_KV: Tensor, context: Sequence[int]) -> Verdict:
        return self.verifier(gather(draft, logits_KV, context, self.law_of), self.randomness)


@dataclass
class Progress:
    """A request between two passes; the cache holds its context but the last token."""

    request: Request
    judge: Judge
    drafter: Drafter
    draft_length: DraftLength
    vocab_size: int
    takes_trees: bool = True
    context: list[int] = field(init=False)
    reason: StopReason | None = None
    rounds: list[Round] = field(default_factory=list)
    dropped_drafts: list[str] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    prefill_ms: float = 0.0

    def __post_init__(self) -> None:
        self.context = list(self.request.prompt)
        self.drafter.reset()

    @property
    def output(self) -> Sequence[int]:
        return self.context[len(self.request.prompt) :]

    @property
    def newest_sources(self) -> Sequence[str]:
        """Who guessed the tokens of the last pass; none where the text has no token yet."""
        return self.rounds[-1].sources if self.rounds else ["target"] * len(self.output)

    def begin(self, logits_1V: Tensor) -> None:
        """Takes the first token from the logits [1, V] after the prompt."""
        self.prefill_ms = ms_since(self.started)
        self._emit([self.judge.decide(NOTHING, logits_1V, self.context).next_token], logits_1V)

    def draft(self) -> Draft:
        """What to check next. Never drafts past the token limit: the target's own next token needs a place too."""
        room = min(self.draft_length.most, self.request.stopper.max_new_tokens - len(self.output) - 1)
        if room <= 0 or not self.request.is_drafted:
            return NOTHING
        try:
            draft = self.drafter.propose(self.context, room)
            flaw = _flaw(draft, room, self.vocab_size)
        except Exception as error:  # whatever a drafter raises, the text goes on without it
            flaw, draft = f"{type(error).__name__}: {error}", NOTHING
        if flaw is None:
            fitting = draft if self.takes_trees or draft.is_chain else draft.first_path()
            return self.draft_length.trim(fitting, len(self.context) - 1)
        self.dropped_drafts.append(flaw)
        return NOTHING

    def decide(self, draft: Draft, logits_KV: Tensor) -> Verdict:
        """Which nodes hold, and the token after them."""
        return self.judge.decide(draft, logits_KV, self.context)

    def advance(self, draft: Draft, verdict: Verdict, logits_KV: Tensor, draft_ms: float, verify_ms: float) -> None:
        """Emits what was decided, teaches the drafter, and books the round."""
        block = [*(draft.tokens[node] for node in verdict.accepted), verdict.next_token]
        emitted = self._emit(block, logits_KV[[0, *(node + 1 for node in verdict.accepted)]])
        self._teach(emitted, logits_KV, draft)
        accepted = verdict.accepted[: len(emitted)]
        self.rounds.append(Round(draft.source, len(draft.tokens), len(accepted), len(emitted), draft_ms, verify_ms))
        self.draft_length.observe(self.rounds[-1], len(self.context) - 1, accepted)

    def result(self) -> Speculation:
        """The finished text."""
        assert self.reason is not None
        return Speculation(
            list(self.output),
            self.reason,
            rounds=self.rounds,
            verifier=self.judge.verifier.name,
            lossless=self.judge.verifier.lossless,
            dropped_drafts=self.dropped_drafts,
            prefill_ms=self.prefill_ms,
            total_ms=ms_since(self.started),
            logits=self.logits,
        )

    def _emit(self, block: Sequence[int], logits_TV: Tensor) -> list[int]:
        emitted, self.reason = self.request.stopper.cut(self.output, block)
        self.context += emitted
        if self.request.keeps_logits:
            self.logits += logits_TV[: len(emitted)].unbind(0)
        self.request.on_tokens(emitted)
        return emitted

    def _teach(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        try:
            self.drafter.observe(emitted, logits_KV, draft)
        except Exception as error:  # as in draft
            self.dropped_drafts.append(f"{type(error).__name__}: {error}")


def ms_since(start: float) -> float:
    """Milliseconds since a reading of `time.perf_counter`."""
    return (time.perf_counter() - start) * 1000


def _flaw(draft: Draft, most: int, vocab_size: int) -> str | None:
    """Why a draft cannot be used; None if it can."""
    if len(draft.tokens) > most:
        return f"{draft.source} drafted {len(draft.tokens)} tokens, but there is room for {most}"
    in_order = all(ROOT <= parent < node for node, parent in enumerate(draft.parents))
    if len(draft.parents) != len(draft.tokens) or not in_order:
        return f"{draft.source} drafted a tree whose parents do not stand before their children: {list(draft.parents)}"
    strange = [token for token in draft.tokens if not 0 <= token < vocab_size]
    return f"{draft.source} drafted token {strange[0]} of a vocabulary of {vocab_size}" if strange else None
