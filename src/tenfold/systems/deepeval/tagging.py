"""Facets judged by a model: for each picture and facet, yes or no from its description and meaning, by letter probability.

Such tags say what a model thinks. They carry the model's name and the checksum of the prompt, and stay in their own table.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from math import exp
from typing import Any

from tenfold.core.errors import ApparatusError
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest, ProviderError, user
from tenfold.llm.many import ask_all
from tenfold.store.progress import counter
from tenfold.store.runs import Run
from tenfold.systems.deepeval.arms import fill, read_prompt
from tenfold.systems.deepeval.items import Annotation
from tenfold.systems.deepeval.tags import Tag

YES_NO = ("A", "B")


@dataclass(frozen=True)
class Tagger:
    """A model that tags, and how many calls may be under way."""

    model: ChatModel
    concurrency: int = 1

    @property
    def source(self) -> str:
        """Names the model and the prompt in every tag."""
        return f"model:{self.model.name}#{prompt_sha256()[:12]}"

    def tag(self, annotations: Sequence[Annotation], facets: Sequence[str], run: Run) -> list[Tag]:
        """Judges every facet of every picture; one row per judgement, so that an interrupted run goes on.

        Failed calls are logged and left out; a resumed run asks them again.

        Raises:
            ApparatusError: not one call succeeded.
        """
        cells = {f"{a.image_id}/{facet}": (a, facet) for a in annotations for facet in facets}
        todo = {key: request(*cell) for key, cell in cells.items() if key not in run.rows}
        failures = self._ask(todo, cells, run)
        made = [Tag(**_tag_fields(run.rows[key])) for key in cells if key in run.rows]
        if cells and not made:
            raise ApparatusError(
                f"no call to {self.model.name!r} succeeded; the first failure: {next(iter(failures), 'none')}"
            )
        return made

    def _ask(self, todo: Mapping[str, ChatRequest], cells: Mapping[str, tuple[Annotation, str]], run: Run) -> list[str]:
        failures: list[str] = []
        numbers = count(1)
        with counter(f"Facets by {self.model.name}", len(todo)) as advance:

            def on_reply(key: str, reply: ChatReply | ProviderError) -> None:
                advance(next(numbers))
                confidence = None if isinstance(reply, ProviderError) else probability_of_yes(reply)
                if confidence is None:
                    failures.append(str(reply) if isinstance(reply, ProviderError) else "a letter was not ranked")
                    run.log(f"{key}: {failures[-1]}")
                    return
                annotation, facet = cells[key]
                tag = Tag(annotation.image_id, facet, self.source, confidence)
                run.add(key, tag.as_json() | {"model": self.model.name, "prompt_sha256": prompt_sha256()})

            asyncio.run(ask_all(self.model, todo, concurrency=self.concurrency, on_reply=on_reply))
        return failures


def request(annotation: Annotation, facet: str) -> ChatRequest:
    """Asks whether one facet holds, by the letters of yes and no."""
    text = fill(read_prompt("facet"), [annotation.description, annotation.meaning, facet])
    return ChatRequest((user(text),), max_tokens=1, candidates=YES_NO, answer_prefix=read_prompt("answer"))


def probability_of_yes(reply: ChatReply) -> float | None:
    """The share of yes among yes and no; None where the endpoint did not rank both."""
    yes, no = reply.candidate_logprobs if len(reply.candidate_logprobs) == len(YES_NO) else (None, None)
    return None if yes is None or no is None else 1 / (1 + exp(min(700.0, no - yes)))


def prompt_sha256() -> str:
    """Names the wording with which facets are judged."""
    return hashlib.sha256(f"{read_prompt('facet')}\n{read_prompt('answer')}".encode()).hexdigest()


def _tag_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("image_id", "facet", "source", "confidence")}
