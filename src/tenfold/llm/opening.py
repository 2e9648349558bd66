"""From a name to an endpoint ready for work: cached, asked again after failures, and never asked too much at once.

The SDK, which takes most of a second to import, is imported when an endpoint is opened.
"""

from pathlib import Path

from tenfold.core.errors import UserError
from tenfold.core.registry import load_target
from tenfold.llm.cache import Cached
from tenfold.llm.chat import ChatModel
from tenfold.llm.limits import Adaptive
from tenfold.llm.retries import Retrying

PREFIX = "openai:"


def open_endpoint(
    name: str,
    *,
    cache: Path | None = None,
    concurrency: int = 16,
    attempts: int = 6,
    timeout_s: float = 60.0,
) -> ChatModel:
    """The model that `openai:NAME` names, at OPENAI_BASE_URL with OPENAI_API_KEY; `cache` is a file for its answers.

    The order matters: what is in the cache costs nothing, and what waits for its next attempt holds no place.

    Raises:
        UserError: the name does not begin with `openai:`, the key is missing, or a number is not above 0.
    """
    if not name.startswith(PREFIX) or name == PREFIX:
        raise UserError(f"the endpoint's name is {name!r}; write it as {PREFIX}NAME, for example {PREFIX}gpt-4o-mini")
    for setting, value in {"concurrency": concurrency, "attempts": attempts, "timeout_s": timeout_s}.items():
        if not value > 0:
            raise UserError(f"{setting} of the endpoint {name} is {value}; give a number above 0")
    endpoint = load_target("tenfold.llm.endpoint:Endpoint")(name.removeprefix(PREFIX), timeout_s=timeout_s)
    model = Retrying(Adaptive(endpoint, concurrency), attempts=attempts)
    return model if cache is None else Cached(model, cache)
