"""From weights, their inputs and their activation patterns to a mask: the base pruners, unstructured or n of every m.

magnitude   abs(W), over a whole matrix
wanda       abs(W) * norm2(X), within each output row                   (2306.11695)
sparsegpt   optimal brain surgeon, column by column, in blocks of 128   (2301.00774)
grad        mean abs(W * dD/dW) over texts, within each row             (2405.17799, section 4)
gblm        wanda + alpha * abs(W) * norm2(G)                           (2311.04902)
"""

# O outputs, I inputs, B columns of a block
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.nn.named_linears import NamedLinear
from tenfold.systems.activation.walk import InputStatistics

BLOCK = 128
DAMPING = 0.01
NAMES = ("wanda", "magnitude", "sparsegpt", "grad", "gblm")
NEED_GRADIENTS = ("grad", "gblm")


@dataclass(frozen=True)
class Pattern:
    """Unstructured (`group` 0), or `keep` of every `group` inputs."""

    keep: int = 0
    group: int = 0

    @staticmethod
    def parse(text: str) -> "Pattern":
        """`unstructured`, or n:m such as 2:4.

        Raises:
            ConfigError: anything else.
        """
        if text == "unstructured":
            return Pattern()
        keep, colon, group = text.partition(":")
        if colon and keep.isdigit() and group.isdigit() and 0 < int(keep) < int(group):
            return Pattern(int(keep), int(group))
        raise ConfigError(f"pattern is {text!r}; accepted are unstructured and n:m such as 2:4 or 4:8")

    @property
    def sparsity(self) -> float:
        """The share that n:m takes away."""
        return 1 - self.keep / self.group


@dataclass(frozen=True)
class GradientMaps:
    """Per matrix, over the calibration texts: the mean of a = abs(W * dD/dW), and norm2(a) = abs(W) * norm2(G)."""

    mean: Mapping[str, Tensor]
    norm: Mapping[str, Tensor]


@dataclass(frozen=True)
class Pruner:
    """One base pruner with its settings; called with a matrix and its sparsity it zeroes weights and returns what stayed."""

    name: str
    pattern: Pattern = Pattern()
    alpha: float = 100.0
    gradients: GradientMaps | None = None

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UnknownNameError("pruner", self.name, NAMES)
        assert self.gradients is not None or self.name not in NEED_GRADIENTS, f"{self.name} needs gradient maps"

    @property
    def needs_products(self) -> bool:
        return self.name == "sparsegpt"

    def prune(self, statistics: InputStatistics, sparsity: float) -> Tensor:
        """Changes the weights of one map; returns its mask [O, I].

        Raises:
            ConfigError: n:m where the inputs are no multiple of m.
        """
        linear = statistics.linear
        if self.pattern.group and linear.weight_OI.shape[1] % self.pattern.group:
            raise ConfigError(
                f"{linear.name} has {linear.weight_OI.shape[1]} inputs, no multiple of {self.pattern.group};"
                " take another n:m, or unstructured"
            )
        if self.needs_products and statistics.rows:
            return sparsegpt(linear, statistics, sparsity, self.pattern)
        mask = self._mask(self.scores(linear, statistics), sparsity)
        linear.weight_OI.mul_(mask)
        return mask

    def scores(self, linear: NamedLinear, statistics: InputStatistics) -> Tensor:
        """[O, I]; what scores least goes first."""
        size_OI = linear.weight_OI.abs().float()
        if self.name == "magnitude":
            return size_OI
        if self.name == "grad":
            assert self.gradients is not None
            return self.gradients.mean.get(linear.name, size_OI)  # an expert that no text reached has its sizes alone
        wanda_OI = size_OI * statistics.norms_I
        if self.name == "gblm":
            assert self.gradients is not None
            return wanda_OI + self.alpha * self.gradients.norm.get(linear.name, torch.zeros_like(size_OI))
        return wanda_OI

    def _mask(self, score_OI: Tensor, sparsity: float) -> Tensor:
        if self.pattern.group:
            return n_of_m(score_OI, self.pattern)
        if self.name == "magnitude":
            return largest(score_OI.view(1, -1), sparsity).view_as(score_OI)
        return largest(score_OI, sparsity)


