"""Which pass widths give the same bits.

A matrix product may sum in another order when it has another number of rows, so a token's logits can differ in the
last bits with the width of the pass that computed them; at a near tie that changes the argmax. Instead of
trusting a kernel, we try it: the same rows are computed at every width, at every place within the pass and beside other
neighbours, and the widths whose bits all agree form the exact class. Passes are then padded to a width of that class.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Pass = Callable[[Tensor, int], Tensor]
"""One pass: (rows [W, I], how many of them are real) -> rows [W, O]. Consecutive passes may share state (a cache)."""

NUM_FIRST_ROWS = 12
"""Rows on which all widths are compared at first."""


def fingerprint(run: Pass, rows: Tensor, width: int) -> bytes:
    """The bits of `rows` computed `width` at a time, the last pass padded with other rows."""
    padding = rows.flip(0).repeat(-(-width // len(rows)), 1)
    pieces = []
    for start in range(0, len(rows), width):
        piece = rows[start : start + width]
        filled = torch.cat([piece, padding[: width - len(piece)]])
        pieces.append(run(filled, len(piece))[: len(piece)])
    return torch.cat(pieces).cpu().contiguous().view(torch.uint8).numpy().tobytes()


def exact_class(new_run: Callable[[], Pass], rows: Tensor, widths: Iterable[int]) -> frozenset[int]:
    """The largest set of widths that give equal bits on `rows`; among equally large ones that with the smallest width.

    Widths are first compared on a few rows, which fill every place of the narrow ones; the wide ones that agree are
    then compared on all rows, of which there must be as many as the widest pass has places.
    """
    classes: dict[bytes, list[int]] = defaultdict(list)
    for width in widths:
        classes[fingerprint(new_run(), rows[:NUM_FIRST_ROWS], width)].append(width)
    agreed = max(classes.values(), key=lambda members: (len(members), -min(members)))
    reference = max((width for width in agreed if width <= NUM_FIRST_ROWS), default=min(agreed))
    expected = fingerprint(new_run(), rows, reference)
    return frozenset(width for width in agreed if width <= NUM_FIRST_ROWS or fingerprint(new_run(), rows, width) == expected)


def fit(widths: frozenset[int], needed: int, batch_size: int = 1) -> int | None:
    """The smallest tokens-per-row count >= `needed` whose pass is exact; None if there is none.

    The products see count * `batch_size` rows, attention sees `count` queries a row: both must be in `widths`.
    """
    widest = max(widths, default=0) // batch_size
    return next((k for k in range(needed, widest + 1) if k in widths and k * batch_size in widths), None)


def most(widths: frozenset[int], batch_size: int = 1) -> int:
    """The largest exact tokens-per-row count; 0 if there is none."""
    return max((k for k in widths if k * batch_size in widths), default=0)
