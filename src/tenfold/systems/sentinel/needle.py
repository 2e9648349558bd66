"""The verb `needle`: is a number found again that stands far back in a book, by readers with the same number of entries?

"The passkey of NAME is 12345." stands at some depth; at the end the text goes on with "The passkey of NAME is", and ten
numbers are ranked by their probability: chance is a tenth. One row per (reader, length, depth, trial).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field

from tenfold.core.config import Config, parse, split_commas
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.core.seeds import derive
from tenfold.evals.statistics import wilson
from tenfold.nn.models import Dtype
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.sentinel.bases import Base, open_base, sentinel_ids, start_embedding
from tenfold.systems.sentinel.compare import FRONT_MATTER
from tenfold.systems.sentinel.contenders import Kind, kept_rate, plan, reader
from tenfold.systems.sentinel.data import documents
from tenfold.systems.sentinel.lm import SentinelLM
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.systems.sentinel.wrapping import EngineName, engine_of, open_trained

NAMES = ("Ada", "Bruno", "Clara", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Ines", "Jonas")
NUM_KEYS = 10
CHANCE = 1 / NUM_KEYS
READERS: dict[str, tuple[Kind, bool]] = {
    "full": ("sentinels", False),
    "compact": ("sentinels", True),
    "streaming": ("streaming", True),
}
"""Name: the kind of cache, and whether it is compacted."""


class NeedleConfig(Config):
    """Find a number again that stands far back in a book."""

    model: str = "smollm2"
    """Base where there is no adapter."""
    adapter: str = ""
    """Adapter folder of a sentinel training; empty: untrained sentinels."""
    data: str = "gutenberg"
    """Books in which the numbers are hidden."""
    lengths: Annotated[tuple[int, ...], BeforeValidator(split_commas), Field(min_length=1)] = (2000, 4000, 7500)
    """Tokens in a text."""
    depths: Annotated[tuple[float, ...], BeforeValidator(split_commas), Field(min_length=1)] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Where the number stands, as a share of the text."""
    trials: int = Field(2, ge=1)
    """Texts for each length and depth."""
    fraction: float = Field(0.15, gt=0, lt=1)
    """Size of the compacted caches, as a share of the full one."""
    max_chunk: int = Field(128, ge=1)
    """A longer chunk is closed wherever it is, where there is no adapter."""
    block: int = Field(64, ge=1)
    """The window moves on by so many tokens."""
    seed: int = 0
    """Of names, numbers and places in the books."""
    engine: EngineName = "auto"
    """What computes: lean, transformers, or auto."""
    dtype: Dtype = "bf16"
    """Type of the weights."""


@dataclass(frozen=True)
class Case:
    """A text with its question and ten numbers, of which one is right."""

    key: str
    length: int
    depth: float
    prompt: tuple[int, ...]
    needle_end: int
    """Original tokens up to the end of the hidden sentence."""
    candidates: tuple[tuple[int, ...], ...]
    answer: int


def needle(config: NeedleConfig, run: Run) -> Metrics:
    """Asks what the run does not hold yet, reader by reader."""
    base, model, settings, ids = _open(config)
    cases = build_cases(config, base)
    places = [(name, case) for case in cases for name in READERS]
    todo = [(name, case) for name, case in places if f"{name}/{case.key}" not in run.rows]
    engine = engine_of(model, config.engine, 1)
    for name, case in track(todo, "Needles", done=len(places) - len(todo)):
        kind, is_compact = READERS[name]
        rate = kept_rate("sentinels", [case.prompt], base, settings, ids)
        entries = int(config.fraction * len(case.prompt))
        chosen = plan(kind, entries, len(case.prompt), rate, settings) if is_compact else None
        lm = reader(kind, engine, base, settings, ids, chosen)
        scores = scored(lm, case)
        window = chosen.window + config.block if chosen else len(case.prompt)
        row = {
            "reader": name,
            "length": case.length,
            "depth": case.depth,
            "is_right": max(range(NUM_KEYS), key=scores.__getitem__) == case.answer,
            "is_outside": settings.n_sink < case.needle_end <= len(case.prompt) - window,
            "entries": lm.most_held,
        }
        run.add(f"{name}/{case.key}", row)
    return metrics(config, list(run.rows.values()))


def build_cases(config: NeedleConfig, base: Base) -> list[Case]:
    """All cases, the same for every reader.

    Raises:
        ConfigError: the texts are too short.
    """
    books = documents(config.data, "dev")
    found = []
    for length in config.lengths:
        for depth in config.depths:
            for trial in range(config.trials):
                key = f"{length}/{depth:g}/{trial}"
                generator = random.Random(derive(config.seed, "needle", key))
                found.append(_case(key, length, depth, books[len(found) % len(books)].text, generator, base))
    return found


