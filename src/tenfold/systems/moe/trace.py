"""Which experts each token of a text chose: a model and blocks come in, a trace goes out that analyses read; kept as .npz.

ids [L, T, K] uint16, scores [L, T, K] float16, tokens [T] and next_tokens [T], document [T] as places in `documents`
"""

# L layers with a router, T tokens, K chosen experts per token
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from tenfold.core.errors import ConfigError
from tenfold.systems.moe.taps import tapped

AT_ONCE = 8


@dataclass(frozen=True)
class Trace:
    """The choices of one model over one text."""

    expert_LTK: NDArray[np.uint16]
    score_LTK: NDArray[np.float16]
    token_T: NDArray[np.int64]
    next_T: NDArray[np.int64]
    document_T: NDArray[np.int64]
    documents: Sequence[str]
    domain_T: NDArray[np.int64]
    domains: Sequence[str]
    num_experts: int
    model: str

    def save(self, path: Path) -> None:
        """One compressed file."""
        np.savez_compressed(
            path,
            ids=self.expert_LTK,
            scores=self.score_LTK,
            tokens=self.token_T,
            next_tokens=self.next_T,
            document=self.document_T,
            documents=np.array(self.documents),
            domain=self.domain_T,
            domains=np.array(self.domains),
            num_experts=self.num_experts,
            model=np.array(self.model),
        )

    @classmethod
    def load(cls, path: Path, model: str) -> "Trace":
        """A saved trace of this model.

        Raises:
            ConfigError: it is a trace of another model.
        """
        with np.load(path) as kept:
            if str(kept["model"]) != model:
                raise ConfigError(f"{path} is a trace of {kept['model']}, not of {model}; trace this model anew")
            return cls(
                kept["ids"],
                kept["scores"],
                kept["tokens"],
                kept["next_tokens"],
                kept["document"],
                [str(each) for each in kept["documents"]],
                kept["domain"],
                [str(each) for each in kept["domains"]],
                int(kept["num_experts"]),
                model,
            )


@torch.no_grad()
def trace(
    model: PreTrainedModel, blocks_NS: Tensor, documents: Sequence[str], domains: Sequence[str], *, name: str = ""
) -> Trace:
    """Runs the model over blocks, each with its document and domain; the last token of a block has no next one: left out."""
    experts: dict[str, list[Tensor]] = {}
    scores: dict[str, list[Tensor]] = {}
    num_experts = 0
    with tapped(model) as last:
        for ids_BS in blocks_NS.split(AT_ONCE):
            model(input_ids=ids_BS.to(model.device), use_cache=False)
            for router, (logits_TN, expert_TK) in last.items():
                num_experts = logits_TN.shape[-1]
                chosen_TK = logits_TN.float().softmax(-1).gather(-1, expert_TK)
                experts.setdefault(router, []).append(_without_last(expert_TK, ids_BS.shape))
                scores.setdefault(router, []).append(_without_last(chosen_TK, ids_BS.shape))
    inner = blocks_NS.shape[1] - 1
    names, kinds = list(dict.fromkeys(documents)), list(dict.fromkeys(domains))
    return Trace(
        torch.stack([torch.cat(each) for each in experts.values()]).numpy().astype(np.uint16),
        torch.stack([torch.cat(each) for each in scores.values()]).numpy().astype(np.float16),
        blocks_NS[:, :-1].flatten().numpy(),
        blocks_NS[:, 1:].flatten().numpy(),
        np.repeat([names.index(each) for each in documents], inner),
        names,
        np.repeat([kinds.index(each) for each in domains], inner),
        kinds,
        num_experts,
        name,
    )


def _without_last(value_TK: Tensor, shape: Sequence[int]) -> Tensor:
    return value_TK.view(*shape, -1)[:, :-1].flatten(0, 1).cpu()
