"""The loop: draft, check in one pass, keep what holds, go on; requests come and go while others are under way.

The cache holds each row's prompt and all its emitted tokens but the last; a pass feeds that last token and the draft
after it. Every row keeps its own number of drafted tokens. A row whose text has ended takes the next request, so that
a server can run one engine for many: `add`, `step`, `cancel`. Each text is the one it would have alone.
"""

# K query rows of a pass, V vocabulary
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor

from tenfold.core.errors import UserError
from tenfold.nn.causal_lm import CausalLM, RaggedLM, check_positions
from tenfold.nn.drafting import Draft, Drafter
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.draft_length import DraftLength, FixedLength
from tenfold.systems.specdec.kept_texts import KeptTexts
from tenfold.systems.specdec.requests import Progress, Request, ms_since
from tenfold.systems.specdec.rounds import Speculation
from tenfold.systems.specdec.verifiers.block import Block
from tenfold.systems.specdec.verifiers.evidence import Verdict, Verifier
from tenfold.systems.specdec.verifiers.greedy import Greedy

PROMPT_PIECE = 480
"""Prompt tokens that a step feeds at most while other rows are decoding, so that these do not wait for a long prompt."""


@dataclass(frozen=True)
class Event:
    """What a step did for one request."""

    request_id: int
    tokens: Sequence[int] = ()
    """Emitted in this step; what stops cut off is not among them."""
    sources: Sequence[str] = ()
    """For each of them: the drafter that guessed it, or `target`."""
    result: Speculation | None = None
    """The whole text, with its last event."""
    failure: Exception | None = None
    """What ended the request instead of a text; the others go on."""


@dataclass
class _Seat:
    """A request in a row of the engine."""

    number: int
    progress: Progress
    num_fed: int = 0
    """Prompt tokens in the cache."""
    num_told: int = 0
    """Emitted tokens that events have reported."""

    @property
    def is_decoding(self) -> bool:
        return self.num_fed == len(self.progress.request.prompt)