def largest(score_OI: Tensor, sparsity: float) -> Tensor:
    """True for all but the lowest share of each row; the rows that lose one more make the share of the matrix exact."""
    rows, columns = score_OI.shape
    fewer, extra = divmod(round(sparsity * rows * columns), rows)
    return torch.cat([_all_but_lowest(score_OI[:extra], fewer + 1), _all_but_lowest(score_OI[extra:], fewer)])


def _all_but_lowest(score_OI: Tensor, count: int) -> Tensor:
    if count == 0 or len(score_OI) == 0:
        return torch.ones_like(score_OI, dtype=torch.bool)
    threshold_O1 = score_OI.kthvalue(count, dim=1, keepdim=True).values
    mask_OI = score_OI > threshold_O1
    for row in (mask_OI.sum(1) != score_OI.shape[1] - count).nonzero().flatten().tolist():  # ties: the first ones go
        mask_OI[row] = True
        mask_OI[row, score_OI[row].argsort(stable=True)[:count]] = False
    return mask_OI


def n_of_m(score_OI: Tensor, pattern: Pattern) -> Tensor:
    """True for the `keep` largest of every `group` neighbours of a row."""
    groups = score_OI.view(len(score_OI), -1, pattern.group)
    order = groups.argsort(dim=-1, descending=True, stable=True)[..., : pattern.keep]
    return torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order, True).view_as(score_OI)


def sparsegpt(linear: NamedLinear, statistics: InputStatistics, sparsity: float, pattern: Pattern) -> Tensor:
    """Removes weights from left to right and lets those further right make up for the error; returns the mask [O, I]."""
    weight_OI = linear.weight_OI.float().clone()
    inverse_II, dead_I = inverse_factor(statistics)
    weight_OI[:, dead_I] = 0
    mask_OI = torch.ones_like(weight_OI, dtype=torch.bool)
    for start in range(0, weight_OI.shape[1], BLOCK):
        stop = min(start + BLOCK, weight_OI.shape[1])
        _prune_block(weight_OI, mask_OI, inverse_II, start, stop, _chooser(sparsity, pattern))
    linear.weight_OI.copy_(weight_OI)
    return mask_OI


def inverse_factor(statistics: InputStatistics) -> tuple[Tensor, Tensor]:
    """(upper Cholesky factor [I, I] of the inverse of the damped Hessian, which inputs were always 0)."""
    assert statistics.products_II is not None
    hessian_II = statistics.products_II.double() / statistics.rows
    dead_I = hessian_II.diagonal() == 0
    diagonal = hessian_II.diagonal()
    diagonal[dead_I] = 1
    diagonal += DAMPING * diagonal.mean()
    inverse_II = torch.cholesky_inverse(torch.linalg.cholesky(hessian_II))
    return torch.linalg.cholesky(inverse_II, upper=True).float(), dead_I


Chooser = Callable[[Tensor], Tensor]


def _chooser(sparsity: float, pattern: Pattern) -> tuple[Chooser, int]:
    """(from the scores of some columns to their mask, how many columns are decided at a time; 0 for a whole block)."""
    if pattern.group:
        return lambda score: n_of_m(score, pattern), pattern.group
    return lambda score: largest(score.reshape(1, -1), sparsity).view_as(score), 0


def _prune_block(
    weight_OI: Tensor, mask_OI: Tensor, inverse_II: Tensor, start: int, stop: int, chooser: tuple[Chooser, int]
) -> None:
    choose, width = chooser
    width = width or stop - start
    block_OB, factor_BB = weight_OI[:, start:stop], inverse_II[start:stop, start:stop]
    errors_OB = torch.zeros_like(block_OB)
    for column in range(stop - start):
        if column % width == 0:
            ahead = slice(column, column + width)
            score = (block_OB[:, ahead] / factor_BB.diagonal()[ahead]).square()
            mask_OI[:, start + column : start + column + width] = choose(score)
        kept_O = mask_OI[:, start + column]
        error_O = block_OB[:, column] * ~kept_O / factor_BB[column, column]
        block_OB[:, column] *= kept_O
        block_OB[:, column + 1 :] -= error_O[:, None] * factor_BB[column, column + 1 :]
        errors_OB[:, column] = error_O
    weight_OI[:, stop:] -= errors_OB @ inverse_II[start:stop, stop:]
