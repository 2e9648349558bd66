"""How likely a model finds whole candidate strings after one prompt, with the prompt encoded once.

The candidates' tokens form a prefix tree that hangs below the prompt; one pass over that tree gives the
log-probability of every candidate (verdicts, option letters, yes or no). A model that takes no trees gets one pass each.
"""

# K inner nodes of the tree, V vocabulary
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from tenfold.nn.causal_lm import CausalLM, check_one_row
from tenfold.nn.drafting import ROOT, Draft


def score_candidates(model: CausalLM, prompt: Sequence[int], candidates: Sequence[Sequence[int]]) -> Tensor:
    """Sum of log-probabilities of each candidate's tokens after `prompt`, [number of candidates] float32.

    The cache is left holding the prompt alone, so that further candidates can follow.

    Raises:
        ValueError: there is no candidate, or one is empty.
    """
    if not candidates or not all(candidates):
        raise ValueError("there must be at least one candidate, and none may be empty")
    check_one_row(model)
    model.reset()
    after_prompt_V = model.prefill([prompt])[0].log_softmax(-1)
    if not getattr(model, "takes_trees", True):
        return torch.stack([_chain_score(model, candidate, after_prompt_V) for candidate in candidates])
    tree, leaves = prefix_tree(candidates)
    log_law = {ROOT: after_prompt_V, **_inner_laws(model, tree)}
    return torch.stack([_path_score(tree, leaf, log_law) for leaf in leaves])


def inner_nodes(tree: Draft) -> list[int]:
    """The nodes that something follows: only they have to be computed, what follows the prompt alone costs nothing more."""
    return sorted({parent for parent in tree.parents if parent != ROOT})


def _inner_laws(model: CausalLM, tree: Draft) -> dict[int, Tensor]:
    """Node -> log-probabilities [V] of the token after it; the cache is left as it was."""
    inner = inner_nodes(tree)
    if not inner:
        return {}
    start = model.lengths[0]
    depths = torch.tensor([tree.depths[node] for node in inner]) - 1
    rows = torch.tensor(inner) + 1
    ids_1K = torch.tensor([[tree.tokens[node] for node in inner]])
    logits_KV = model.forward(ids_1K, depths_K=depths, ancestors_KK=tree.ancestry()[rows][:, rows])[0]
    model.keep(0, start, [])
    return dict(zip(inner, logits_KV.log_softmax(-1), strict=True))


def prefix_tree(candidates: Sequence[Sequence[int]]) -> tuple[Draft, list[int]]:
    """Merges token sequences into one tree; returns it and, for each sequence, its last node."""
    nodes: dict[tuple[int, int], int] = {}
    leaves = []
    for candidate in candidates:
        node = ROOT
        for token in candidate:
            node = nodes.setdefault((node, token), len(nodes))
        leaves.append(node)
    return Draft([token for _, token in nodes], [parent for parent, _ in nodes], "candidates"), leaves


def _path_score(tree: Draft, leaf: int, log_law: Mapping[int, Tensor]) -> Tensor:
    path = tree.path(leaf)
    return torch.stack([log_law[tree.parents[node]][tree.tokens[node]] for node in path]).sum()


def _chain_score(model: CausalLM, candidate: Sequence[int], after_prompt_V: Tensor) -> Tensor:
    """One candidate in a pass of its own, for models that take no trees."""
    log_law_nV = model.forward(torch.tensor([list(candidate)]))[0].log_softmax(-1)
    model.rollback([len(candidate)])
    rows = [after_prompt_V, *log_law_nV[:-1]]
    return torch.stack([row[token] for row, token in zip(rows, candidate, strict=True)]).sum()