class Scheduler:
    """Runs any number of requests through the rows of one engine, step by step.

    `add` and `cancel` may be called from other threads while a step runs; `step` belongs to one thread at a time.
    """

    def __init__(
        self,
        model: CausalLM,
        *,
        drafters: Sequence[Drafter],
        num_draft: int | Sequence[DraftLength],
        verifier: Verifier | None = None,
        allow_lossy: bool = False,
        in_pieces: bool = True,
        reuses_prompts: bool = False,
    ) -> None:
        """Takes over the engine and empties its cache.

        Args:
            drafters: one for each row of the model; a row's drafter is reset before each of its requests.
            num_draft: most drafted tokens a pass and row, or who decides it, one for each row.
            verifier: of all requests that name none; by default `greedy`, or `block` for a request that samples.
            allow_lossy: consent to a verifier that does not keep the target's own law.
            in_pieces: long prompts are fed in pieces while other rows decode (engines of several rows).
            reuses_prompts: a row that becomes free keeps its text, and a request that begins alike is computed from the
                first difference on; only in engines of several rows whose bits do not depend on how a text was split.

        Raises:
            UserError: the number of drafters or lengths is not the number of rows, or a length is below 1.
        """
        lengths = _per_row(num_draft, model.batch_size)
        if len(drafters) != model.batch_size or len(lengths) != model.batch_size:
            raise UserError(
                f"{len(drafters)} drafters and {len(lengths)} lengths for {model.batch_size} rows; give one of each per row"
            )
        model.reset()
        self.model, self.verifier, self.allow_lossy, self.in_pieces = model, verifier, allow_lossy, in_pieces
        self.drafters, self.lengths = drafters, lengths
        self.kept = KeptTexts(model) if reuses_prompts and model.batch_size > 1 and model.exactness == "bit" else None
        self.numbers = count()
        self.waiting: deque[tuple[int, Request]] = deque()
        self.cancelled: set[int] = set()
        self.seats: dict[int, _Seat] = {}
        """Per busy row: who sits there."""

    @property
    def is_busy(self) -> bool:
        """Whether a step has anything to do."""
        return bool(self.waiting or self.seats)

    @property
    def num_waiting(self) -> int:
        """Requests that have no row yet."""
        return len(self.waiting)

    def add(self, request: Request) -> int:
        """Queues a request; returns the number under which events speak of it.

        Raises:
            UserError: prompt and output do not fit into the model, the prompt is empty, or the verifier does not suit.
        """
        _check_verifier(self._verifier_for(request), request.settings, self.allow_lossy)
        most = request.stopper.max_new_tokens
        if most > 0 and not request.prompt:
            raise UserError("the prompt is empty; give at least one token, for example the model's BOS token")
        check_positions(self.model, len(request.prompt), max(most - 1, 0))
        number = next(self.numbers)
        self.waiting.append((number, request))
        return number

    def cancel(self, number: int) -> None:
        """Ends a request at the next step, without a further event; one that is over already stays over."""
        self.cancelled.add(number)

    def step(self) -> list[Event]:
        """Drops what was cancelled, fills free rows, makes one pass for all decoding rows; returns what came of it."""
        self._drop_cancelled()
        events = self._seat_waiting()
        events += self._feed_prompts()
        if any(seat.is_decoding for seat in self.seats.values()):
            events += self._round()
        return events

    def _verifier_for(self, request: Request) -> Verifier:
        return request.verifier or self.verifier or (Block() if request.settings.do_sample else Greedy())

    def _drop_cancelled(self) -> None:
        gone = self.cancelled.copy()
        if not gone:
            return
        for row in [row for row, seat in self.seats.items() if seat.number in gone]:
            self._empty(row)
        for _ in range(len(self.waiting)):
            number, request = self.waiting.popleft()
            if number not in gone:
                self.waiting.append((number, request))
        self.cancelled -= gone

    def _seat_waiting(self) -> list[Event]:
        """Gives free rows to waiting requests; one that wants no token is answered at once."""
        events = []
        free = [row for row in range(self.model.batch_size) if row not in self.seats]
        while self.waiting and (free or self.waiting[0][1].stopper.max_new_tokens == 0):
            number, request = self.waiting.popleft()
            verifier = self._verifier_for(request)
            if request.stopper.max_new_tokens == 0:
                nothing = Speculation((), "length", verifier=verifier.name, lossless=verifier.lossless)
                events.append(Event(number, result=nothing))
                continue
            row = self.kept.best(free, request.prompt) if self.kept else free[0]
            free.remove(row)
            num_fed = self.kept.rewind(row, request.prompt) if self.kept else 0
            self.seats[row] = _Seat(number, self._progress(row, request, verifier), num_fed)
        return events

    def _progress(self, row: int, request: Request, verifier: Verifier) -> Progress:
        return Progress(
            request,
            request.judge(verifier),
            self.drafters[row],
            self.lengths[row],
            self.model.vocab_size,
            takes_trees=self.model.batch_size == 1 and getattr(self.model, "takes_trees", True),
        )

    def _feed_prompts(self) -> list[Event]:
        """Feeds prompts, whole while nobody decodes, else a piece of one; a fed prompt gives its first token."""
        events = []
        for row, seat in list(self.seats.items()):
            if seat.is_decoding:
                continue
            others_decode = self.in_pieces and any(other.is_decoding for other in self.seats.values())
            try:
                logits_1V = self._feed(row, seat, PROMPT_PIECE if others_decode else len(seat.progress.request.prompt))
                if seat.is_decoding:
                    seat.progress.begin(logits_1V)
            except Exception as failure:
                events.append(self._fail(row, failure))
                continue
            events += self._report(row)
            if others_decode:
                break
        return events

    def _feed(self, row: int, seat: _Seat, most: int) -> Tensor:
        """The next piece of a prompt into its row; returns the logits [1, V] after it."""
        prompt = seat.progress.request.prompt
        if self.model.batch_size == 1:
            seat.num_fed = len(prompt)
            return self.model.prefill([prompt])
        piece = prompt[seat.num_fed : seat.num_fed + most]
        seat.num_fed += len(piece)
        return _ragged(self.model).prefill_row(row, piece)[None]

    def _round(self) -> list[Event]:
        """One pass for all decoding rows."""
        drafts: dict[int, Draft] = {}
        draft_ms: dict[int, float] = {}
        decoding = {row: seat.progress for row, seat in self.seats.items() if seat.is_decoding}
        for row, progress in decoding.items():
            start = time.perf_counter()
            drafts[row] = progress.draft()
            draft_ms[row] = ms_since(start)
        start = time.perf_counter()
        logits = self._pass(drafts)
        events = []
        for row, progress in decoding.items():
            logits_KV = logits[row]
            try:
                verdict = self._settle(row, progress, drafts[row], logits_KV)
                progress.advance(drafts[row], verdict, logits_KV, draft_ms[row], ms_since(start))
            except Exception as failure:
                events.append(self._fail(row, failure))
                continue
            events += self._report(row)
        return events

    def _settle(self, row: int, progress: Progress, draft: Draft, logits_KV: Tensor) -> Verdict:
        """Decides about a draft and keeps in the cache what holds."""
        num_cached = len(progress.context) - 1
        verdict = progress.decide(draft, logits_KV)
        self.model.keep(row, num_cached, [num_cached, *(num_cached + 1 + node for node in verdict.accepted)])
        return verdict

    def _report(self, row: int) -> list[Event]:
        """The news of a row; a text that has ended leaves it."""
        seat = self.seats[row]
        output = seat.progress.output
        news, seat.num_told = output[seat.num_told :], len(output)
        if seat.progress.reason is None:
            return [Event(seat.number, news, seat.progress.newest_sources)] if news else []
        self._empty(row)
        return [Event(seat.number, news, seat.progress.newest_sources, seat.progress.result())]

    def _fail(self, row: int, failure: Exception) -> Event:
        number = self.seats[row].number
        self._empty(row)
        return Event(number, failure=failure)

    def _empty(self, row: int) -> None:
        """Frees a row; its part of the cache is forgotten, or kept for whoever begins alike."""
        seat = self.seats.pop(row)
        if self.kept:
            self.kept.keep(row, seat.progress.context)
        elif self.model.batch_size == 1:
            self.model.reset()
        elif length := self.model.lengths[row]:
            self.model.rollback([length if other == row else 0 for other in range(self.model.batch_size)])

    def _pass(self, drafts: Mapping[int, Draft]) -> Mapping[int, Tensor]:
        """Feeds each decoding row its last token and its draft; returns their logits [K, V]."""
        if self.model.batch_size == 1:
            return {0: _one_row_pass(self.model, self.seats[0].progress.context[-1], drafts[0])[0]}
        tokens = {row: [self.seats[row].progress.context[-1], *draft.tokens] for row, draft in drafts.items()}
        return _ragged(self.model).forward_ragged(tokens)