def scored(lm: SentinelLM, case: Case) -> list[float]:
    """The log-probability of every candidate after the prompt, which is read once."""
    lm.slack = max(lm.slack, max(map(len, case.candidates)))
    first_V = lm.prefill([case.prompt])[0].log_softmax(-1)
    sums = []
    for candidate in case.candidates:
        total = float(first_V[candidate[0]])
        if len(candidate) > 1:
            logprobs_KV = lm.forward(torch.tensor([candidate[:-1]]))[0].log_softmax(-1)
            total += sum(float(logprobs_KV[k, token]) for k, token in enumerate(candidate[1:]))
            lm.rollback([len(candidate) - 1])
        sums.append(total)
    return sums


def metrics(config: NeedleConfig, rows: Sequence[Any]) -> Metrics:
    """Shares of right answers: in all, outside of the window, and by length and depth."""

    def accuracy(chosen: Sequence[Any]) -> dict[str, Any] | None:
        if not chosen:
            return None
        right = sum(row["is_right"] for row in chosen)
        found = wilson(right, len(chosen))
        return {"value": right / len(chosen), "ci": [found.low, found.high], "cases": len(chosen)}

    outside = {row["key"].partition("/")[2] for row in rows if row["reader"] == "compact" and row["is_outside"]}
    result: Metrics = {"model": config.model, "fraction": config.fraction, "chance": CHANCE, "readers": {}}
    for name in READERS:
        own = [row for row in rows if row["reader"] == name]
        result["readers"][name] = {
            "accuracy": accuracy(own),
            "outside": accuracy([row for row in own if row["key"].partition("/")[2] in outside]),
            "grid": {
                str(length): {
                    str(depth): accuracy([row for row in own if row["length"] == length and row["depth"] == depth])
                    for depth in config.depths
                }
                for length in config.lengths
            },
        }
    return result


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['model']}, caches of {metrics['fraction']:.0%}; chance is {metrics['chance']:.0%}"]
    for name, found in metrics["readers"].items():
        outside = found["outside"]
        words = f", outside of the window {outside['value']:.0%} of {outside['cases']}" if outside else ""
        lines.append(f"{name:>10}: {found['accuracy']['value']:.0%} of {found['accuracy']['cases']}{words}")
    return "\n".join(lines)


def _open(config: NeedleConfig) -> tuple[Base, Any, SentinelConfig, tuple[int, ...]]:
    if config.adapter:
        base, model, record = open_trained(config.adapter, base=config.model, dtype=config.dtype)
        return base, model, record.config.changed(block=config.block), record.ids
    base = open_base(config.model, dtype=config.dtype)
    settings = parse(SentinelConfig, {"max_chunk": config.max_chunk, "block": config.block})
    ids = sentinel_ids(base, settings)
    start_embedding(base.model, base.codec, ids)
    return base, base.model, settings, ids


def _case(key: str, length: int, depth: float, text: str, generator: random.Random, base: Base) -> Case:
    name, numbers = generator.choice(NAMES), generator.sample(range(10_000, 100_000), NUM_KEYS)
    answer = generator.randrange(NUM_KEYS)
    room = max(0, len(text) - FRONT_MATTER - length * 8)
    start = min(len(text) // 4, FRONT_MATTER) + generator.randrange(room + 1)
    sentences = text[start : start + length * 8].replace("\n", " ").split(". ")[1:]
    hidden = base.codec.encode(f" The passkey of {name} is {numbers[answer]}.")
    question = base.codec.encode(f" The passkey of {name} is")
    hay = [base.codec.encode(f" {sentence.strip()}.") for sentence in sentences if sentence.strip()]
    budget = length - len(hidden) - len(question)
    taken, total = [], 0
    for sentence in hay:
        if total + len(sentence) > budget:
            break
        taken.append(sentence)
        total += len(sentence)
    if not taken:
        raise ConfigError(f"the text is too short to hide a number in {length} tokens; lower lengths or take longer texts")
    place = round(depth * len(taken))
    before = [token for sentence in taken[:place] for token in sentence]
    after = [token for sentence in taken[place:] for token in sentence]
    prompt = (*base.codec.beginning, *before, *hidden, *after, *question)
    candidates = tuple(tuple(base.codec.encode(f" {number}")) for number in numbers)
    end = len(base.codec.beginning) + len(before) + len(hidden)
    return Case(key, length, depth, prompt, end, candidates, answer)
