"""A local model as a `ChatModel`, on the project's own decoding. One call at a time, in a thread of its own.

Tokens at the boundaries. A conversation is written by the model's chat template, which ends where the assistant begins;
the answer's tokens follow the template's. `answer_prefix` and each candidate are tokenised together, as one text: with
the prefix "Answer: " the candidate "A" is scored as the token " A", as the model would write it, and not as "A" after a
lone space. Scores count from the first token that is not common to the prefix and all candidates.

A request without messages is bare text: no template, `answer_prefix` stands at the very beginning.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tenfold.core.config import parse
from tenfold.core.errors import NumericalError, UserError
from tenfold.llm.chat import ChatReply, ChatRequest, FinishReason, ProviderError, Usage
from tenfold.nn import generation, models
from tenfold.nn.constrain import json_schema_constraint
from tenfold.nn.fingerprints import fingerprint
from tenfold.nn.generation import Constraint, Generation
from tenfold.nn.models import Dtype, LoadedModel
from tenfold.nn.reuse import Reusing, common_prefix
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.scoring import score_candidates
from tenfold.nn.stopping import Stopper

Generate = Callable[[LoadedModel, Sequence[int], GenerationSettings, Stopper], Generation]
"""Another way to the same text, for example a speculative one; must be lossless."""


class RoomError(UserError):
    """A text that does not fit into the model."""


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of candidates (natural, summed over their tokens), and how many tokens each has."""

    logprobs: tuple[float, ...]
    num_tokens: tuple[int, ...]
    num_prompt_tokens: int


def open_local(name: str, dtype: Dtype = "auto") -> "LocalChat":
    """A local model by name.

    Raises:
        MissingArtifactError: there is no such model here.
    """
    return LocalChat(models.load(name, dtype=dtype))


