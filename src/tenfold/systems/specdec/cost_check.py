"""The verb `check-costs`: does the cost model foretell measured speed-ups, and does the automatic length find the best?

Prediction: an oracle drafts with known acceptance, so the survey's formula must give the measured speed-up from pass times
alone. Choice: on prompts of every subtask the automatic length is timed against every fixed one.
"""

# gamma: fixed draft length; alpha: the oracle's acceptance; S: speed-up over plain decoding
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from tenfold.core.config import split_commas
from tenfold.core.records import Metrics
from tenfold.evals.statistics import geometric_mean
from tenfold.nn import models
from tenfold.nn.drafting import Drafter
from tenfold.nn.generation import generate
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.store.environment import ContentionMeter
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.specdec import cost_model
from tenfold.systems.specdec.cost_model import CostModel
from tenfold.systems.specdec.data import Question, load_questions
from tenfold.systems.specdec.draft_length import Controller, DraftLength, FixedLength
from tenfold.systems.specdec.drafters.ngram import NgramDrafter
from tenfold.systems.specdec.drafters.oracle import OracleDrafter
from tenfold.systems.specdec.explain import CalibrateConfig, predicted_speedup
from tenfold.systems.specdec.rounds import Speculation
from tenfold.systems.specdec.speculate import Silent, speculate

AUTO = "auto"
GREEDY = GenerationSettings.model_validate({})


class CheckCostsConfig(CalibrateConfig):
    """Compare predicted speed-ups with measured ones, and the automatic draft length with every fixed one."""

    data: str = "demo"
    """Prompts: demo (24 of our own), specbench, or a file of {question_id, category, turns} lines."""
    limit_per_task: int | None = Field(default=1, ge=1)
    """Use at most this many prompts of each subtask."""
    max_new_tokens: int = Field(default=64, ge=8)
    """Tokens per text; texts go on beyond their end token, so that all are of one length."""
    alphas: Annotated[tuple[float, ...], BeforeValidator(split_commas)] = (0.5, 0.7, 0.9)
    """The oracle's acceptances."""
    gammas: Annotated[tuple[int, ...], BeforeValidator(split_commas)] = (1, 2, 3, 5, 7, 11)
    """Fixed draft lengths."""
    repeats: int = Field(default=2, ge=1)
    """Each text is timed this often, methods interleaved; the fastest counts."""


def check_costs(config: CheckCostsConfig, run: Run) -> Metrics:
    """Measures what is not measured yet, one row per prompt; resumable between prompts."""
    questions = load_questions(config.data, limit_per_task=config.limit_per_task)
    todo = [question for question in questions if str(question.question_id) not in run.rows]
    if todo:
        loaded = models.load(config.model, dtype=config.dtype)
        bench = _Bench(config, loaded, cost_model.load_or_calibrate(loaded))
        for question in track(todo, "Costs", done=len(questions) - len(todo)):
            run.add(str(question.question_id), bench.row(question))
    return metrics([run.rows[str(question.question_id)] for question in questions])


def metrics(rows: Sequence[dict[str, Any]]) -> Metrics:
    """Errors per (alpha, gamma) over all prompts, and the controller against the best fixed length of each subtask."""
    cells = {cell: _cell([row["oracle"][cell] for row in rows]) for cell in rows[0]["oracle"]}
    errors = sorted(abs(cell["measured"] / cell["predicted"] - 1) for cell in cells.values())
    per_task = {task: _against_fixed([row for row in rows if row["subtask"] == task]) for task in _tasks(rows)}
    shares = [found["controller_vs_best_fixed"] for found in per_task.values()]
    return {
        "median_error": statistics.median(errors),
        "p95_error": errors[min(round(0.95 * len(errors)), len(errors) - 1)],
        "controller_vs_best_fixed": geometric_mean(shares),
        "lowest_controller_vs_best_fixed": min(shares),
        "loop_overhead": statistics.median(row["loop_overhead"] for row in rows),
        "per_cell": cells,
        "per_task": per_task,
        "contention": max((row["contention"] for row in rows if row["contention"] is not None), default=None),
    }


def summary(found: Metrics) -> str:
    """What a person reads in the terminal."""
    cells = found["per_cell"].items()
    lines = [
        f"predicted speed-ups are off by {found['median_error']:.1%} (median), {found['p95_error']:.1%} (95 %); "
        f"the loop costs {found['loop_overhead']:.1%} of a plain pass a round",
        *(f"  {name:<22} measured {c['measured']:.2f}, predicted {c['predicted']:.2f}" for name, c in cells),
        f"the automatic length reaches {found['controller_vs_best_fixed']:.1%} of the best fixed one",
        *(
            f"  {task:<16} {t['controller_vs_best_fixed']:.1%} (best fixed: {t['best_fixed']})"
            for task, t in found["per_task"].items()
        ),
    ]
    return "\n".join(lines)


