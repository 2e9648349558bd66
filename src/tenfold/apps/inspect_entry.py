"""What Inspect AI loads by its entry point: the provider `tenfold/<model>` and the tasks of the homes.

    inspect eval tenfold/ump --model tenfold/smollm2

A model is `smollm2`, a hub id, a folder or a .gguf file, decoded here; `openai:NAME`, an endpoint; or one that was
offered by `tenfold.evals.inspect.backends.offer`. Nothing loads torch before a local model gives its first answer.
"""

from functools import partial
from typing import cast

from inspect_ai.model import ModelAPI, modelapi

from tenfold.core.registry import load_target
from tenfold.evals.inspect.backends import PROVIDER, Backend, offered
from tenfold.systems.deepeval.tasks import deepeval
from tenfold.systems.ump.tasks import ump

__all__ = ["deepeval", "tenfold", "ump"]

ENDPOINT_CONNECTIONS = 10


@modelapi(name=PROVIDER)
def tenfold() -> type[ModelAPI]:
    from tenfold.evals.inspect.provider import ChatModelAPI

    return cast(type[ModelAPI], partial(ChatModelAPI, resolve=resolve))


def resolve(name: str, **arguments: object) -> Backend:
    """The backend of `tenfold/<name>`; the arguments go to whoever opens the model."""
    known = offered(name)
    if known is not None:
        return known
    if name.startswith("openai:"):
        return Backend(lambda: load_target("tenfold.llm.opening:open_endpoint")(name, **arguments), ENDPOINT_CONNECTIONS)
    return Backend(lambda: load_target("tenfold.nn.vision:open_model")(name, **arguments))
