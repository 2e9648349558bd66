"""Speculative decoding: a drafter guesses several tokens, the target checks them in one pass.

Survey: Xia et al., "Unlocking Efficiency in Large Language Model Inference", arXiv 2401.07851, with Spec-Bench.
Claim: the text is the target's own, token for token, in fewer passes.

    ours             the survey's      meaning
    target           M_q               the model whose text we want
    drafter          M_p               whoever guesses
    Draft            x~_1 .. x~_gamma  the guessed tokens
    num_draft        gamma             drafted tokens per round
    acceptance       alpha             share of drafted tokens that are kept, by position
    mean accepted    tau, MAT          tokens per target pass, the correction or bonus included

`generate` takes the place of Transformers' `model.generate`. It is imported when it is first asked for, as it needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenfold.systems.specdec.api import generate as generate

__all__ = ["generate"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("tenfold.systems.specdec.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
