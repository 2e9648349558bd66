"""From a model's name to a chat model: an endpoint, a model that sees, or a text model on our own decoding.

Neither torch nor an HTTP client is imported before a model is opened.
"""

from tenfold.core.registry import load_target
from tenfold.llm.chat import ChatModel

ENDPOINT = "openai:"
ENDPOINT_CONCURRENCY = 16


def is_endpoint(name: str) -> bool:
    """Whether the name means an endpoint: `openai:NAME`."""
    return name.startswith(ENDPOINT)


def open_model(name: str, *, dtype: str = "auto") -> ChatModel:
    """The model of this name: an endpoint, a vision model, or a text model on our own decoding.

    Raises:
        MissingArtifactError: there is no such model here.
        UserError: an endpoint without a key.
    """
    if is_endpoint(name):
        return load_target("tenfold.llm.opening:open_endpoint")(name, concurrency=ENDPOINT_CONCURRENCY)
    return load_target("tenfold.nn.vision:open_model")(name, dtype=dtype)


def takes_images(name: str) -> bool:
    """Whether a model may be sent pictures; for an endpoint this is a hope, as only asking will show."""
    return is_endpoint(name) or load_target("tenfold.nn.vision:takes_images")(name)


def concurrency(name: str) -> int:
    """Calls that may be under way at a time: one where the model is computed here."""
    return ENDPOINT_CONCURRENCY if is_endpoint(name) else 1
