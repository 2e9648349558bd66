"""The target drafts with some of its own layers and its own head (survey, section 4.2: self-drafting).

`early_exit` takes the first layers, `layer_skip` any chosen ones; both share the target's weights and keep a KV cache of
their own. The head is a large part of a small model, so it can be cut to the tokens worth guessing. Which layers to
keep is searched one at a time on texts of the target, or read from a file of scores.
"""

# T tokens of a text, V vocabulary, n tokens the trimmed head knows
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from tenfold.core import jsonl
from tenfold.core.errors import UserError
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.linear import TrimmedLinear
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.drafters.in_step import InStep
from tenfold.systems.specdec.drafters.model import ModelDraftConfig, ModelDrafter, lean_engine

DEFAULT_SHARE = 5
"""One layer in so many drafts by default."""

HEAD_ROWS = 64
"""Rows a pass of the head when a whole text is scored."""


class EarlyExitConfig(ModelDraftConfig):
    """Which part of the target drafts."""

    num_layers: int | None = Field(default=None, ge=1)
    """Layers that draft: the first ones, or the best scored ones; a fifth of the model's by default."""
    head_size: int = Field(default=0, ge=0)
    """Tokens the draft may contain, those with the lowest ids (the most frequent ones in BPE); 0 allows all."""


class LayerSkipConfig(EarlyExitConfig):
    """Which layers of the target draft."""

    layers: tuple[int, ...] = ()
    """Layers that draft, counted from 0; empty chooses num_layers of them."""
    scores: Path | None = None
    """JSONL file of {layer, score}: the best scored layers draft; without it they are spread evenly."""


@dataclass(frozen=True)
class LayerSet:
    """Some layers, and at what share of positions they choose the target's own next token."""

    layers: Sequence[int]
    agreement: float


def early_exit_drafter(
    target: LoadedModel, settings: GenerationSettings, config: EarlyExitConfig | None = None
) -> ModelDrafter:
    """The first layers of the target as its drafter."""
    config = config or EarlyExitConfig()
    engine = lean_engine(target, "early_exit")
    view = with_head_size(with_layers(engine, range(_num_layers(engine, config))), config.head_size)
    return ModelDrafter(InStep(view), settings, config, name="early_exit")


def layer_skip_drafter(
    target: LoadedModel, settings: GenerationSettings, config: LayerSkipConfig | None = None
) -> ModelDrafter:
    """Some layers of the target as its drafter."""
    config = config or LayerSkipConfig()
    engine = lean_engine(target, "layer_skip")
    view = with_head_size(with_layers(engine, _chosen_layers(engine, config)), config.head_size)
    return ModelDrafter(InStep(view), settings, config, name="layer_skip")


def with_layers(engine: LeanLlama, layers: Sequence[int]) -> LeanLlama:
    """A view of `engine` that runs only these layers, in this order.

    Raises:
        UserError: no layer is given, one occurs twice, or the model has no such layer.
    """
    have = engine.weights.shape.num_layers
    if not layers or len(set(layers)) < len(layers) or not set(layers) <= set(range(have)):
        raise UserError(f"layers are {list(layers)}; give at least one, each once, from 0 to {have - 1}")
    shape = replace(engine.weights.shape, num_layers=len(layers))
    return engine.with_weights(replace(engine.weights, shape=shape, layers=[engine.weights.layers[i] for i in layers]))


def with_head_size(engine: LeanLlama, size: int) -> LeanLlama:
    """A view of `engine` that guesses only the `size` tokens with the lowest ids; 0 leaves the head as it is."""
    return engine if size in (0, engine.vocab_size) else with_head_rows(engine, range(size))


def with_head_rows(engine: LeanLlama, tokens: Sequence[int]) -> LeanLlama:
    """A view of `engine` that guesses only these tokens.

    Raises:
        UserError: no token is given, or the vocabulary lacks one.
    """
    if not tokens or min(tokens) < 0 or max(tokens) >= engine.vocab_size:
        raise UserError(f"a head of {len(tokens)} tokens does not fit; give from 1 to {engine.vocab_size} of the vocabulary")
    head = TrimmedLinear(engine.weights.head, torch.tensor(list(tokens)), kernel=engine.kernel)
    return engine.with_weights(replace(engine.weights, head=head))


