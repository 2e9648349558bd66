"""An Inspect model as a `ChatModel`: a judge of ours then asks a grader that the user named by a role.

    inspect eval tenfold/ump --model tenfold/smollm2 --model-role grader=openai/NAME

Its calls are logged with the sample and answered from the cache like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    Content,
    ContentImage,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    ResponseSchema,
)
from inspect_ai.util import JSONSchema, LimitExceededError

from tenfold.evals.inspect.generating import generate_cached, score_candidates
from tenfold.evals.inspect.messages import ANSWER_PREFIX
from tenfold.evals.inspect.provider import ChatModelAPI
from tenfold.llm.chat import ChatReply, ChatRequest, Message, ProviderError, Usage

ROLES = {"system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant}


@dataclass(frozen=True)
class InspectChat:
    """A `ChatModel` over an Inspect model, such as `get_model(role="grader")`."""

    model: Model
    scopes: Mapping[str, str] = field(default_factory=dict)
    """What else its answers stand for; see `generate_cached`."""

    @property
    def name(self) -> str:
        return str(self.model)

    @property
    def fingerprint(self) -> str:
        return self.model.api.chat.fingerprint if isinstance(self.model.api, ChatModelAPI) else self.name

    @property
    def takes_images(self) -> bool:
        return self.model.api.chat.takes_images if isinstance(self.model.api, ChatModelAPI) else True

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Asks by way of Inspect, which tries again where a failure may pass.

        Raises:
            ProviderError: the model could not be asked.
        """
        messages = [_message(message) for message in request.messages]
        try:
            if request.candidates:
                return await self._score(messages, request)
            output = await generate_cached(messages, scopes=self.scopes, model=self.model, config=self._config(request))
        except (ProviderError, LimitExceededError):
            raise
        except Exception as error:  # each provider of Inspect has its own kinds of failure
            raise ProviderError("rejected", f"{self.name}: {error}") from error
        return _reply(output)

    async def _score(self, messages: list[ChatMessage], request: ChatRequest) -> ChatReply:
        scores = await score_candidates(
            messages,
            request.candidates,
            scopes=self.scopes,
            model=self.model,
            answer_prefix=request.answer_prefix,
        )
        return ChatReply("", candidate_logprobs=scores.logprobs, candidate_tokens=scores.tokens)

    def _config(self, request: ChatRequest) -> GenerateConfig:
        """The request's settings by Inspect's names.

        Raises:
            ProviderError: unsupported: a begun answer at a model that is not ours, or a schema that Inspect cannot carry.
        """
        if request.answer_prefix and not isinstance(self.model.api, ChatModelAPI):
            raise ProviderError("unsupported", f"{self.name} cannot continue a begun answer; leave answer_prefix empty")
        return GenerateConfig(
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop_seqs=list(request.stop) or None,
            response_schema=_schema(request),
            extra_body={ANSWER_PREFIX: request.answer_prefix} if request.answer_prefix else None,
        )


def _message(message: Message) -> ChatMessage:
    if not message.images:
        return ROLES[message.role](content=message.text)
    parts: list[Content] = [
        ContentText(text=part) if isinstance(part, str) else ContentImage(image=part.data_uri) for part in message.parts
    ]
    return ROLES[message.role](content=parts)


def _schema(request: ChatRequest) -> ResponseSchema | None:
    """The schema by Inspect's class, which would drop the words that it does not know."""
    if request.json_schema is None:
        return None
    schema = JSONSchema.model_validate(request.json_schema)
    lost = schema.model_dump(exclude_none=True, by_alias=True) != request.json_schema
    if lost:
        raise ProviderError("unsupported", "the JSON schema has words that Inspect does not carry; use a plainer one")
    return ResponseSchema(name="answer", json_schema=schema, strict=True)


def _reply(output: ModelOutput) -> ChatReply:
    cut_off = output.stop_reason in ("max_tokens", "model_length")
    usage = output.usage
    return ChatReply(
        output.completion,
        "length" if cut_off else "content_filter" if output.stop_reason == "content_filter" else "stop",
        Usage(usage.input_tokens, usage.output_tokens, usage.reasoning_tokens or 0) if usage else Usage(),
    )
