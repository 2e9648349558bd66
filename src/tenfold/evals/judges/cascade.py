"""Stages one after the other: each settles what it is sure of and passes the rest on.

A stage is sure where its probability lies outside its band. A stage that has nothing to say (None) passes on. Where
the last stage is not sure either, the last probability counts and the judgement says that it is not settled.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from tenfold.core.errors import ConfigError
from tenfold.evals.judges.judgement import NEVER_PASSES, Band, JudgeError, Judgement, is_positive
from tenfold.llm.chat import ProviderError

Case = TypeVar("Case")
CaseIn = TypeVar("CaseIn", contravariant=True)


class Stage(Protocol[CaseIn]):
    """One judge of a cascade."""

    @property
    def name(self) -> str: ...

    async def probability(self, case: CaseIn) -> float | None:
        """How probable the positive label is; None where this stage has nothing to say.

        Raises:
            JudgeError: it should have something to say and could not.
        """
        ...


class Computed(Generic[Case]):
    """A stage that is a plain function: rules, or a linear judge on some view of the case."""

    def __init__(self, name: str, function: Callable[[Case], float | None]) -> None:
        self.name = name
        self._function = function

    async def probability(self, case: Case) -> float | None:
        """What the function says."""
        return self._function(case)


class Cascade(Generic[Case]):
    """Stages in order, with the band of each by its name; a stage without a band never passes on."""

    def __init__(self, stages: Sequence[Stage[Case]], bands: Mapping[str, Band]) -> None:
        names = [stage.name for stage in stages]
        unknown = sorted(set(bands) - set(names))
        if unknown or not stages:
            raise ConfigError(f"bands are given for {', '.join(unknown) or 'no stage'}; the stages are {', '.join(names)}")
        self.stages = tuple(stages)
        self.bands = dict(bands)

    async def judge(self, case: Case) -> Judgement:
        """The judgement of the first stage that is sure, else of the last that said anything.

        Raises:
            JudgeError: a stage that was needed failed, or none had anything to say.
        """
        last: Judgement | None = None
        for stage in self.stages:
            probability = await _ask(stage, case)
            if probability is None:
                continue
            settled = not self.bands.get(stage.name, NEVER_PASSES).holds(probability)
            last = Judgement(is_positive(probability), probability, stage.name, settled)
            if settled:
                return last
        if last is None:
            raise JudgeError(f"none of the stages {', '.join(stage.name for stage in self.stages)} had anything to say")
        return last

    async def judge_all(
        self,
        cases: Mapping[str, Case],
        *,
        concurrency: int = 10,
        on_judgement: Callable[[str, Judgement | JudgeError], None] = lambda key, judgement: None,
    ) -> dict[str, Judgement | JudgeError]:
        """A judgement or a failure for each case, in the order of the cases.

        Args:
            on_judgement: called as each is made, in any order, so that a run can keep it.
        """
        slots = asyncio.Semaphore(concurrency)

        async def one(key: str, case: Case) -> Judgement | JudgeError:
            async with slots:
                try:
                    judgement: Judgement | JudgeError = await self.judge(case)
                except JudgeError as failure:
                    judgement = failure
            on_judgement(key, judgement)
            return judgement

        made = await asyncio.gather(*(one(key, case) for key, case in cases.items()))
        return dict(zip(cases, made, strict=True))


async def _ask(stage: Stage[Case], case: Case) -> float | None:
    try:
        probability = await stage.probability(case)
    except ProviderError as failure:
        raise JudgeError(f"{stage.name}: {failure}") from failure
    if probability is not None and not 0 <= probability <= 1:  # NaN too, which would settle as a firm "no"
        raise JudgeError(f"{stage.name}: its probability is {probability}, not between 0 and 1")
    return probability
