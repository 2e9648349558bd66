"""The mask as the method says it: a double loop over entries, slow and obvious. And a toy codec for random models."""

from collections.abc import Sequence

import torch

from tenfold.systems.sentinel.layout import Layout
from tenfold.systems.sentinel.rules import Rule

VOCAB = 97
SENTINEL, PARAGRAPH = 95, 96


class ToyCodec:
    """97 tokens: words, capitals, stops, spaces, line ends, and the bytes of one CJK character and one emoji."""

    beginning: Sequence[int] = ()

    def __init__(self) -> None:
        words = [f" w{number}" for number in range(30)] + [f" W{number}" for number in range(20)]
        marks = [".", "!", "?", ",", "\n", "\n\n", '"', " Mr", " 3", "14", "。", "的"]
        texts = [text.encode() for text in words + marks]
        texts += [bytes([byte]) for byte in "語🙂".encode()]
        self.pieces = [*texts, *[b" x"] * (VOCAB - len(texts))]

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self.pieces[token] for token in ids).decode(errors="replace")

    def reserved(self) -> list[int]:
        return [PARAGRAPH, SENTINEL]


def oracle(layout: Layout, rule: Rule) -> torch.Tensor:
    """bool [N, N]: who (row) sees whom (column)."""
    size = len(layout)
    return torch.tensor([[_sees(layout, q, k, rule) for k in range(size)] for q in range(size)])


def _sees(z: Layout, q: int, k: int, rule: Rule) -> bool:
    if k > q or z.d[k] != z.d[q]:
        return False
    start = rule.block * (max(0, z.i[q] - rule.window) // rule.block)
    if z.level[k]:
        gone = rule.hierarchy and rule.raw == "window" and z.level[k] == 1 and z.g[k] < z.g[q] and z.i[k] <= start
        shown = not gone
    elif rule.raw == "all":
        shown = True
    elif rule.raw == "window":
        shown = z.i[k] <= rule.n_sink or z.i[k] > start
    else:
        shown = z.c[k] == z.c[q]
    if not z.level[q]:
        return shown and not (rule.blind and z.level[k] > 0)
    own = z.g[k] == z.g[q] if z.level[q] == 2 else z.c[k] == z.c[q]
    if rule.scope == "chunk":
        return shown and own
    if rule.scope == "chunk+sr":
        return shown and (own or z.level[k] > 0)
    return shown
