"""Nine ways to break speculative sampling, each seen in a real implementation or easily made; the certificate must see each.

M1  the draft carries its raw law, but was drawn from the processed one
M2  the draft carries its law rounded to bfloat16 (and normalised again)
M3  the residual is p - q, not clamped at 0
M4  the bonus token comes from the row before the last
M5  a rejected sibling leaves p as it was
M6  one uniform decides on acceptance and draws the residual
M7  rejected tokens stay in the cache
M8  in a tree, a token's position is its slot
M9  the processors see a prefix that lacks its last token
"""

# p the target's law, q the draft's; K query tokens of one pass
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tenfold.nn.causal_lm import CausalLM, Exactness
from tenfold.nn.drafting import ROOT
from tenfold.systems.specdec.certificate.loop import Loop
from tenfold.systems.specdec.laws import Law
from tenfold.systems.specdec.randomness import ANYWHERE, Randomness, law_given_uniform
from tenfold.systems.specdec.verifiers.block import Block
from tenfold.systems.specdec.verifiers.evidence import Evidence, LawOf, Verdict, Verifier
from tenfold.systems.specdec.verifiers.sample import Sample

Breakage = Callable[[Loop], Loop]
Keep = Callable[[int, int, Sequence[int]], None]


@dataclass(frozen=True)
class Mutant:
    """A breakage, and whether it shows in chains too or in trees only."""

    name: str
    breaks: Breakage
    needs_tree: bool = False


def raw_law(loop: Loop) -> Loop:
    return replace(loop, recorded=lambda processed_V, raw_V: raw_V)


def rounded_law(loop: Loop) -> Loop:
    return replace(loop, recorded=lambda processed_V, raw_V: _rounded(processed_V))


def unclamped_residual(loop: Loop) -> Loop:
    return replace(loop, verifier=_with_excess(loop.verifier, np.subtract))


def kept_mass(loop: Loop) -> Loop:
    return replace(loop, verifier=_with_excess(loop.verifier, lambda p_V, q_V: p_V))


def wrong_row(loop: Loop) -> Loop:
    return replace(loop, verifier=BonusFromWrongRow(loop.verifier))


def shared_uniform(loop: Loop) -> Loop:
    return replace(loop, randomness=SharedUniform)


def no_rollback(loop: Loop) -> Loop:
    return replace(loop, model=_keeps_everything)


def position_is_slot(loop: Loop) -> Loop:
    return replace(loop, model=_ignores_depths)


def late_prefix(loop: Loop) -> Loop:
    return replace(loop, law_of=_with_late_prefix)


MUTANTS = (
    Mutant("M1", raw_law),
    Mutant("M2", rounded_law),
    Mutant("M3", unclamped_residual),
    Mutant("M4", wrong_row),
    Mutant("M5", kept_mass, needs_tree=True),
    Mutant("M6", shared_uniform),
    Mutant("M7", no_rollback),
    Mutant("M8", position_is_slot, needs_tree=True),
    Mutant("M9", late_prefix),
)


def _with_excess(verifier: Verifier, excess: Callable[[Law, Law], Law]) -> Verifier:
    assert isinstance(verifier, Sample | Block), verifier
    return replace(verifier, excess=excess)


def _rounded(law_V: Law) -> Law:
    rounded_V = torch.from_numpy(law_V).bfloat16().double().numpy()
    return rounded_V / rounded_V.sum()


def _with_late_prefix(law_of: LawOf) -> LawOf:
    return lambda logits_NV, prefixes: law_of(logits_NV, [prefix[:-1] for prefix in prefixes])


@dataclass(frozen=True)
class BonusFromWrongRow:
    """After a leaf, the verifier gets the law of the leaf's own parent."""

    verifier: Verifier
    name: ClassVar[str] = "bonus from wrong row"
    lossless: ClassVar[bool] = False

    def __call__(self, evidence: Evidence, randomness: Randomness) -> Verdict:
        def target(node: int) -> Law:
            is_leaf = node != ROOT and not any(evidence.children(node))
            return evidence.target(evidence.draft.parents[node] if is_leaf else node)

        return self.verifier(replace(evidence, target=target), randomness)


class SharedUniform:
    """Draws from a law with the uniform that the last acceptance was decided by."""

    def __init__(self, randomness: Randomness) -> None:
        self.randomness = randomness
        self.known = ANYWHERE

    def accepts(self, probability: Any) -> bool:
        accepted = self.randomness.accepts(probability)
        self.known = (Fraction(0), probability) if accepted else (probability, Fraction(1))
        return accepted

    def draw(self, law_V: Law) -> int:
        (low, high), self.known = self.known, ANYWHERE
        return self.randomness.draw(np.array(law_given_uniform(law_V, low, high)))

    def draw_at(self, position: int, law_V: Law) -> int:
        return self.randomness.draw_at(position, law_V)


class Rewired:
    """A causal LM that hands everything on to another, but for one method."""

    def __init__(self, model: CausalLM, *, forward: Callable[..., Tensor] | None = None, keep: Keep | None = None) -> None:
        self.model = model
        self.vocab_size, self.max_positions = model.vocab_size, model.max_positions
        self.batch_size = model.batch_size
        self.exactness: Exactness = model.exactness
        self.reset, self.prefill, self.rollback = model.reset, model.prefill, model.rollback
        self._forward, self._keep = forward or model.forward, keep or model.keep

    @property
    def lengths(self) -> Sequence[int]:
        return self.model.lengths

    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        return self._forward(ids_BK, depths_K=depths_K, ancestors_KK=ancestors_KK)

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        self._keep(row, start, slots)


def _keeps_everything(model: CausalLM) -> CausalLM:
    return Rewired(model, keep=lambda row, start, slots: None)


def _ignores_depths(model: CausalLM) -> CausalLM:
    def forward(ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        return model.forward(ids_BK, ancestors_KK=ancestors_KK)

    return Rewired(model, forward=forward)