def most_frequent(texts: Iterable[Sequence[int]], size: int) -> list[int]:
    """The `size` tokens that occur most often in `texts` (token ids), ascending; fewer if not so many occur."""
    counts = Counter(token for text in texts for token in text)
    return sorted(sorted(counts, key=lambda token: (-counts[token], token))[:size])


def evenly_spread(num_layers: int, have: int) -> list[int]:
    """`num_layers` of `have` layers at equal distances, the first and the last among them."""
    if num_layers > have:
        raise UserError(f"num_layers is {num_layers}, but the model has {have}; lower num_layers")
    return [round(i * (have - 1) / max(1, num_layers - 1)) for i in range(num_layers)]


def best_scored(path: Path, num_layers: int) -> list[int]:
    """The layers of the `num_layers` highest scores in a JSONL file of {layer, score}, in the model's order."""
    rows: list[dict[str, Any]] = sorted(jsonl.read(path), key=lambda row: -row["score"])
    return sorted(int(row["layer"]) for row in rows[:num_layers])


def search_layers(engine: LeanLlama, texts: Sequence[Sequence[int]], num_layers: int, *, max_trials: int = 200) -> LayerSet:
    """Coordinate search: exchanges one layer at a time for the unused one that most helps, until none does.

    `texts` are prompts with the target's own continuations (token ids); each trial scores them all.
    """
    search = _Search(engine, texts, max_trials)
    best = search.trial(evenly_spread(num_layers, engine.weights.shape.num_layers))
    while (better := search.sweep(best)).agreement > best.agreement:
        best = better
    return best


def agreement(drafter: LeanLlama, texts: Sequence[Sequence[int]], choices: Sequence[Tensor]) -> float:
    """Share of positions at which the drafter's argmax is the target's (`choices`, one tensor a text)."""
    hits = sum(int((argmaxes(drafter, text) == choice_T).sum()) for text, choice_T in zip(texts, choices, strict=True))
    return hits / sum(map(len, texts))


@torch.inference_mode()
def argmaxes(engine: LeanLlama, text: Sequence[int]) -> Tensor:
    """The likeliest next token [T] after each token of a text."""
    engine.reset()
    engine.prefill([text])
    return torch.cat([engine.weights.head(rows_nD).argmax(-1) for rows_nD in engine.hidden_rows[0].split(HEAD_ROWS)])


class _Search:
    """Trials of layer sets, up to a number of them."""

    def __init__(self, engine: LeanLlama, texts: Sequence[Sequence[int]], max_trials: int) -> None:
        self.engine, self.texts, self.trials_left = engine, texts, max_trials
        self.choices = [argmaxes(engine, text) for text in texts]

    def trial(self, layers: Sequence[int]) -> LayerSet:
        self.trials_left -= 1
        return LayerSet(layers, agreement(with_layers(self.engine, layers), self.texts, self.choices))

    def sweep(self, best: LayerSet) -> LayerSet:
        """Each place once: all unused layers are tried in it."""
        for place in range(len(best.layers)):
            kept = [layer for i, layer in enumerate(best.layers) if i != place]
            unused = [layer for layer in range(self.engine.weights.shape.num_layers) if layer not in best.layers]
            trials = [self.trial(sorted([*kept, layer])) for layer in unused[: max(0, self.trials_left)]]
            best = max([best, *trials], key=lambda found: found.agreement)
        return best


def _num_layers(engine: LeanLlama, config: EarlyExitConfig) -> int:
    return config.num_layers or max(1, engine.weights.shape.num_layers // DEFAULT_SHARE)


def _chosen_layers(engine: LeanLlama, config: LayerSkipConfig) -> Sequence[int]:
    if config.layers:
        return config.layers
    if config.scores is not None:
        return best_scored(config.scores, _num_layers(engine, config))
    return evenly_spread(_num_layers(engine, config), engine.weights.shape.num_layers)
