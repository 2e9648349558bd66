"""The production loop as it runs, seeds and all: frequencies of sampled texts on a tiny model against their exact law.

What the enumeration replaces (the seeded streams, torch's draws, float32, the engine's cache) is real here. The price is
a statistical answer: a chi-square test, with the deviation that it would have seen.
"""

# V vocabulary
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from pydantic import Field
from transformers import LlamaConfig, LlamaForCausalLM

from tenfold.core.config import Config
from tenfold.core.seeds import derive
from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings, Processors
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.certificate.guesses import TableDrafter, chain, with_replacement
from tenfold.systems.specdec.certificate.tables import Table
from tenfold.systems.specdec.laws import Law
from tenfold.systems.specdec.randomness import SeededRandomness
from tenfold.systems.specdec.speculate import speculate
from tenfold.systems.specdec.verifiers import VERIFIERS

PROMPT = (1, 2)
VOCAB_SIZE = 3
NUM_TOKENS = 3
SURE = 0.999


class FrequencySettings(Config):
    """How often to sample, and when to reject."""

    verifier: str = "block"
    """The verifier to test."""
    num_runs: int = Field(default=50_000, ge=100)
    """Texts to sample; one takes a few milliseconds."""
    num_draft: int = Field(default=2, ge=1)
    """Drafted tokens per pass."""
    temperature: float = Field(default=0.3, gt=0)
    """The sampled law: that of a tiny random model at this temperature."""
    threshold: float = Field(default=1e-9, gt=0, lt=1)
    """Reject below this p-value."""
    seed: int = 0
    """Seed of the model; run i samples with seed + i."""


@dataclass(frozen=True)
class ChiSquare:
    """A goodness-of-fit test of the joint law of the first tokens."""

    verifier: str
    num_runs: int
    statistic: float
    degrees: int
    p_value: float
    detectable_total_variation: float
    """A deviation of this total variation, in whatever direction, would have been rejected with probability .999."""
    holds: bool


def check_frequencies(settings: FrequencySettings) -> ChiSquare:
    """Samples `num_runs` texts by speculation and compares them with the product of the model's own laws."""
    model = tiny_llama(settings.seed)
    counts = Counter(_sample(model, settings, run) for run in range(settings.num_runs))
    processors = Processors(_generation(settings, settings.seed))
    law = {text: _probability(model, processors, text) for text in product(range(VOCAB_SIZE), repeat=NUM_TOKENS)}
    expected = {text: probability * settings.num_runs for text, probability in law.items()}
    statistic = sum((counts[text] - count) ** 2 / count for text, count in expected.items())
    degrees = len(law) - 1
    p_value = chi_square_tail(statistic, degrees)
    detectable = (_detectable_noncentrality(degrees, settings.threshold) / (4 * settings.num_runs)) ** 0.5
    return ChiSquare(
        settings.verifier, settings.num_runs, statistic, degrees, p_value, detectable, p_value >= settings.threshold
    )


def tiny_llama(seed: int, vocab_size: int = VOCAB_SIZE) -> LeanLlama:
    """A random model of one layer on the lean engine."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LeanLlama(config, LlamaForCausalLM(config).state_dict())


def chi_square_tail(statistic: float, degrees: int, noncentrality: float = 0.0) -> float:
    """Probability that a (noncentral) chi-square variable exceeds `statistic`: a Poisson mixture of central ones."""
    half = torch.tensor(noncentrality / 2, dtype=torch.float64)
    steps = torch.arange(int(half + 12 * half.sqrt()) + 30, dtype=torch.float64)
    weights = torch.exp(torch.xlogy(steps, half) - half - torch.lgamma(steps + 1))
    tails = torch.special.gammaincc(degrees / 2 + steps, torch.full_like(steps, statistic / 2))
    return float((weights * tails).sum())


def _sample(model: CausalLM, settings: FrequencySettings, run: int) -> tuple[int, ...]:
    seed = settings.seed + run
    generation = _generation(settings, seed)
    result = speculate(
        model,
        PROMPT,
        generation,
        Stopper(max_new_tokens=generation.max_new_tokens),
        drafter=_drafter(settings, seed),
        num_draft=settings.num_draft,
        verifier=VERIFIERS.load(settings.verifier)(),
        allow_lossy=True,
    )
    return tuple(result.tokens[:NUM_TOKENS])


def _generation(settings: FrequencySettings, seed: int) -> GenerationSettings:
    """Room for the first token, one whole draft and its bonus, and at least the tokens that are counted."""
    keywords = {"do_sample": True, "temperature": settings.temperature, "seed": seed}
    return GenerationSettings.model_validate(keywords | {"max_new_tokens": max(NUM_TOKENS, settings.num_draft + 2)})


def _drafter(settings: FrequencySettings, seed: int) -> TableDrafter:
    """Draws chains from a table's laws, in float32, with streams of its own."""
    table, randomness = Table(settings.seed, VOCAB_SIZE), SeededRandomness(derive(seed, "draft"))

    def law_after(text: Sequence[int]) -> Law:
        return table.after(text[-1:]).astype("float32")

    return TableDrafter(chain(settings.num_draft), law_after, with_replacement, randomness, lambda law_V, _: law_V)


def _probability(model: CausalLM, processors: Processors, text: Sequence[int]) -> float:
    """The product of the model's laws along `text`, each from a pass of its own."""
    probability = 1.0
    for index, token in enumerate(text):
        model.reset()
        prefix = [*PROMPT, *text[:index]]
        probability *= float(processors.law(model.prefill([prefix]), [prefix])[0, token])
    return probability


def _detectable_noncentrality(degrees: int, threshold: float) -> float:
    """The least noncentrality at which the test rejects with probability .999.

    A law at total variation d from the true one has a noncentrality of at least 4 d^2 per run (Cauchy-Schwarz).
    """
    critical = _bisect(lambda statistic: chi_square_tail(statistic, degrees) < threshold)
    return _bisect(lambda noncentrality: chi_square_tail(critical, degrees, noncentrality) > SURE)


def _bisect(holds_at: Callable[[float], bool], low: float = 0.0, high: float = 4096.0) -> float:
    """Where a condition that fails at `low` and holds at `high` begins to hold."""
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if holds_at(middle) else (middle, high)
    return high
