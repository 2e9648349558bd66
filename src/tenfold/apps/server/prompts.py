"""From a body to what the engine runs: prompt tokens, settings, where the text ends, what it may consist of."""

import secrets
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from tenfold.apps.server.bodies import ChatBody, CompletionBody, Continuation
from tenfold.apps.server.settings import ServeConfig
from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.core.seeds import derive
from tenfold.nn import models
from tenfold.nn.constrain import json_schema_constraint
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.constrained import ConstrainedLaw
from tenfold.systems.specdec.requests import Request
from tenfold.systems.specdec.verifiers.coupled import Coupled

DEFAULT_TEMPERATURE = 1.0
"""OpenAI's default."""
CHARACTERS_PER_TOKEN = 100
"""A prompt with more characters a token than this is refused unread."""


@dataclass(frozen=True)
class Prompts:
    """Turns bodies into requests for one loaded model."""

    loaded: LoadedModel
    config: ServeConfig

    def of_chat(self, body: ChatBody) -> list[int]:
        """The conversation's tokens, up to where the assistant begins.

        Raises:
            UserError: the chat template refuses the messages.
        """
        turns = [
            {"role": "system" if message.role == "developer" else message.role, "content": message.text}
            for message in body.messages
        ]
        for turn in turns:
            self._check_size(turn["content"])
        try:
            return models.chat_ids(self.loaded.tokenizer, turns)
        except TemplateError as error:
            raise UserError(f"the model's chat template refuses these messages: {error}") from None

    def of_completion(self, body: CompletionBody) -> list[list[int]]:
        """The tokens of each prompt.

        Raises:
            UserError: a prompt has no token, or one that the model does not have.
        """
        return [self._tokens(prompt) for prompt in body.prompts]

    def _tokens(self, prompt: str | list[int]) -> list[int]:
        size = self.loaded.engine.vocab_size
        ids = self._encoded(prompt) if isinstance(prompt, str) else prompt
        strange = [token for token in ids if not 0 <= token < size]
        if strange:
            raise UserError(f"prompt has the token {strange[0]}, but the model's tokens go from 0 to {size - 1}")
        if not ids:
            raise UserError("the prompt is empty; give at least one character")
        return ids

    def text_of(self, ids: list[int]) -> str:
        """What the tokens of a prompt say."""
        return str(self.loaded.tokenizer.decode(ids))

    def _encoded(self, text: str) -> list[int]:
        self._check_size(text)
        return models.text_ids(self.loaded.tokenizer, text)

    def _check_size(self, text: str) -> None:
        """Refuses what cannot fit before any time is spent on it."""
        most = self.max_tokens * CHARACTERS_PER_TOKEN
        if len(text) > most:
            raise UserError(f"the prompt has {len(text)} characters, but no more than {most} can fit; shorten it")

    def requests(
        self, body: Continuation, prompts: list[list[int]], limit: int | None, *, schema: dict[str, Any] | None = None
    ) -> list[Request]:
        """One request for each answer that the body asks for: `n` to the first prompt, then `n` to the next.

        Raises:
            UserError: a prompt and its answer do not fit, too many answers are asked for, or the schema cannot be used.
        """
        num_answers, most = len(prompts) * body.num_choices, self.config.max_choices
        if num_answers > most:
            raise UserError(f"{num_answers} answers are asked for; this server writes at most {most} a request")
        rooms = [self._room(len(ids), limit) for ids in prompts]
        return [
            self._request(body, ids, room, choice, schema)
            for ids, room in zip(prompts, rooms, strict=True)
            for choice in range(body.num_choices)
        ]

    @property
    def max_tokens(self) -> int:
        """Most tokens of a prompt and its answer together."""
        return min(self.loaded.engine.max_positions, self.config.max_context)

    def _room(self, num_prompt: int, limit: int | None) -> int:
        """How many tokens the answer may have. A limit that the client named has to fit; the server's own gives way."""
        room = self.max_tokens - num_prompt
        if room < 1:
            raise UserError(
                f"the prompt has {num_prompt} tokens, but prompt and answer together may have {self.max_tokens}; shorten it"
            )
        if limit is not None and limit > room:
            raise UserError(
                f"the prompt has {num_prompt} tokens and max_tokens is {limit}, but together they may have "
                f"{self.max_tokens}; ask for at most {room}"
            )
        return min(self.config.max_new_tokens, room) if limit is None else limit

    def _request(self, body: Continuation, ids: list[int], most: int, choice: int, schema: dict[str, Any] | None) -> Request:
        settings = self._settings(body, most, choice)
        stopper = Stopper(
            max_new_tokens=most, eos_ids=self.loaded.eos_ids, stop_strings=body.stops, tokenizer=self.loaded.tokenizer
        )
        law_of = None
        if schema is not None:
            constraint = json_schema_constraint(self.loaded.tokenizer, schema, eos_ids=self.loaded.eos_ids)
            law_of = ConstrainedLaw(settings, constraint, len(ids))
        verifier = Coupled() if settings.do_sample else None
        return Request(ids, settings, stopper, law_of=law_of, verifier=verifier, is_drafted=body.speculate)

    def _settings(self, body: Continuation, most: int, choice: int) -> GenerationSettings:
        """Whoever samples without a seed gets another text each time."""
        temperature = DEFAULT_TEMPERATURE if body.temperature is None else body.temperature
        seed = secrets.randbits(63) if body.seed is None else body.seed
        table: dict[str, Any] = {
            "max_new_tokens": most,
            "repetition_penalty": body.repetition_penalty,
            "seed": derive(seed, f"choice {choice}") if choice else seed,
        }
        if temperature:
            table |= {"do_sample": True, "temperature": temperature, "top_k": body.top_k, "min_p": body.min_p}
            table |= {"top_p": 1.0 if body.top_p is None else body.top_p}
        return parse(GenerationSettings, table, where="request")
