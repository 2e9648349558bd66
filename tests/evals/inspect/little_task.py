"""A small task on a scripted model, for tests: also as a program, so that it can be killed and run again.

    python little_task.py FOLDER SECONDS_PER_ANSWER

Every completed call appends a line to FOLDER/calls; the last line on stdout is the scores.
"""

import json
import signal
import sys
import time
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver

from tenfold.evals.inspect.backends import offer
from tenfold.evals.inspect.generating import JUDGE_FAILED, answer_cached, score_candidates, unscored
from tenfold.evals.inspect.logs import read_log
from tenfold.evals.inspect.running import run_tasks
from tenfold.llm.chat import ChatReply, ChatRequest, ProviderError, Usage
from tenfold.llm.scripted import Scripted

NUM_SAMPLES = 20


@solver
def ask() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        return await answer_cached(state, scopes={"data": "little"})

    return solve


@scorer(metrics=[mean()])
def words() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        if state.sample_id == 3:
            return unscored(JUDGE_FAILED, "the judge was away", stage="model")
        return Score(value=len(state.output.completion.split()), answer=state.output.completion)

    return score


@task
def little(num_samples: int = NUM_SAMPLES, text: str = "question") -> Task:
    samples = [Sample(input=f"{text} {number}", id=number, metadata={"block": number // 4}) for number in range(num_samples)]
    return Task(MemoryDataset(samples), solver=ask(), scorer=words())


@solver
def choose() -> Solver:
    async def solve(state: TaskState, generate: Generate) -> TaskState:
        scores = await score_candidates(state.messages, ["A", "B"], scopes={}, answer_prefix="(")
        state.metadata["ranked"] = scores.ranked
        return state

    return solve


def counted(folder: Path, seconds: float, *, interrupted_after: int | None = None) -> Scripted:
    """A model that notes each completed call in a file, and may press Ctrl-C after so many."""

    def answer(request: ChatRequest) -> ChatReply:
        text = request.messages[-1].text
        if "refused" in text:
            raise ProviderError("rejected", "the key is wrong")
        if interrupted_after is not None and len(model.requests) > interrupted_after:
            if len(model.requests) == interrupted_after + 1:
                signal.raise_signal(signal.SIGINT)
            raise ProviderError("connection", "interrupted")
        time.sleep(seconds)
        with (folder / "calls").open("a") as calls:
            calls.write(f"{text}\n")
        return ChatReply(f"{text} answered " + "word " * (len(text) % 5), usage=Usage(7, 5, 2), reasoning="hm")

    model = Scripted("counted", answer)
    return model


def main(folder: Path, seconds: float) -> None:
    folder.mkdir(exist_ok=True)
    model = offer(counted(folder, seconds))
    paths = run_tasks([little()], model, folder / "logs", cache=folder / "cache")
    print(json.dumps([[record.id, record.scores["words"].value] for record in read_log(paths[0])]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
