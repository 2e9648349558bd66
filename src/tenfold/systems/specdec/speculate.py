"""Speculative decoding as a function: one prompt, or a list of them, to their texts. The loop itself is `scheduler.py`."""

# K query rows of a pass, V vocabulary
from collections.abc import Sequence

from torch import Tensor

from tenfold.nn.causal_lm import CausalLM, check_one_row
from tenfold.nn.drafting import NOTHING, Draft, Drafter, StateScope
from tenfold.nn.generation import OnTokens, ignore_tokens
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.draft_length import DraftLength
from tenfold.systems.specdec.randomness import Randomness
from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.rounds import Speculation
from tenfold.systems.specdec.scheduler import Scheduler
from tenfold.systems.specdec.verifiers.evidence import LawOf, Verifier


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
        verifier: by default `greedy`, or `block` for a request that samples.

    Raises:
        ValueError: as `speculate`; or the number of drafters or lengths is not the number of rows.
    """
    scheduler = Scheduler(
        model, drafters=drafters, num_draft=num_draft, verifier=verifier, allow_lossy=allow_lossy, in_pieces=False
    )
    numbers = [scheduler.add(request) for request in requests]
    texts: dict[int, Speculation] = {}
    while scheduler.is_busy:
        for event in scheduler.step():
            if event.failure is not None:
                raise event.failure
            if event.result is not None:
                texts[event.request_id] = event.result
    return [texts[number] for number in numbers]


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
