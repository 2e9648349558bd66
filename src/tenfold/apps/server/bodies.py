"""The bodies of requests, as OpenAI's API names them.

A key that OpenAI knows and that would change the answer is honoured or refused; one that would not (`user`, `metadata`) is
taken and ignored; any other is an error that names the nearest known one.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tenfold.core.errors import UnknownNameError

IGNORED = frozenset(
    {
        "user",
        "metadata",
        "store",
        "service_tier",
        "parallel_tool_calls",
        "prompt_cache_key",
        "safety_identifier",
        "verbosity",
    }
)
"""Keys of OpenAI's that say nothing about the text."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "top_logprobs": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "functions": (None, []),
    "function_call": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
    "reasoning_effort": (None,),
    "web_search_options": (None,),
    "suffix": (None, ""),
    "best_of": (None, 1),
    "echo": (None, False),
}
"""Keys of OpenAI's that this server honours only at these values, which change nothing."""


def _encodable(text: str) -> str:
    """JSON can write halves of characters, which are no text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start} is half of a surrogate pair; send whole characters") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class TextPart(_Strict):
    """A piece of a message."""

    type: Literal["text"]
    text: Text


class ChatMessage(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="ignore")

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(min_length=1)]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class JsonSchema(BaseModel):
    """The schema of a structured answer."""

    name: str = ""
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Strict):
    """What the answer has to be: any text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema goes with type 'json_schema', and only with it")
        return self

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON schema that the answer must follow, if any."""
        if self.type == "text":
            return None
        return self.json_schema.schema_ if self.json_schema else {"type": "object"}


class StreamOptions(_Strict):
    """What a stream brings beside the text."""

    include_usage: bool = False
    include_obfuscation: bool = False
    include_sources: bool = False
    """Not OpenAI's: for every piece of the text, who guessed it."""


class Continuation(_Strict):
    """What both kinds of completion may ask for."""

    model: Text
    max_tokens: int | None = Field(default=None, ge=0)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1)
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    top_k: int = Field(default=0, ge=0)
    """Not OpenAI's: keep the k likeliest tokens; 0 keeps all."""
    min_p: float = Field(default=0.0, ge=0, le=1)
    """Not OpenAI's: keep tokens at least this likely relative to the likeliest."""
    repetition_penalty: float = Field(default=1.0, gt=0, le=10)
    """Not OpenAI's: above 1 makes tokens that already occurred less likely."""
    speculate: bool = True
    """Not OpenAI's: whether tokens may be guessed ahead; the text is the same without, only slower."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        kept = {}
        for key, value in body.items():
            if key in cls.model_fields:
                kept[key] = value
            elif key in NEUTRAL and value not in NEUTRAL[key]:
                raise ValueError(f"{key} is {value!r}, but this server honours only {NEUTRAL[key][-1]!r}; leave it out")
            elif key not in NEUTRAL and key not in IGNORED:
                raise ValueError(str(UnknownNameError("key", key, cls.model_fields)))
        return kept

    @model_validator(mode="after")
    def _stream_options_go_with_stream(self) -> "Continuation":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is given, but stream is not true; leave it out or stream")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in given if text)

    @property
    def num_choices(self) -> int:
        return self.n or 1

    @property
    def extras(self) -> StreamOptions:
        return self.stream_options or StreamOptions()


class ChatBody(Continuation):
    """POST /v1/chat/completions"""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: int | None = Field(default=None, ge=0)
    response_format: ResponseFormat | None = None

    @property
    def limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


Tokens = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class CompletionBody(Continuation):
    """POST /v1/completions"""

    prompt: Text | Tokens | Annotated[list[Text], Field(min_length=1)] | Annotated[list[Tokens], Field(min_length=1)]

    @property
    def limit(self) -> int | None:
        return self.max_tokens

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt as its text or its tokens."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]  # pyright: ignore[reportReturnType]
        return list(self.prompt)  # pyright: ignore[reportReturnType]