def _one_row_pass(model: CausalLM, last_token: int, draft: Draft) -> Tensor:
    ids_1K = torch.tensor([[last_token, *draft.tokens]])
    tree = {} if draft.is_chain else {"depths_K": torch.tensor([0, *draft.depths]), "ancestors_KK": draft.ancestry()}
    return model.forward(ids_1K, **tree)


def _ragged(model: CausalLM) -> RaggedLM:
    assert isinstance(model, RaggedLM), f"{type(model).__name__} has {model.batch_size} rows but cannot advance them apart"
    return model


def _per_row(num_draft: int | Sequence[DraftLength], batch_size: int) -> Sequence[DraftLength]:
    lengths = [FixedLength(num_draft)] * batch_size if isinstance(num_draft, int) else num_draft
    for length in lengths:
        if length.most < 1:
            raise ValueError(f"num_draft is {length.most}; give at least 1 (plain decoding is nn.generation.generate)")
    return lengths


def _check_verifier(verifier: Verifier, settings: GenerationSettings, allow_lossy: bool) -> None:
    if not verifier.lossless and not allow_lossy:
        raise UserError(
            f"verifier {verifier.name!r} changes the target's law; give allow_lossy=true, or take a lossless one"
        )
    if settings.do_sample and isinstance(verifier, Greedy):
        raise UserError("verifier 'greedy' cannot sample; take sample, block or coupled, or leave do_sample off")
