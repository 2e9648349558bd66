"""One prefill against generating an answer and parsing it, on the same items, in the same process, taking turns."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

from tenfold.core.config import parse
from tenfold.core.records import Metrics
from tenfold.evals.statistics import geometric_mean_ratio
from tenfold.nn.generation import generate
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.shieldlm.guard import Guard
from tenfold.systems.shieldlm.items import Item
from tenfold.systems.shieldlm.prompting import encode

LONG, SHORT = 256, 8
"""Most tokens of a generated answer with its analysis, and of a verdict alone; the model may end before."""
WARM_UP = "The garden is green."


def speed_work(guard: Guard, items: Sequence[Item]) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every item by the three ways."""
    for item in items:
        yield f"speed/{item.key}", lambda item=item: _timed(guard, item)


def sum_up(rows: Sequence[dict[str, Any]]) -> Metrics:
    """How many times faster one prefill is, with intervals."""
    found: Metrics = {"prefill_seconds": sum(row["prefill"] for row in rows) / len(rows)}
    for name, tokens in (("generate", LONG), ("short", SHORT)):
        ratio = geometric_mean_ratio([row[name] / row["prefill"] for row in rows], ["items"] * len(rows))
        found |= {f"speedup_over_{tokens}_tokens": ratio.value, f"speedup_over_{tokens}_tokens_interval": ratio.interval}
    return found


def _timed(guard: Guard, item: Item) -> dict[str, Any]:
    scorer = guard.scorer
    ids = encode(scorer.tokenizer, scorer.prompt(item.query, item.response, (), lang=item.lang))
    scorer.score("", WARM_UP, lang=item.lang)  # so that instruction and kernels are ready, and nothing of the item is

    def generated(num_tokens: int) -> None:
        stopper = Stopper(max_new_tokens=num_tokens, eos_ids=scorer.model.eos_ids)
        generate(scorer.model.engine, ids, parse(GenerationSettings, {}), stopper)

    return {
        "prefill": _seconds(lambda: scorer.score(item.query, item.response, lang=item.lang)),
        "short": _seconds(lambda: generated(SHORT)),
        "generate": _seconds(lambda: generated(LONG)),
    }


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started
