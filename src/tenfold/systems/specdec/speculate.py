"""The loop: draft, check in one pass, keep what holds, go on; for one prompt, or for many in the rows of one engine.

The cache holds each row's prompt and all its emitted tokens but the last; a pass feeds that last token and the draft
after it. In a batch every row keeps its own number of drafted tokens. A row whose text has ended takes the next prompt.
"""

# B rows, K query rows of a pass, V vocabulary
import time
from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from tenfold.core.errors import UserError
from tenfold.nn.causal_lm import CausalLM, RaggedLM, check_one_row, check_positions
from tenfold.nn.drafting import NOTHING, Draft, Drafter, StateScope
from tenfold.nn.generation import OnTokens, ignore_tokens
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.draft_length import DraftLength, FixedLength
from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.requests import Progress, Request, ms_since
from tenfold.systems.specdec.rounds import Speculation
from tenfold.systems.specdec.verifiers.block import Block
from tenfold.systems.specdec.verifiers.evidence import LawOf, Verifier
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
    check_one_row(model)
    request = Request(prompt, settings, stopper, law_of, randomness, on_tokens)
    lengths = [num_draft] if not isinstance(num_draft, int) else num_draft
    return speculate_many(
        model, [request], drafters=[drafter], num_draft=lengths, verifier=verifier, allow_lossy=allow_lossy
    )[0]


def speculate_many(
    model: CausalLM,
    requests: Sequence[Request],
    *,
    drafters: Sequence[Drafter],
    num_draft: int | Sequence[DraftLength],
    verifier: Verifier | None = None,
    allow_lossy: bool = False,
) -> list[Speculation]:
    """Continues every request, as many at a time as the model has rows; each text is the one it would have alone.

    A round's `verify_ms` is the time of the pass that all rows share, and `total_ms` runs from the moment a request got
    its row. In an engine of several rows a draft tree is cut to the chain of its first children.

    Args:
        drafters: one for each row of the model; a row's drafter is reset before each of its requests.
        num_draft: most drafted tokens a pass and row, or who decides it, one for each row.
        verifier: by default `greedy`, or `block` when the first request samples.

    Raises:
        ValueError: as `speculate`; or the number of drafters or lengths is not the number of rows.
    """
    lengths = _per_row(num_draft, model.batch_size)
    if len(drafters) != model.batch_size or len(lengths) != model.batch_size:
        raise UserError(
            f"{len(drafters)} drafters and {len(lengths)} lengths for {model.batch_size} rows; give one of each per row"
        )
    if not requests:
        return []
    verifier = verifier or (Block() if requests[0].settings.do_sample else Greedy())
    for request in requests:
        _check_verifier(verifier, request.settings, allow_lossy)
        check_positions(model, len(request.prompt), max(request.stopper.max_new_tokens - 1, 0))
    return _Rows(model, requests, drafters, lengths, verifier).run()


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


class _Rows:
    """The rows of an engine, each with the request that it works on."""

    def __init__(
        self,
        model: CausalLM,
        requests: Sequence[Request],
        drafters: Sequence[Drafter],
        lengths: Sequence[DraftLength],
        verifier: Verifier,
    ) -> None:
        model.reset()
        self.model, self.verifier = model, verifier
        self.drafters, self.lengths = drafters, lengths
        self.waiting = deque(enumerate(requests))
        self.active: dict[int, tuple[int, Progress]] = {}
        """Per busy row: the request's number and its progress."""
        self.results: dict[int, Speculation] = {}

    def run(self) -> list[Speculation]:
        for row in range(self.model.batch_size):
            self._fill(row)
        while self.active:
            self._round()
        return [self.results[number] for number in sorted(self.results)]

    def _fill(self, row: int) -> None:
        """Gives the row its next request, passing those that end with their first token; idle if there is none."""
        self._empty(row)
        while self.waiting:
            number, request = self.waiting.popleft()
            if request.stopper.max_new_tokens == 0:
                self.results[number] = Speculation(
                    (), "length", verifier=self.verifier.name, lossless=self.verifier.lossless
                )
                continue
            progress = self._start(row, request)
            if progress.reason is None:
                self.active[row] = number, progress
                return
            self.results[number] = progress.result()
            self._empty(row)

    def _start(self, row: int, request: Request) -> Progress:
        progress = Progress(
            request,
            request.judge(self.verifier),
            self.drafters[row],
            self.lengths[row],
            self.model.vocab_size,
            takes_trees=self.model.batch_size == 1 and getattr(self.model, "takes_trees", True),
        )
        if self.model.batch_size == 1:
            progress.begin(self.model.prefill([request.prompt]))
        else:
            progress.begin(_ragged(self.model).prefill_row(row, request.prompt)[None])
        return progress

    def _empty(self, row: int) -> None:
        if self.model.batch_size == 1:
            self.model.reset()
        elif length := self.model.lengths[row]:
            self.model.rollback([length if other == row else 0 for other in range(self.model.batch_size)])

    def _round(self) -> None:
        """One pass for all busy rows; those that end are filled again."""
        drafts: dict[int, Draft] = {}
        draft_ms: dict[int, float] = {}
        for row, (_, progress) in self.active.items():
            start = time.perf_counter()
            drafts[row] = progress.draft()
            draft_ms[row] = ms_since(start)
        start = time.perf_counter()
        logits_BKV = self._pass(drafts)
        for row, (number, progress) in list(self.active.items()):
            draft, num_cached = drafts[row], len(progress.context) - 1
            logits_KV = logits_BKV[row, : len(draft.tokens) + 1]
            verdict = progress.decide(draft, logits_KV)
            slots = [num_cached, *(num_cached + 1 + node for node in verdict.accepted)]
            self.model.keep(row, num_cached, slots)
            progress.advance(draft, verdict, logits_KV, draft_ms[row], ms_since(start))
            if progress.reason is not None:
                self.results[number] = progress.result()
                del self.active[row]
        for row in drafts.keys() - self.active.keys():
            self._fill(row)

    def _pass(self, drafts: dict[int, Draft]) -> Tensor:
        """Feeds each busy row its last token and its draft; returns logits [B, K, V]."""
        if self.model.batch_size == 1:
            return _one_row_pass(self.model, self.active[0][1].context[-1], drafts[0])
        width = max(len(draft.tokens) for draft in drafts.values()) + 1
        ids_BK = torch.zeros(self.model.batch_size, width, dtype=torch.long)
        counts = [0] * self.model.batch_size
        for row, draft in drafts.items():
            tokens = [self.active[row][1].context[-1], *draft.tokens]
            ids_BK[row, : len(tokens)] = torch.tensor(tokens)
            counts[row] = len(tokens)
        return _ragged(self.model).forward_ragged(ids_BK, counts)


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
