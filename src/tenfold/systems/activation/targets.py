"""The scalar D of the output whose change is measured: one number a text, none of which depends on the padding."""

# N texts, T tokens, V vocabulary
from collections.abc import Callable

import torch
from torch import Tensor

from tenfold.core.errors import UserError
from tenfold.core.registry import Registry

Target = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits [N, T, V], ids [N, T], lengths [N]) -> D [N]. Texts are padded on the right."""


def last_max(logits_NTV: Tensor, ids_NT: Tensor, lengths_N: Tensor) -> Tensor:
    """The largest logit of the last token: the paper's."""
    return _at_last(logits_NTV, lengths_N).amax(-1)


def mean_max(logits_NTV: Tensor, ids_NT: Tensor, lengths_N: Tensor) -> Tensor:
    """The largest logit, averaged over the tokens."""
    is_text_NT = _before(lengths_N, ids_NT.shape[1])
    return (logits_NTV.amax(-1) * is_text_NT).sum(1) / lengths_N


def nll(logits_NTV: Tensor, ids_NT: Tensor, lengths_N: Tensor) -> Tensor:
    """The mean loss of the next token.

    Raises:
        UserError: a text of one token, which has no next one.
    """
    if int(lengths_N.min()) < 2:
        raise UserError("a text has one token, and nll needs two; give a longer text, or the target last_max")
    logp_NT = logits_NTV[:, :-1].log_softmax(-1).gather(2, ids_NT[:, 1:, None])[..., 0]
    is_text_NT = _before(lengths_N - 1, ids_NT.shape[1] - 1)
    return -(logp_NT * is_text_NT).sum(1) / (lengths_N - 1)


def logp(answer: int) -> Target:
    """The log-probability of one token as the next one."""

    def target(logits_NTV: Tensor, ids_NT: Tensor, lengths_N: Tensor) -> Tensor:
        return _at_last(logits_NTV, lengths_N).log_softmax(-1)[:, answer]

    return target


def contrast(first: int, second: int) -> Target:
    """How much likelier the first token is than the second, as a difference of log-probabilities."""

    def target(logits_NTV: Tensor, ids_NT: Tensor, lengths_N: Tensor) -> Tensor:
        last_NV = _at_last(logits_NTV, lengths_N)
        return last_NV[:, first] - last_NV[:, second]

    return target


TARGETS: dict[str, Target] = {"last_max": last_max, "mean_max": mean_max, "nll": nll}


def find(name: str) -> Target:
    """A target without parameters, by name; UnknownNameError with the nearest names if there is none."""
    Registry("target", dict.fromkeys(TARGETS, "")).check(name)
    return TARGETS[name]


def _at_last(logits_NTV: Tensor, lengths_N: Tensor) -> Tensor:
    return logits_NTV[torch.arange(len(logits_NTV)), lengths_N - 1]


def _before(lengths_N: Tensor, size: int) -> Tensor:
    return torch.arange(size)[None] < lengths_N[:, None]
