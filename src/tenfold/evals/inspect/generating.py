"""What solvers and scorers ask of a model: answers kept for good, log-probabilities of candidates, marks left open.

Inspect forgets cached answers after a week and names them by neither weights nor data. Here they are kept without
limit, under scopes that the caller gives (checksums of data and templates) and the fingerprint of the weights, which
is added for every model of ours. A killed run is therefore continued by running it again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inspect_ai.model import CachePolicy, ChatMessage, GenerateConfig, Model, ModelOutput, get_model
from inspect_ai.scorer import Score
from inspect_ai.solver import TaskState

from tenfold.evals.inspect.messages import ANSWER_PREFIX, CANDIDATES
from tenfold.evals.inspect.provider import ChatModelAPI

TOP_LOGPROBS = 20
LETTER_UNRANKED = "letter_unranked"
JUDGE_FAILED = "judge_failed"
IMPOSSIBLE = -9999.0
"""What OpenAI writes for tokens too unlikely to be ranked."""


@dataclass(frozen=True)
class CandidateScores:
    """Log-probabilities of candidates, in their order; None where the endpoint did not rank one."""

    logprobs: tuple[float | None, ...]
    tokens: tuple[int, ...] = ()
    """Tokens in each candidate, where known."""

    @property
    def ranked(self) -> tuple[float, ...] | None:
        """The log-probabilities if every candidate has one, else None: the sample stays unscored (`letter_unranked`)."""
        known = tuple(logprob for logprob in self.logprobs if logprob is not None)
        return known if len(known) == len(self.logprobs) else None


async def generate_cached(
    messages: str | Sequence[ChatMessage],
    *,
    scopes: Mapping[str, str],
    model: Model | str | None = None,
    config: GenerateConfig | None = None,
) -> ModelOutput:
    """An answer, asked for once: the same messages, settings, weights and scopes are answered from the cache.

    Args:
        messages: a conversation, or the text of one user message.
        scopes: what else the answer stands for, by name: checksums of the data, of the template, of a picture.
        model: None is the model under evaluation.
        config: overrides the task's settings.
    """
    asked = get_model(model)
    policy = CachePolicy(expiry=None, scopes=_all_scopes(asked, scopes))
    content = messages if isinstance(messages, str) else list(messages)
    return await asked.generate(content, config=config or GenerateConfig(), cache=policy)


async def answer_cached(state: TaskState, *, scopes: Mapping[str, str], config: GenerateConfig | None = None) -> TaskState:
    """Lets the model under evaluation continue the conversation of a sample; a solver's last line."""
    state.output = await generate_cached(state.messages, scopes=scopes, config=config)
    state.messages.append(state.output.message)
    return state


async def score_candidates(
    messages: str | Sequence[ChatMessage],
    candidates: Sequence[str],
    *,
    scopes: Mapping[str, str],
    model: Model | str | None = None,
    answer_prefix: str = "",
) -> CandidateScores:
    """Log-probability of each candidate as the beginning of the answer.

    Models of ours score whole strings after `answer_prefix`. Other providers generate one token and tell its 20
    likeliest values: there candidates must be single tokens, and the prefix is not sent, because a chat endpoint
    starts a new message instead of continuing one; the prompt should ask for the bare letter.
    """
    asked = get_model(model)
    if isinstance(asked.api, ChatModelAPI):
        extra = {CANDIDATES: list(candidates), ANSWER_PREFIX: answer_prefix}
        output = await generate_cached(messages, scopes=scopes, model=asked, config=GenerateConfig(extra_body=extra))
        metadata = output.metadata or {}
        logprobs = metadata.get("candidate_logprobs") or [None] * len(candidates)
        return CandidateScores(tuple(logprobs), tuple(metadata.get("candidate_tokens", ())))
    config = GenerateConfig(max_tokens=1, temperature=0.0, logprobs=True, top_logprobs=TOP_LOGPROBS)
    output = await generate_cached(messages, scopes=scopes, model=asked, config=config)
    return CandidateScores(read_first_token(output, candidates), (1,) * len(candidates))


def read_first_token(output: ModelOutput, candidates: Sequence[str]) -> tuple[float | None, ...]:
    """The candidates' log-probabilities among the likeliest first tokens; `A`, ` A` and `(A` count together."""
    logprobs = output.choices[0].logprobs if output.choices else None
    if logprobs is None or not logprobs.content:
        return (None,) * len(candidates)
    first = logprobs.content[0]
    likeliest = [(top.token, top.logprob) for top in first.top_logprobs or [first]]
    return tuple(_sum_of(candidate, likeliest) for candidate in candidates)


def unscored(reason: str, explanation: str | None = None, **metadata: object) -> Score:
    """A mark that is left open because the apparatus failed: kept in the log, left out of every mean."""
    return Score.unscored(reason=reason, explanation=explanation, metadata=metadata or None)


def _all_scopes(model: Model, scopes: Mapping[str, str]) -> dict[str, str]:
    weights = {"weights": model.api.chat.fingerprint} if isinstance(model.api, ChatModelAPI) else {}
    return dict(sorted({**scopes, **weights}.items()))  # Inspect's key depends on the order


def _sum_of(candidate: str, likeliest: Sequence[tuple[str, float]]) -> float | None:
    alike = [logprob for token, logprob in likeliest if token.strip().lstrip("(") == candidate.strip()]
    found = [logprob for logprob in alike if logprob > IMPOSSIBLE]
    if not found:
        return None
    return max(found) + math.log(sum(math.exp(logprob - max(found)) for logprob in found))
