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

`generate` takes the place of Transformers' `model.generate`; `Scheduler` serves many `Request`s that come and go, step by
step. They are imported when they are first asked for, as they need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenfold.systems.specdec.api import generate as generate
    from tenfold.systems.specdec.requests import Request as Request
    from tenfold.systems.specdec.scheduler import Event as Event
    from tenfold.systems.specdec.scheduler import Scheduler as Scheduler

_HOMES = {"generate": "api", "Request": "requests", "Event": "scheduler", "Scheduler": "scheduler"}

__all__ = ["Event", "Request", "Scheduler", "generate"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tenfold.systems.specdec.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
