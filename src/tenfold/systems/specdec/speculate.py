"""The loop: draft, check in one pass, keep what holds, go on.

The cache holds the prompt and all emitted tokens but the last; a pass feeds that last token and the draft after it.
"""

# K query rows of a pass
import time
from collections.abc import Sequence

import torch

from tenfold.nn.causal_lm import CausalLM, check_room
from tenfold.nn.drafting import NOTHING, Draft, Drafter
from tenfold.nn.generation import OnTokens, ignore_tokens, sampling_generator
from tenfold.nn.sampling import GenerationSettings, Processors, choose
from tenfold.nn.stopping import Stopper, StopReason
from tenfold.systems.specdec.rounds import Round, Speculation
from tenfold.systems.specdec.verify import Verdict, Verifier, verify_greedy


def speculate(
    model: CausalLM,
    prompt: Sequence[int],
    settings: GenerationSettings,
    stopper: Stopper,
    *,
    drafter: Drafter,
    num_draft: int,
    verifier: Verifier = verify_greedy,
    on_tokens: OnTokens = ignore_tokens,
) -> Speculation:
    """Continues `prompt` as `nn.generation.generate` does, with at most `num_draft` drafted tokens a pass.

    Raises:
        ValueError: the prompt is empty, prompt and output do not fit into the model's positions, num_draft < 1, or
            the settings ask for sampling, which the greedy verifier does not do.
    """
    if num_draft < 1:
        raise ValueError(f"num_draft is {num_draft}; give at least 1 (plain decoding is nn.generation.generate)")
    if settings.do_sample:
        raise ValueError("do_sample needs a sampling verifier; only greedy verification is built so far, leave do_sample off")
    if stopper.max_new_tokens == 0:
        return Speculation((), "length")
    return _Request(model, prompt, settings, stopper, drafter, num_draft, verifier, on_tokens).run()


class _Request:
    """One prompt on its way to its text."""

    def __init__(
        self,
        model: CausalLM,
        prompt: Sequence[int],
        settings: GenerationSettings,
        stopper: Stopper,
        drafter: Drafter,
        num_draft: int,
        verifier: Verifier,
        on_tokens: OnTokens,
    ) -> None:
        check_room(model, len(prompt) + stopper.max_new_tokens - 1)
        model.reset()
        drafter.reset()
        self.model, self.drafter, self.verifier = model, drafter, verifier
        self.stopper, self.on_tokens, self.num_draft = stopper, on_tokens, num_draft
        self.processors, self.generator = Processors(settings), sampling_generator(settings)
        self.context, self.prompt_length = list(prompt), len(prompt)
        self.rounds: list[Round] = []

    @property
    def output(self) -> Sequence[int]:
        return self.context[self.prompt_length :]

    def run(self) -> Speculation:
        start = time.perf_counter()
        logits_V = self.model.prefill([self.context])[0]
        prefill_ms = _ms_since(start)
        _, reason = self._emit([choose(self.processors, logits_V, self.context, self.generator)])
        while reason is None:
            reason = self._round()
        return Speculation(list(self.output), reason, self.rounds, prefill_ms, _ms_since(start))

    def _round(self) -> StopReason | None:
        start = time.perf_counter()
        draft = self._draft()
        draft_ms = _ms_since(start)
        start = time.perf_counter()
        verdict, logits_KV = self._check(draft)
        verify_ms = _ms_since(start)
        block = [*(draft.tokens[node] for node in verdict.accepted), verdict.next_token]
        emitted, reason = self._emit(block)
        self.drafter.observe(emitted, logits_KV, draft)
        num_accepted = min(len(verdict.accepted), len(emitted))
        self.rounds.append(Round(draft.source, len(draft.tokens), num_accepted, len(emitted), draft_ms, verify_ms))
        return reason

    def _draft(self) -> Draft:
        """Never drafts past the token limit: the target's own next token needs a place too."""
        room = self.stopper.max_new_tokens - len(self.output) - 1
        return self.drafter.propose(self.context, min(self.num_draft, room)) if room > 0 else NOTHING

    def _check(self, draft: Draft) -> tuple[Verdict, torch.Tensor]:
        """One pass over the last token and the draft; leaves the accepted part in the cache."""
        start = self.model.lengths[0]
        ids_1K = torch.tensor([[self.context[-1], *draft.tokens]])
        tree = {} if draft.is_chain else {"depths_K": torch.tensor([0, *draft.depths]), "ancestors_KK": draft.ancestry()}
        logits_KV = self.model.forward(ids_1K, **tree)[0]
        verdict = self.verifier(draft, logits_KV, self.context, self.processors)
        self.model.keep(0, start, [start, *(start + 1 + node for node in verdict.accepted)])
        return verdict, logits_KV

    def _emit(self, block: Sequence[int]) -> tuple[list[int], StopReason | None]:
        emitted, reason = self.stopper.cut(self.output, block)
        self.context += emitted
        self.on_tokens(emitted)
        return emitted, reason


def _ms_since(start: float) -> float:
    return (time.perf_counter() - start) * 1000