class LocalChat:
    """A `ChatModel` of text. Greedy at temperature 0, else drawn under the request's seed (0 where there is none).

    A prompt that begins like the one before is not computed again, where that cannot change a bit. Of two that share a
    loaded model only one may be at work at a time.
    """

    takes_images = False

    def __init__(self, loaded: LoadedModel, *, generate: Generate | None = None) -> None:
        self.loaded = loaded
        self._generate = generate
        self._reusing = Reusing(loaded.engine)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"chat with {loaded.name}")

    @property
    def name(self) -> str:
        return self.loaded.name

    @property
    def fingerprint(self) -> str:
        """Checksum of weights, chat template and the format in which the weights are used."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.loaded)

    async def chat(self, request: ChatRequest) -> ChatReply:
        """Answers one request; a budget beyond the model's last position ends there, with the reason `length`.

        Raises:
            ProviderError: unsupported (pictures), too_long (the prompt does not fit), rejected (the schema cannot be used),
                or server (the model's numbers are broken).
        """
        is_given_up = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, request, is_given_up)
        finally:
            is_given_up.set()  # where the caller was cancelled, the thread stops at the next token

    def _answer(self, request: ChatRequest, is_given_up: threading.Event) -> ChatReply:
        if request.images:
            raise ProviderError("unsupported", f"{self.name} takes no pictures; use a model that sees")
        try:
            return self._scored(request) if request.candidates else self._written(request, is_given_up)
        except RoomError as error:
            raise ProviderError("too_long", str(error)) from None
        except UserError as error:
            raise ProviderError("rejected", str(error)) from None
        except NumericalError as error:
            raise ProviderError("server", str(error)) from None
        except torch.OutOfMemoryError:
            raise ProviderError("rejected", f"the request does not fit into memory with {self.name}; shorten it") from None
        except TemplateError as error:
            raise ProviderError("rejected", f"the chat template of {self.name} refuses the messages: {error}") from None

    def score_text(self, prompt: str, candidates: Sequence[str]) -> tuple[float, ...]:
        """Log-probability of each candidate as the continuation of bare text; `score` gives token counts too.

        Raises:
            UserError: there is no candidate, one is empty, or the text does not fit into the model.
        """
        return self.score(ChatRequest((), answer_prefix=prompt, candidates=tuple(candidates))).logprobs

    def score(self, request: ChatRequest) -> Scores:
        """Scores the request's candidates in one pass over the prompt and one over the tree of candidates.

        Raises:
            UserError: there is no candidate, one is empty, or prompt and candidates do not fit into the model.
        """
        whole = [self._ids(request, request.answer_prefix + candidate) for candidate in request.candidates]
        prompt = self._ids(request, request.answer_prefix)
        shared = common_prefix(prompt, *whole)
        prompt = prompt[:shared] or self._beginning()
        tails = [ids[shared:] for ids in whole]
        if not tails or not all(tails):
            raise UserError(f"the candidates are {list(request.candidates)!r}; give at least one, and no empty one")
        self._check_room(len(prompt) + sum(map(len, tails)))
        sums = score_candidates(self._engine(), prompt, tails).tolist()
        return Scores(tuple(sums), tuple(map(len, tails)), len(prompt))

    def _scored(self, request: ChatRequest) -> ChatReply:
        scores = self.score(request)
        best = max(range(len(scores.logprobs)), key=lambda place: scores.logprobs[place])
        return ChatReply(
            text=request.candidates[best],
            usage=Usage(prompt_tokens=scores.num_prompt_tokens),
            candidate_logprobs=scores.logprobs,
            candidate_tokens=scores.num_tokens,
        )

    def _written(self, request: ChatRequest, is_given_up: threading.Event) -> ChatReply:
        prompt = self._ids(request, request.answer_prefix) or self._beginning()
        room = self._check_room(len(prompt))
        settings = _settings(request, min(request.max_tokens, room))
        stopper = Stopper(
            max_new_tokens=settings.max_new_tokens,
            eos_ids=self.loaded.eos_ids,
            stop_strings=request.stop,
            tokenizer=self.loaded.tokenizer,
        )
        result = self._continued(request, prompt, settings, stopper, is_given_up)
        text = str(self.loaded.tokenizer.decode(list(result.tokens), skip_special_tokens=True))
        reason: FinishReason = "length" if result.stop_reason == "length" else "stop"
        return ChatReply(_before(text, request.stop), reason, Usage(len(prompt), len(result.tokens)))

    def _continued(
        self,
        request: ChatRequest,
        prompt: Sequence[int],
        settings: GenerationSettings,
        stopper: Stopper,
        is_given_up: threading.Event,
    ) -> Generation:
        if self._generate is not None and request.json_schema is None:
            return self._generate(self.loaded, prompt, settings, stopper)

        def go_on(_: Sequence[int]) -> None:
            if is_given_up.is_set():
                raise asyncio.CancelledError

        constraint = self._constraint(request)
        return generation.generate(self._engine(), prompt, settings, stopper, on_tokens=go_on, constraint=constraint)

    def _constraint(self, request: ChatRequest) -> Constraint | None:
        if request.json_schema is None:
            return None
        return json_schema_constraint(self.loaded.tokenizer, request.json_schema, eos_ids=self.loaded.eos_ids)

    def _engine(self) -> Reusing:
        if self.loaded.engine.exactness != "bit":
            self._reusing.forget()
        return self._reusing

    def _ids(self, request: ChatRequest, begun: str) -> list[int]:
        """The conversation's tokens, then those of what the assistant has begun to say.

        Both are tokenised as one text if that leaves the conversation's tokens as they are; else apart, because the model
        always begins to write after the template's last token.
        """
        tokenizer = self.loaded.tokenizer
        turns = [{"role": message.role, "content": message.text} for message in request.messages]
        start = models.chat_ids(tokenizer, turns) if turns else models.text_ids(tokenizer, "")
        joint = _joint_ids(tokenizer, turns, begun)
        return joint if joint[: len(start)] == start else start + _plain_ids(tokenizer, begun)

    def _beginning(self) -> list[int]:
        """What stands before a text that begins with nothing."""
        bos = self.loaded.tokenizer.bos_token_id
        if not isinstance(bos, int):
            raise UserError("the prompt is empty and the model has no BOS token; give at least one character")
        return [bos]

    def _check_room(self, num_tokens: int) -> int:
        """How many tokens may follow that many; the last one needs no position.

        Raises:
            RoomError: so many do not fit.
        """
        positions = self.loaded.engine.max_positions
        if num_tokens > positions:
            raise RoomError(f"the prompt has {num_tokens} tokens, but {self.name} has {positions} positions; shorten it")
        return positions - num_tokens + 1


def _joint_ids(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], begun: str) -> list[int]:
    """Conversation and answer as one text. A template writes its special tokens itself."""
    if not turns or not tokenizer.chat_template:
        return models.text_ids(tokenizer, "\n\n".join(turn["content"] for turn in turns) + begun)
    return _plain_ids(
        tokenizer, str(tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)) + begun
    )


def _plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: Any = tokenizer(text, add_special_tokens=False)["input_ids"]
    return list(ids)


def _settings(request: ChatRequest, max_new_tokens: int) -> GenerationSettings:
    table = {"max_new_tokens": max_new_tokens, "top_p": request.top_p, "seed": request.seed or 0}
    if request.temperature:
        table |= {"do_sample": True, "temperature": request.temperature}
    return parse(GenerationSettings, table, where="request")


def _before(text: str, stops: Sequence[str]) -> str:
    """The text up to the first stop string in it."""
    return text[: min((text.find(stop) for stop in stops if stop and stop in text), default=len(text))]
