"""The rules themselves: every exact one keeps the target's law, to the last Fraction."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.nn.drafting import ROOT, Draft
from tenfold.systems.specdec.certificate.exact import ExactRound
from tenfold.systems.specdec.certificate.guesses import GUESSES, chain
from tenfold.systems.specdec.certificate.tables import Table
from tenfold.systems.specdec.laws import excess, normalised, point_mass, without
from tenfold.systems.specdec.randomness import SeededRandomness, outcomes
from tenfold.systems.specdec.verifiers import VERIFIERS
from tenfold.systems.specdec.verifiers.block import Block
from tenfold.systems.specdec.verifiers.delta import Delta
from tenfold.systems.specdec.verifiers.evidence import Evidence, gather
from tenfold.systems.specdec.verifiers.sample import Sample
from tenfold.systems.specdec.verifiers.typical import Typical, entropy

EXACT = ("sample", "delta", "tree", "block", "coupled")
SHAPES = (chain(1), chain(2), (-1, -1), (-1, -1, 0), (-1, 0, 0, -1))


def law(*parts):
    return np.array([Fraction(part, sum(parts)) for part in parts], dtype=object)


def one_token_draft(p, q, token):
    return Evidence(Draft.chain([token], "test"), 1, lambda node: p, lambda node: q)


def softmax_law(logits_NV, prefixes):
    return logits_NV.softmax(-1)


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=12)
@given(
    shape=st.sampled_from(SHAPES),
    guess=st.sampled_from(sorted(GUESSES)),
    vocab_size=st.integers(2, 3),
    seed=st.integers(0, 999),
)
def test_exact_verifiers_keep_the_law(name, shape, guess, vocab_size, seed):
    verifier = VERIFIERS.load(name)()
    assert verifier.lossless
    one = ExactRound(verifier, shape, guess, Table(seed, vocab_size), Table(seed + 1, vocab_size))
    assert one.total_variation() == 0


@pytest.mark.parametrize("name", ["typical", "lenient"])
def test_lossy_verifiers_say_so_and_are_seen(name):
    verifier = VERIFIERS.load(name)()
    assert not verifier.lossless
    assert ExactRound(verifier, chain(2), "with replacement", Table(1, 3), Table(2, 3)).total_variation() > 0.01


def accepted_share(verifier, p, q):
    """Probability that a token drawn from q is kept."""

    def kept(randomness):
        return len(verifier(one_token_draft(p, q, randomness.draw(q)), randomness).accepted)

    return sum(weight for count, weight in outcomes(kept) if count)


def test_acceptance_is_the_overlap_with_q_and_the_match_without():
    p, q = law(1, 2, 3), law(3, 2, 1)
    assert accepted_share(Sample(), p, q) == sum(np.minimum(p, q))
    assert accepted_share(Block(), p, q) == sum(np.minimum(p, q))
    assert accepted_share(Delta(), p, q) == sum(p * q)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15)
def test_block_keeps_at_least_as_many_tokens_as_sample(seed):
    def mean_emitted(verifier):
        one = ExactRound(verifier, chain(3), "with replacement", Table(seed, 2), Table(seed + 1, 2))
        return sum(len(text) * weight for text, weight in outcomes(one.emit))

    assert mean_emitted(Block()) >= mean_emitted(Sample())


UNUSABLE = {
    "none": None,
    "another vocabulary": torch.full((2, 3), 1 / 3),
    "not normalised": torch.full((2, 4), 0.3),
    "half precision": torch.full((2, 4), 0.25, dtype=torch.bfloat16),
    "not a number": torch.full((2, 4), float("nan")),
    "negative": torch.tensor([[1.5, -0.5, 0, 0]] * 2),
}


@pytest.mark.parametrize("flaw", UNUSABLE)
@pytest.mark.parametrize("verifier", [Sample(), Block()])
def test_an_unusable_law_is_not_used(flaw, verifier):
    draft = Draft.chain([0, 1], "test", law_nV=UNUSABLE[flaw])
    evidence = gather(draft, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), [1], softmax_law)
    assert evidence.drafted is None
    assert evidence.drawn_from(1).tolist() == [0, 1, 0, 0]
    verifier(evidence, SeededRandomness(0))


def test_a_law_that_rules_its_own_token_out_is_not_used():
    evidence = one_token_draft(law(1, 1), law(0, 1), 0)
    assert evidence.drawn_from(0).tolist() == [1, 0]


def test_a_usable_law_is_used():
    law_nV = torch.tensor([[0.5, 0.5, 0, 0]])
    evidence = gather(Draft.chain([0], "test", law_nV=law_nV), torch.zeros(2, 4), [1], softmax_law)
    assert evidence.drawn_from(0).tolist() == [0.5, 0.5, 0, 0]


def test_laws_are_made_for_the_right_prefix_and_only_when_asked_for():
    asked = []

    def law_of(logits_NV, prefixes):
        asked.extend(prefixes)
        return logits_NV

    draft = Draft([7, 8, 9], [ROOT, ROOT, 1], "test")
    evidence = gather(draft, torch.arange(4.0)[:, None].expand(4, 2), [5], law_of)
    assert evidence.target(2).tolist() == [3, 3] and evidence.target(2).tolist() == [3, 3]
    assert asked == [[5, 8, 9]]
    assert [evidence.position_after(node) for node in (ROOT, 0, 1, 2)] == [1, 2, 2, 3]


def test_without_residual_mass_the_token_comes_from_p():
    p = law(1, 3)
    assert normalised(excess(p, p), otherwise_V=p).tolist() == p.tolist()


def test_arithmetic_of_laws():
    p = law(1, 1, 2)
    assert point_mass(2, like_V=p).tolist() == [0, 0, 1]
    assert without([2], p).tolist() == [Fraction(1, 2), Fraction(1, 2), 0]
    assert without([0, 1, 2], p).tolist() == p.tolist()
    assert entropy(law(1, 1)) == pytest.approx(np.log(2))


def test_typical_keeps_what_an_undecided_target_finds_possible():
    flat, sure = np.full(100, 0.01), np.array([0.99] + [0.01 / 99] * 99)
    for p, is_kept in ((flat, True), (sure, False)):
        verdict = Typical()(replace(one_token_draft(p, p, 5)), SeededRandomness(0))
        assert bool(verdict.accepted) == is_kept


def test_the_registry_loads_every_verifier():
    assert {VERIFIERS.load(name)().name for name in VERIFIERS} == set(VERIFIERS) - {"tree"}
