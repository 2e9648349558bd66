"""An int8 copy of the target drafts for it: nearly the same model at half the bytes a weight.

Weights are rounded per output (`nn.linear.Int8Linear`), activations are bf16, so the twin often disagrees only where
the target itself is close to a tie. It shares nothing with the target but the embedding table, which it only reads.
"""

from dataclasses import replace

from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.lean_weights import Layer
from tenfold.nn.linear import Int8Linear, Linear
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.drafters.in_step import InStep
from tenfold.systems.specdec.drafters.model import ModelDraftConfig, ModelDrafter, lean_engine


def twin_drafter(target: LoadedModel, settings: GenerationSettings, config: ModelDraftConfig | None = None) -> ModelDrafter:
    """The target's int8 twin as its drafter.

    Raises:
        UserError: the target does not run on the lean engine.
    """
    return ModelDrafter(InStep(int8_twin(lean_engine(target, "twin"))), settings, config, name="twin")


def int8_twin(engine: LeanLlama) -> LeanLlama:
    """A copy of `engine` with all its matrices in int8, and a cache of its own."""
    layers = [_rounded_layer(layer) for layer in engine.weights.layers]
    return engine.with_weights(replace(engine.weights, layers=layers, head=_rounded(engine.weights.head)), kernel="int8")


def _rounded_layer(layer: Layer) -> Layer:
    matrices = {name: _rounded(getattr(layer, name)) for name in ("qkv", "output", "gate_up", "down")}
    return replace(layer, **matrices)


def _rounded(matrix: Linear) -> Linear:
    return Int8Linear(*matrix.unpack())
