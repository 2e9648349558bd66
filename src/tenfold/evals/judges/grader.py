"""A chat model as judge: it chooses between two letters, by their log-probabilities, and is asked in both orders.

A model that prefers the letter A, whatever stands behind it, ends at one half and so inside every band.
"""

import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from tenfold.evals.judges.judgement import JudgeError
from tenfold.llm.chat import ChatModel, ChatRequest, Message, ProviderError

Case = TypeVar("Case")
LETTERS = ("A", "B")

Render = Callable[[Case, tuple[str, str]], Sequence[Message]]
"""From a case and the two options, in the order of their letters, to the messages of the question."""


class ModelJudge(Generic[Case]):
    """A stage of a cascade that asks a chat model.

    Args:
        options: the text behind the positive label, then the one behind the negative label.
        render: makes the question; its template is a file of the home.
        answer_prefix: how the answer has begun, for models that continue it, such as `(`.
    """

    def __init__(
        self,
        name: str,
        model: ChatModel,
        render: Render[Case],
        *,
        options: tuple[str, str],
        letters: tuple[str, str] = LETTERS,
        answer_prefix: str = "",
    ) -> None:
        self.name = name
        self.model = model
        self.render = render
        self.options = options
        self.letters = letters
        self.answer_prefix = answer_prefix

    async def probability(self, case: Case) -> float:
        """The mean over both orders.

        Raises:
            JudgeError: the model could not be asked, or did not rank both letters.
        """
        first, second = await self.both_orders(case)
        return (first + second) / 2

    async def both_orders(self, case: Case) -> tuple[float, float]:
        """The probability of the positive option when it stands first, and when it stands second.

        Raises:
            JudgeError: the model could not be asked, or did not rank both letters.
        """
        positive, negative = self.options
        return await self._first(case, (positive, negative)), 1 - await self._first(case, (negative, positive))

    async def _first(self, case: Case, options: tuple[str, str]) -> float:
        """The probability of the first letter against the second."""
        request = ChatRequest(
            tuple(self.render(case, options)), max_tokens=1, candidates=self.letters, answer_prefix=self.answer_prefix
        )
        try:
            reply = await self.model.chat(request)
        except ProviderError as failure:
            raise JudgeError(f"{self.name}: {self.model.name} could not be asked ({failure})") from failure
        match reply.candidate_logprobs:
            case (float() | int() as first, float() | int() as second) if math.isfinite(first - second):
                return 1 / (1 + math.exp(min(second - first, 700.0)))
            case other:
                raise JudgeError(f"{self.name}: {self.model.name} did not rank {' and '.join(self.letters)}: got {other}")
