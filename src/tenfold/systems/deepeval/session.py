"""One model at work in a run: what it has replied so far, what is still to be asked, and how its answers were read.

Each reply is a row under the digest of its request before the next one is made, so a killed run repeats no finished call.
Failed calls are logged and not kept: a resumed run asks them again.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import count
from typing import Any

from tenfold.core.errors import ApparatusError
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError, Usage
from tenfold.llm.many import ask_all
from tenfold.store.progress import counter
from tenfold.store.runs import Run
from tenfold.systems.deepeval import opening
from tenfold.systems.deepeval.arms import Arm
from tenfold.systems.deepeval.asking import Ask, Manner, Mark
from tenfold.systems.deepeval.items import Item, Task
from tenfold.systems.deepeval.staging import Stage, described, to_describe

Stages = Mapping[Task, Stage]
Cell = tuple[Task, Arm, Item]


class Session:
    """A model, opened when the first call is due, and its replies by the digest of their requests."""

    def __init__(self, name: str, run: Run, *, dtype: str = "auto") -> None:
        self.name = name
        self.run = run
        self.dtype = dtype
        calls = (row for row in run.rows.values() if row.get("kind") == "call" and row["model"] == name)
        self.replies: dict[str, ChatReply] = {row["digest"]: _reply(row) for row in calls}
        self.failures: dict[str, str] = {}

    @cached_property
    def model(self) -> ChatModel:
        return opening.open_model(self.name, dtype=self.dtype)

    def answer(self, stages: Stages, arms: Sequence[Arm], manner: Manner) -> None:
        """Describes pictures where an arm needs it, asks all questions, and records how each was read.

        Raises:
            ApparatusError: not one call succeeded.
        """
        own = self._describe(stages, arms)
        cells: list[Cell] = [(task, arm, item) for task, staged in stages.items() for arm in arms for item in staged.items]
        asks = {_key(cell): _readings(stages, cell, manner, own) for cell in cells}
        self._ask_until_done([ask for readings in asks.values() for ask in readings])
        self._check_some_success()
        for cell in cells:
            self._note(cell, manner, asks[_key(cell)])

    def cost(self) -> dict[str, int]:
        """Calls made and tokens read and written, over the whole run."""
        usages = [reply.usage for reply in self.replies.values()]
        return {
            "calls": len(self.replies),
            "failed_calls": len(self.failures),
            "prompt_tokens": sum(usage.prompt_tokens for usage in usages),
            "completion_tokens": sum(usage.completion_tokens for usage in usages),
        }

    def _describe(self, stages: Stages, arms: Sequence[Arm]) -> dict[str, str]:
        """The model's own descriptions by picture, made from the picture alone."""
        if not any(arm.describe == "own" for arm in arms):
            return {}
        requests = {
            item.image_id: to_describe(staged.album.get(item.image_id))
            for staged in stages.values()
            for item in staged.items
        }
        self._ask({request.digest: request for request in requests.values()}, "Descriptions")
        self._check_some_success()
        return {
            image_id: described(self.replies[request.digest].text)
            for image_id, request in requests.items()
            if request.digest in self.replies
        }

    def _ask_until_done(self, asks: Sequence[Ask]) -> None:
        while todo := {request.digest: request for request in self._outstanding(asks)}:
            self._ask(todo, "Questions")

    def _outstanding(self, asks: Sequence[Ask]) -> Iterator[ChatRequest]:
        waiting = (request for ask in asks for request in ask.outstanding(self.replies))
        return (request for request in waiting if request.digest not in self.failures)

    def _ask(self, requests: Mapping[str, ChatRequest], label: str) -> None:
        todo = {digest: request for digest, request in requests.items() if digest not in self.replies}
        if not todo:
            return
        done = count(1)
        with counter(f"{label} to {self.name}", len(todo)) as advance:

            def on_reply(digest: str, reply: ChatReply | ProviderError) -> None:
                self._keep(digest, reply)
                advance(next(done))

            asyncio.run(ask_all(self.model, todo, concurrency=opening.concurrency(self.name), on_reply=on_reply))

    def _keep(self, digest: str, reply: ChatReply | ProviderError) -> None:
        if isinstance(reply, ProviderError):
            self.failures[digest] = str(reply)
            self.run.log(f"call {digest[:12]} to {self.name} failed: {reply}")
            return
        self.replies[digest] = reply
        self.run.add(f"call/{self.name}/{digest}", {"kind": "call", "model": self.name, "digest": digest, **_record(reply)})

    def _check_some_success(self) -> None:
        if self.failures and not self.replies:
            first = next(iter(self.failures.values()))
            raise ApparatusError(f"no call to {self.name!r} succeeded; the first failure: {first}")

    def _note(self, cell: Cell, manner: Manner, asks: Sequence[Ask]) -> None:
        """Records how a question was read; a resumed run writes again only what has changed since."""
        key, row = f"answer/{self.name}/{_key(cell)}", self._row(cell, manner, asks)
        if {name: value for name, value in self.run.rows.get(key, {}).items() if name != "key"} != row:
            self.run.add(key, row)

    def _row(self, cell: Cell, manner: Manner, asks: Sequence[Ask]) -> dict[str, Any]:
        task, arm, item = cell
        readings = [
            _reading(prompt, ask.mark(self.replies), ask) for (prompt, _), ask in zip(manner.readings, asks, strict=False)
        ]
        not_asked = {"state": "apparatus", "pick": None, "shown": None, "rule": "no description"}
        return {
            "kind": "answer",
            "model": self.name,
            "task": task,
            "arm": arm.name,
            "item": item.id,
            "image_id": item.image_id,
            "block": item.block,
            "gold": item.gold,
            "facets": list(item.facets),
            "readings": readings or [{"prompt": prompt, **not_asked} for prompt, _ in manner.readings],
        }


def _key(cell: Cell) -> str:
    task, arm, item = cell
    return f"{task}/{arm.name}/{item.id}"


def _readings(stages: Stages, cell: Cell, manner: Manner, own: Mapping[str, str]) -> list[Ask]:
    """The readings of a question; none where the model failed to describe the picture first."""
    task, arm, item = cell
    return stages[task].readings(arm, item, manner, own) if stages[task].can_ask(arm, item, own) else []


def _reading(prompt: int, mark: Mark, ask: Ask) -> dict[str, Any]:
    """`pick` is the place of the option in the item's own order, `shown` the place at which the model saw it."""
    shown = None if mark.pick is None else ask.order.index(mark.pick)
    return {"prompt": prompt, "state": mark.state, "pick": mark.pick, "shown": shown, "rule": mark.rule}


def _record(reply: ChatReply) -> dict[str, Any]:
    return {
        "text": reply.text,
        "finish": reply.finish_reason,
        "reasoning": reply.reasoning,
        "logprobs": list(reply.candidate_logprobs),
        "tokens": list(reply.candidate_tokens),
        "usage": [reply.usage.prompt_tokens, reply.usage.completion_tokens, reply.usage.reasoning_tokens],
    }


def _reply(row: Mapping[str, Any]) -> ChatReply:
    return ChatReply(
        text=row["text"],
        finish_reason=row["finish"],
        usage=Usage(*row["usage"]),
        reasoning=row["reasoning"],
        candidate_logprobs=tuple(row["logprobs"]),
        candidate_tokens=tuple(row["tokens"]),
    )
