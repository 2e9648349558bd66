"""Expert by expert: how many tokens and texts came, and how strongly its weights act where they do.

`conditional` is the mean over the texts that reached the expert, `unconditional` over all texts. An expert that no text
reached has neither: it is listed as never hit.
"""

# N texts, E experts
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from tenfold.core.errors import UserError
from tenfold.nn.named_linears import NamedLinear, named_linears
from tenfold.systems.activation.collect import collect
from tenfold.systems.activation.opened import OpenedModel
from tenfold.systems.activation.routing import RoutedTokens
from tenfold.systems.activation.targets import Target


@dataclass
class ExpertMeans:
    """A reducer: the mean a of each map, summed over texts; experts by number, shared maps under None."""

    sums: dict[tuple[int, int | None], float] = field(default_factory=dict)
    sizes: dict[tuple[int, int | None], int] = field(default_factory=dict)

    def add(self, linear: NamedLinear, text: int, a_OI: Tensor) -> None:
        key = (linear.layer, linear.expert)
        self.sums[key] = self.sums.get(key, 0.0) + float(a_OI.double().sum())

    def measure(self, linears: Sequence[NamedLinear]) -> None:
        """Counts the weights behind each sum."""
        self.sizes.clear()
        for linear in linears:
            key = (linear.layer, linear.expert)
            self.sizes[key] = self.sizes.get(key, 0) + linear.weight_OI.numel()


def expert_map(opened: OpenedModel, texts: Sequence[Sequence[int]], target: Target) -> list[dict[str, Any]]:
    """One row a layer and expert: tokens, texts, conditional and unconditional mean a; `expert` None is what all share.

    Raises:
        UserError: the model has no experts.
    """
    linears = named_linears(opened.model)
    if all(linear.expert is None for linear in linears):
        raise UserError(f"{opened.name} has no experts; give a mixture, such as a Mixtral, a Qwen-MoE or a DeepSeek")
    means, routed = ExpertMeans(), RoutedTokens()
    means.measure(linears)
    collect(opened.model, texts, target, [means], routed=routed)
    return [
        _row(means, routed.tokens, key, len(texts))
        for key in sorted(means.sizes, key=lambda k: (k[0], k[1] or 0, k[1] is None))
    ]


def _row(
    means: ExpertMeans, tokens: Mapping[tuple[int, int], Tensor], key: tuple[int, int | None], num_texts: int
) -> dict[str, Any]:
    layer, expert = key
    if expert is None:
        mean = means.sums.get(key, 0.0) / num_texts / means.sizes[key]
        return {
            "layer": layer,
            "expert": None,
            "tokens": None,
            "texts": num_texts,
            "conditional": mean,
            "unconditional": mean,
        }
    counts = [int(tokens[text, layer][expert]) for text in range(num_texts)]
    hit = sum(count > 0 for count in counts)
    total = means.sums.get(key, 0.0) / means.sizes[key]
    return {
        "layer": layer,
        "expert": expert,
        "tokens": sum(counts),
        "texts": hit,
        "conditional": total / hit if hit else None,
        "unconditional": total / num_texts if hit else None,
    }
