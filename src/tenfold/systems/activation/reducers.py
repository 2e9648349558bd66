"""What is kept of a pattern: each reducer sees |w * dD/dw| of one matrix and one text, and nothing of it stays alive."""

# O outputs, I inputs, K buckets, L layers, B bins
import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from tenfold.nn.named_linears import NamedLinear


def name_generator(seed: int, name: str) -> torch.Generator:
    """A generator for one matrix: a function of seed and name alone."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


class Reducer(Protocol):
    """Takes the patterns in any order."""

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None: ...


class MeanMap:
    """The mean over texts of every single weight, by name of its matrix, in fp32: as large as the model."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        sum_OI = self.sums.get(linear.name)
        self.sums[linear.name] = a_OI.float().clone() if sum_OI is None else sum_OI.add_(a_OI)
        self.counts[linear.name] = self.counts.get(linear.name, 0) + 1

    def mean(self, name: str) -> Tensor:
        """[O, I] of one matrix."""
        return self.sums[name] / self.counts[name]


class SquareMap:
    """The root of the sum of squares over texts, of every single weight: abs(w) * norm2(gradients)."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        sum_OI = self.sums.get(linear.name)
        square_OI = a_OI.float().square()
        self.sums[linear.name] = square_OI if sum_OI is None else sum_OI.add_(square_OI)

    def norm(self, name: str) -> Tensor:
        """[O, I] of one matrix."""
        return self.sums[name].sqrt()


class RowColumnSums:
    """Sums over the inputs and over the outputs of each matrix, for each text.

    Give the model's linear maps where some may not be reached by a text (experts): their sums are then 0.
    """

    def __init__(self, linears: Sequence[NamedLinear] = ()) -> None:
        self.sizes: dict[int, dict[str, int]] = {}
        for linear in linears:
            self.sizes.setdefault(linear.layer, {})[linear.kind] = sum(linear.weight_OI.shape)
        self.parts: dict[tuple[int, int], dict[str, Tensor]] = {}

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        sums = torch.cat([a_OI.sum(1), a_OI.sum(0)]).float()
        self.parts.setdefault((text, linear.layer), {})[linear.kind] = sums

    def vector(self, text: int, layer: int) -> Tensor:
        """All sums of a layer, matrices in order of their names."""
        parts = self.parts.get((text, layer), {})
        sizes = self.sizes.get(layer, {})
        return torch.cat([parts[kind] if kind in parts else torch.zeros(sizes[kind]) for kind in sorted({*parts, *sizes})])


class CountSketch:
    """A random projection of each layer to K numbers that keeps inner products without bias (count sketch).

    Weight i of a matrix goes to bucket i mod K with a random sign, so the sum over a bucket is a sum of rows.
    """

    def __init__(self, buckets: int = 4096, *, seed: int = 0) -> None:
        self.buckets, self.seed = buckets, seed
        self.sketches: dict[tuple[int, int], Tensor] = {}
        self._signs: dict[str, Tensor] = {}
        self._scratch = torch.empty(0)

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        if self._scratch.numel() < a_OI.numel() or self._scratch.dtype != a_OI.dtype:
            self._scratch = torch.empty(a_OI.numel(), dtype=a_OI.dtype)
        signed = self._scratch[: a_OI.numel()]
        torch.mul(a_OI.flatten(), self._sign(linear.name, a_OI).flatten(), out=signed)
        whole = len(signed) // self.buckets * self.buckets
        sketch_K = self.sketches.setdefault((text, linear.layer), torch.zeros(self.buckets, dtype=a_OI.dtype))
        sketch_K += signed[:whole].view(-1, self.buckets).sum(0)
        sketch_K[: len(signed) - whole] += signed[whole:]

    def vector(self, text: int, layer: int) -> Tensor:
        """[K] of one layer."""
        return self.sketches[text, layer]

    def _sign(self, name: str, like_OI: Tensor) -> Tensor:
        """+1 or -1 for each weight, a function of seed and name alone."""
        if name not in self._signs:
            bits_OI = torch.randint(0, 2, like_OI.shape, generator=name_generator(self.seed, name), dtype=torch.int8)
            self._signs[name] = bits_OI * 2 - 1
        return self._signs[name]


class LogHistogram:
    """How many weights of a matrix, over all texts, have which log10 a; the first bin also holds what is smaller (0 too)."""

    LOWEST, HIGHEST, BINS = -14.0, 4.0, 180

    def __init__(self) -> None:
        self.counts: dict[str, Tensor] = {}

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        logs = a_OI.clamp_min(1e-30).log10().clamp(self.LOWEST, self.HIGHEST).float()
        counts_B = torch.histc(logs, self.BINS, self.LOWEST, self.HIGHEST).long()
        self.counts[linear.name] = self.counts.get(linear.name, 0) + counts_B
