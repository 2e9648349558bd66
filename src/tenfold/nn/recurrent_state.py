"""Caches of Transformers models that can be rolled back: which kinds there are, and copies of recurrent states.

Layers that attend keep all keys and values, also where the model looks at a window only: what has left the window is
hidden by the mask, and comes back into view after a rollback. A recurrent layer (Mamba, gated delta nets, short
convolutions) folds each token into its state and cannot give it back; there the state is copied before a pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionLayer,
)

KEEPS_ALL = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
RECURRENT = (LinearAttentionLayer, LinearAttentionAndFullAttentionLayer)


def new_cache(config: PretrainedConfig) -> Any:
    """An empty `DynamicCache` whose layers forget nothing that attention could need again."""
    cache: Any = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        if type(layer) is DynamicSlidingWindowLayer:
            cache.layers[index] = DynamicLayer()
    return cache


def unknown_layers(config: PretrainedConfig) -> list[str]:
    """The kinds of cache layers of this model that we cannot roll back, by name."""
    kinds = {type(layer) for layer in DynamicCache(config=config).layers}
    return sorted(kind.__name__ for kind in kinds.difference(KEEPS_ALL, RECURRENT))


def is_windowed(config: PretrainedConfig) -> bool:
    """Whether some layer sees only a window, or a chunk, of the past."""
    return any(type(layer) is DynamicSlidingWindowLayer for layer in DynamicCache(config=config).layers)


def is_recurrent(config: PretrainedConfig) -> bool:
    """Whether some layer folds the past into a state."""
    return any(type(layer) in RECURRENT for layer in DynamicCache(config=config).layers)


@dataclass(frozen=True)
class States:
    """Copies of a cache's recurrent states, one entry for each recurrent layer."""

    layers: Sequence[tuple[int, dict[str, Any]]]

    @staticmethod
    def of(cache: Any) -> "States":
        """The states as they are now."""
        recurrent = ((index, layer) for index, layer in enumerate(cache.layers) if type(layer) in RECURRENT)
        return States([(index, _copied(layer)) for index, layer in recurrent])

    def restore(self, cache: Any, num_fed: int) -> None:
        """Puts the states back, and drops the `num_fed` tokens that were fed since from the layers that attend."""
        for index, state in self.layers:
            vars(cache.layers[index]).update(_copied_values(state))
        for layer in cache.layers:
            if isinstance(layer, DynamicLayer):
                DynamicLayer.crop(layer, -num_fed)


def wipe(cache: Any) -> bool:
    """Sets all recurrent states (not those of convolutions) to zero; False if the cache has none."""
    layers = (layer for layer in cache.layers if type(layer) in RECURRENT)
    states = [state for layer in layers for state in layer.recurrent_states.values() if state is not None]
    for state in states:
        state.zero_()
    return bool(states)


FIELDS = (
    "conv_states",
    "recurrent_states",
    "is_conv_states_initialized",
    "is_recurrent_states_initialized",
    "has_previous_state",
)


def _copied(layer: Any) -> dict[str, Any]:
    return _copied_values({name: getattr(layer, name) for name in FIELDS})


def _copied_values(fields: dict[str, Any]) -> dict[str, Any]:
    """A layer overwrites its tensors in place, so a copy must share none with it."""
    return {name: {key: _clone(value) for key, value in entries.items()} for name, entries in fields.items()}


def _clone(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value
