"""The model provider behind `--model tenfold/<name>`: Inspect asks, a `ChatModel` answers.

The model is opened when the first answer is asked of it, so that scoring a log again loads no weights.
"""

import time
from functools import cache

from inspect_ai.model import ChatMessage, GenerateConfig, ModelAPI, ModelCall, ModelOutput, RetryDecision
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import concurrency

from tenfold.core.errors import ConfigError
from tenfold.evals.inspect.backends import PROVIDER, Backend, Resolve, offered
from tenfold.evals.inspect.messages import DEFAULT_MAX_TOKENS, to_output, to_request
from tenfold.llm.chat import TRANSIENT, ChatModel, ProviderError


class ChatModelAPI(ModelAPI):
    """Inspect's model interface over one `ChatModel`. `resolve` finds the backend; arguments come from `-M`."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),  # noqa: B008 - the signature that Inspect calls
        *,
        resolve: Resolve,
        **arguments: object,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        found = resolve(model_name, **arguments)
        self._found = Backend(cache(found.open), found.connections)

    @property
    def backend(self) -> Backend:
        """The model last offered under this name, else the one that was resolved: Inspect keeps an instance for good."""
        return offered(self.model_name) or self._found

    @property
    def chat(self) -> ChatModel:
        """The model itself; the first use opens it."""
        return self.backend.open()

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> tuple[ModelOutput, ModelCall]:
        """Answers one call; the time of the call leaves out the wait for a slot.

        Raises:
            ConfigError: the call asks for what a `ChatModel` does not take.
            ProviderError: the apparatus failed.
        """
        if tools:
            raise ConfigError("models under tenfold/ do not take tools; use a task without tools, or another provider")
        request = to_request(input, config)
        chat = self.chat
        async with self._slot():
            start = time.perf_counter()
            reply = await chat.chat(request)
            seconds = time.perf_counter() - start
        output = to_output(reply, model=self.model_name, fingerprint=chat.fingerprint)
        return output, ModelCall.create({"digest": request.digest}, {"cached": reply.cached}, time=seconds)

    def _slot(self):  # Inspect's own limit adapts and may let twenty calls through at once
        name = f"{PROVIDER}/{self.model_name}"
        return concurrency(name, self.backend.connections, f"{name} at work", visible=False)

    def max_tokens(self) -> int:
        return DEFAULT_MAX_TOKENS

    def max_connections(self) -> int:
        return self.backend.connections

    def connection_key(self) -> str:
        return self.model_name

    def should_retry(self, ex: Exception) -> RetryDecision:
        """Asks again where the failure may pass; a refused or unreadable call would fail again."""
        if isinstance(ex, ProviderError) and ex.kind == "rate_limit":
            return RetryDecision.rate_limit(ex.retry_after_s)
        if isinstance(ex, ProviderError) and ex.kind in TRANSIENT:
            return RetryDecision.transient(ex.retry_after_s)
        return RetryDecision.no()
