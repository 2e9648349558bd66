"""What a similarity from patterns has to beat: hidden states and shared tokens, both from a forward pass or less."""

# P pairs, N texts, L layers (with the embeddings), D model width
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from tenfold.systems.activation.collect import pad
from tenfold.systems.activation.opened import sorted_by_length

Floats = NDArray[np.float64]
BATCH = 32


@torch.inference_mode()
def hidden_states(model: PreTrainedModel, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(mean over tokens, last token) of each layer's hidden states, each [N, L, D]."""
    means: dict[int, Tensor] = {}
    lasts: dict[int, Tensor] = {}
    order = sorted_by_length(texts)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        ids_NT, lengths_N = pad([texts[place] for place in places])
        mask_NT = torch.arange(ids_NT.shape[1])[None] < lengths_N[:, None]
        output = model(input_ids=ids_NT, attention_mask=mask_NT.long(), use_cache=False, output_hidden_states=True)
        states_NLTD = torch.stack(output.hidden_states, dim=1).float()
        sums_NLD = (states_NLTD * mask_NT[:, None, :, None]).sum(2)
        for row, place in enumerate(places):
            means[place] = sums_NLD[row] / lengths_N[row]
            lasts[place] = states_NLTD[row, :, lengths_N[row] - 1].clone()
    return tuple(torch.stack([found[place] for place in range(len(texts))]) for found in (means, lasts))  # pyright: ignore


def pair_cosines(states_NLD: Tensor, pairs: Sequence[tuple[int, int]]) -> Floats:
    """Cosine of each pair in each layer [P, L]."""
    first, second = (torch.tensor(side) for side in zip(*pairs, strict=True))
    unit_NLD = functional.normalize(states_NLD, dim=-1)
    return (unit_NLD[first] * unit_NLD[second]).sum(-1).double().numpy()


def jaccard(first: Sequence[int], second: Sequence[int]) -> float:
    """Shared tokens over all tokens of two texts."""
    a, b = set(first), set(second)
    return len(a & b) / max(1, len(a | b))


def unigram_cosine(first: Sequence[Sequence[int]], second: Sequence[Sequence[int]], vocab_size: int) -> float:
    """Cosine of the token counts of two sets of texts."""
    a, b = (np.bincount(np.concatenate([np.asarray(t) for t in texts]), minlength=vocab_size) for texts in (first, second))
    return float(a @ b / max(1e-30, np.linalg.norm(a) * np.linalg.norm(b)))
