"""The greedy certificate: speculative greedy decoding against plain greedy decoding, token for token over the full length.

A mismatch is listed with the position and the gap between the target's two best logits there: on an engine that is exact to
the bit there must be none, elsewhere only near ties.
"""

# V vocabulary
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tenfold.core.errors import UserError
from tenfold.nn.causal_lm import CausalLM, Exactness
from tenfold.nn.drafting import Drafter
from tenfold.nn.generation import Generation, generate
from tenfold.nn.sampling import GenerationSettings, Processors
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.rounds import Speculation, draft_precision, mean_accepted_tokens
from tenfold.systems.specdec.speculate import speculate

Prompts = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Mismatch:
    """Where a text first leaves the plain one."""

    prompt: int
    position: int
    gap: float
    """Between the target's best and second-best processed logit at that position."""


@dataclass(frozen=True)
class Identity:
    """How many of the texts of one drafter equal the plain ones."""

    drafter: str
    identical: int
    total: int
    num_dropped_drafts: int
    mean_accepted_tokens: float
    draft_precision: float | None
    mismatches: Sequence[Mismatch] = field(default=())


@dataclass(frozen=True)
class GreedyCertificate:
    """One row per drafter."""

    exactness: Exactness
    identities: Sequence[Identity]

    @property
    def holds(self) -> bool:
        return all(identity.identical == identity.total for identity in self.identities)


def certify_greedy(
    model: CausalLM,
    prompts: Prompts,
    drafters: Mapping[str, Drafter],
    *,
    stopper: Stopper,
    num_draft: int,
    settings: GenerationSettings | None = None,
) -> GreedyCertificate:
    """Decodes every prompt plainly and with every drafter; name a drafter for what it is, such as `suffix, tree`.

    Raises:
        UserError: the settings ask for sampling.
    """
    settings = settings or GenerationSettings.model_validate({})
    if settings.do_sample:
        raise UserError("do_sample is on, but this certificate is about greedy decoding; leave do_sample off")
    plain = [generate(model, prompt, settings, stopper) for prompt in prompts]
    identities = []
    for name, drafter in drafters.items():
        texts = [speculate(model, prompt, settings, stopper, drafter=drafter, num_draft=num_draft) for prompt in prompts]
        mismatches = list(_mismatches(model, prompts, plain, texts, Processors(settings)))
        identities.append(_identity(name, texts, mismatches))
    return GreedyCertificate(model.exactness, identities)


def _identity(name: str, texts: Sequence[Speculation], mismatches: Sequence[Mismatch]) -> Identity:
    rounds = [step for text in texts for step in text.rounds]
    return Identity(
        drafter=name,
        identical=len(texts) - len(mismatches),
        total=len(texts),
        num_dropped_drafts=sum(len(text.dropped_drafts) for text in texts),
        mean_accepted_tokens=mean_accepted_tokens(rounds),
        draft_precision=draft_precision(rounds),
        mismatches=mismatches,
    )


def _mismatches(
    model: CausalLM, prompts: Prompts, plain: Sequence[Generation], texts: Sequence[Generation], processors: Processors
) -> Iterable[Mismatch]:
    for index, (prompt, expected, found) in enumerate(zip(prompts, plain, texts, strict=True)):
        if list(expected.tokens) != list(found.tokens):
            position = _first_difference(expected.tokens, found.tokens)
            yield Mismatch(index, position, _gap(model, [*prompt, *expected.tokens[:position]], processors))


def _first_difference(first: Sequence[int], second: Sequence[int]) -> int:
    shared = min(len(first), len(second))
    return next((place for place in range(shared) if first[place] != second[place]), shared)


def _gap(model: CausalLM, text: Sequence[int], processors: Processors) -> float:
    model.reset()
    best, second = processors(model.prefill([text]), [text])[0].topk(2).values.tolist()
    return best - second
