"""Folds for probes that learn: whole blocks, and where it can be done, whole groups of items that share a text.

A learner that has seen a text as a distractor in training can tell what it is in testing. Items that share a text are
therefore kept in one fold, unless that ties most of the file together; then the report says so.
"""

# N items
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Folds:
    """The fold of each item, and whether two folds share a text."""

    fold_N: NDArray[np.intp]
    share_texts: bool

    @property
    def numbers(self) -> list[int]:
        return sorted(set(self.fold_N.tolist()))


def make_folds(blocks: Sequence[Hashable], texts: Sequence[Iterable[Hashable]], *, folds: int = 5, seed: int = 0) -> Folds:
    """Splits items into folds of about equal size.

    Args:
        blocks: the block of each item; a block is never split.
        texts: the texts of each item.
        folds: how many; fewer where there are fewer groups.

    Raises:
        ValueError: fewer than two folds, or all items are in one block.
    """
    if folds < 2 or len(set(blocks)) < 2:
        raise ValueError(f"got {folds} folds and {len(set(blocks))} blocks; held-out testing needs two or more of each")
    block_N = _numbered(blocks)
    joined_N = _joined(blocks, texts)
    if np.bincount(joined_N).max() <= len(blocks) / folds:
        return Folds(_dealt(joined_N, folds, seed), share_texts=False)
    fold_N = _dealt(block_N, folds, seed)
    return Folds(fold_N, share_texts=_shared(fold_N, texts))


def _numbered(keys: Iterable[Hashable]) -> NDArray[np.intp]:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys])


def _joined(blocks: Sequence[Hashable], texts: Sequence[Iterable[Hashable]]) -> NDArray[np.intp]:
    """The group of each item, where items of one block or with a text in common are of one group."""
    parent = list(range(len(blocks)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[tuple[str, Hashable], int] = {}
    for item, (block, own) in enumerate(zip(blocks, texts, strict=True)):
        for key in [("block", block), *(("text", text) for text in own)]:
            parent[root(item)] = root(first.setdefault(key, item))
    return _numbered(root(item) for item in range(len(blocks)))


def _dealt(group_N: NDArray[np.intp], folds: int, seed: int) -> NDArray[np.intp]:
    """Groups in a seeded order, dealt so that the folds fill up one after another with as many items each.

    A group that fills all folds gets one for itself, so that there is always something to learn from.
    """
    sizes_G = np.bincount(group_N)
    order_G = np.random.default_rng(seed).permutation(len(sizes_G))
    before_G = np.cumsum(sizes_G[order_G]) - sizes_G[order_G]
    fold_G = np.empty(len(sizes_G), dtype=np.intp)
    fold_G[order_G] = before_G * folds // len(group_N)
    if not fold_G.any():  # the last group in the order is so large that it begins in the first fold
        fold_G[order_G[-1]] = 1
    return fold_G[group_N]


def _shared(fold_N: NDArray[np.intp], texts: Sequence[Iterable[Hashable]]) -> bool:
    seen: dict[Hashable, int] = {}
    return any(seen.setdefault(text, fold) != fold for fold, own in zip(fold_N.tolist(), texts, strict=True) for text in own)