@dataclass(frozen=True)
class _Bench:
    config: CheckCostsConfig
    loaded: LoadedModel
    costs: CostModel

    def row(self, question: Question) -> dict[str, Any]:
        """One prompt: its speed-ups under oracles, and its times at every length with the default drafter."""
        meter = ContentionMeter()
        prompt = models.chat_ids(self.loaded.tokenizer, [{"role": "user", "content": question.turns[0]}])
        text = [*prompt, *generate(self.loaded.engine, prompt, GREEDY, self._stopper()).tokens]
        return {
            "subtask": question.subtask,
            "oracle": self._oracle(prompt, text),
            "lengths": self._lengths(prompt),
            "loop_overhead": self._overhead(prompt),
            "contention": meter.read(),
        }

    def _oracle(self, prompt: Sequence[int], text: Sequence[int]) -> dict[str, Any]:
        """Per (alpha, gamma): plain and speculative milliseconds without the prompt's pass, and the predicted speed-up."""
        cells = [(alpha, gamma) for alpha in self.config.alphas for gamma in self.config.gammas]
        ways = {"plain": lambda: self._decode(prompt, Silent(), FixedLength(1))} | {
            f"alpha {alpha}, gamma {gamma}": lambda alpha=alpha, gamma=gamma: self._decode(
                prompt,
                OracleDrafter(text, alpha=alpha, vocab_size=self.loaded.engine.vocab_size, seed=gamma),
                FixedLength(gamma),
            )
            for alpha, gamma in cells
        }
        times = self._fastest(ways)
        length = len(prompt) + self.config.max_new_tokens // 2
        return {
            f"alpha {alpha}, gamma {gamma}": {
                "plain_ms": times["plain"],
                "ms": times[f"alpha {alpha}, gamma {gamma}"],
                "predicted": predicted_speedup(self.costs, alpha, gamma, length=length),
            }
            for alpha, gamma in cells
        }

    def _lengths(self, prompt: Sequence[int]) -> dict[str, float]:
        ways = {
            str(gamma): partial(self._decode, prompt, NgramDrafter(), FixedLength(gamma)) for gamma in self.config.gammas
        }
        ways |= {AUTO: lambda: self._decode(prompt, NgramDrafter(), Controller(self.costs))}
        return self._fastest(ways)

    def _overhead(self, prompt: Sequence[int]) -> float:
        """Share of a plain pass that a round spends outside of the model: whole time less the passes' own."""
        engine, spent = self.loaded.engine, 0.0
        forward = engine.forward

        def timed(*arguments: Any, **keywords: Any) -> Any:
            nonlocal spent
            start = time.perf_counter()
            logits = forward(*arguments, **keywords)
            spent += time.perf_counter() - start
            return logits

        engine.forward = timed  # type: ignore[method-assign]
        try:
            result = self._speculation(prompt, NgramDrafter(), FixedLength(3))
        finally:
            del engine.forward
        outside_ms = result.total_ms - result.prefill_ms - 1000 * spent
        return outside_ms / len(result.rounds) / self.costs.pass_ms(1, len(prompt))

    def _fastest(self, ways: dict[str, Callable[[], float]]) -> dict[str, float]:
        """Each way's shortest time; the order turns round from one repeat to the next."""
        times: dict[str, float] = {}
        for repeat in range(self.config.repeats):
            for name in list(ways)[:: -1 if repeat % 2 else 1]:
                times[name] = min(times.get(name, float("inf")), ways[name]())
        return {name: times[name] for name in ways}

    def _decode(self, prompt: Sequence[int], drafter: Drafter, length: DraftLength) -> float:
        result = self._speculation(prompt, drafter, length)
        return result.total_ms - result.prefill_ms

    def _speculation(self, prompt: Sequence[int], drafter: Drafter, length: DraftLength) -> Speculation:
        return speculate(self.loaded.engine, prompt, GREEDY, self._stopper(), drafter=drafter, num_draft=length)

    def _stopper(self) -> Stopper:
        return Stopper(max_new_tokens=self.config.max_new_tokens)


def _cell(found: Sequence[dict[str, float]]) -> dict[str, float]:
    measured = sum(cell["plain_ms"] for cell in found) / sum(cell["ms"] for cell in found)
    return {"measured": measured, "predicted": geometric_mean([cell["predicted"] for cell in found])}


def _against_fixed(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    totals = {length: sum(row["lengths"][length] for row in rows) for length in rows[0]["lengths"]}
    fixed = {length: total for length, total in totals.items() if length != AUTO}
    best = min(fixed, key=fixed.__getitem__)
    return {"best_fixed": int(best), "controller_vs_best_fixed": fixed[best] / totals[AUTO]}


def _tasks(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["subtask"] for row in rows))
