"""The verb `prove`: random models write templates under each level; how many leak, and what do the masks cost?

A random model is a table of random logits, one row for the last token, drawn at a temperature. It leans towards
brackets, single bytes and beginnings of forbidden words: it tries everything, and costs next to nothing. With
`model`, a real one writes too, with and without masks, on the same prompts.
"""

import time
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from tenfold.core.config import Config
from tenfold.core.records import Metrics
from tenfold.core.seeds import derive as derive_seed
from tenfold.nn import generation, models
from tenfold.nn.generation import Constraint
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.slotsum.data import Example, load_examples
from tenfold.systems.slotsum.entities import OWN, load_entities
from tenfold.systems.slotsum.grammar import LeakProof, MaskTable, mask_table
from tenfold.systems.slotsum.leaks import LEVELS, Level, Policy, closed_words, has_number, policy, split_words, violations
from tenfold.systems.slotsum.prompting import few_shot_prompt
from tenfold.systems.slotsum.templates import parse_template
from tenfold.systems.slotsum.tokens import fold

NUM_ROWS = 64
TEMPERATURE = 2.0
LEAN_TO_BRACKETS, LEAN_TO_TRAPS = 14.0, 8.0
PER_POLICY = 100
"""Templates of one random model under one policy."""


class ProveConfig(Config):
    """Let models write templates under each level, and count what stands outside slots that must not."""

    templates: int = Field(10_000, ge=1)
    """Templates of random models for each level."""
    tokenizer: str = "smollm2"
    """Whose vocabulary the random models write in."""
    model: str = ""
    """A model that writes too; empty for none."""
    model_templates: int = Field(500, ge=1)
    """Templates of that model for each level."""
    data: str = OWN
    """Entities whose keys and values make the policies: our own, or Enriched WebNLG."""
    max_new_tokens: int = Field(72, ge=8)
    """Longest template in tokens."""
    seed: int = 0
    """Of the random models."""


class RandomModel:
    """A `CausalLM` of one row whose logits depend on the last token alone."""

    batch_size = 1
    max_positions = 10**9

    def __init__(self, lean_V: Tensor, seed: int) -> None:
        self.vocab_size = len(lean_V)
        self.rows_RV = torch.randn(NUM_ROWS, self.vocab_size, generator=torch.Generator().manual_seed(seed)) * 4 + lean_V
        self.length = 0

    @property
    def exactness(self) -> str:
        return "bit"

    @property
    def lengths(self) -> Sequence[int]:
        return [self.length]

    def reset(self) -> None:
        self.length = 0

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        self.length += len(prompts[0])
        return self.rows_RV[prompts[0][-1] % NUM_ROWS][None]

    def forward(self, ids_BK: Tensor, **_: Tensor | None) -> Tensor:
        self.length += ids_BK.shape[1]
        return self.rows_RV[ids_BK[0] % NUM_ROWS][None]

    def rollback(self, counts: Sequence[int]) -> None:
        self.length -= counts[0]


def prove(config: ProveConfig, run: Run) -> Metrics:
    """Random models, level by level in portions that a resumed run does not write again; then the model."""
    loaded = models.load(config.model or config.tokenizer)
    subjects = _subjects(config.data)
    lexicon = _lexicon(subjects)
    portions: list[tuple[Level, int]] = [
        (level, start) for level in LEVELS for start in range(0, config.templates, PER_POLICY)
    ]
    todo: list[tuple[Level, int]] = [(level, start) for level, start in portions if f"{level}-{start}" not in run.rows]
    for level, start in track(todo, "Templates, by the hundred", done=len(portions) - len(todo)):
        count = min(PER_POLICY, config.templates - start)
        keys, values = subjects[start // PER_POLICY % len(subjects)]
        rules = policy(level, keys, values, lexicon=lexicon)
        run.add(f"{level}-{start}", _random_portion(loaded, rules, count, start, config))
    if config.model:
        _prove_model(loaded, subjects, lexicon, config, run)
    return _metrics(config, run)


Subject = tuple[list[str], list[str]]


def _subjects(data: str) -> list[Subject]:
    """(keys, values) of entities, the title among both."""
    if data == OWN:
        own = load_entities(OWN)
        return [(["title", *one.infobox], [*map(str, one.infobox.values()), one.title]) for one in own]
    seen: dict[str, Example] = {}
    for example in load_examples(data):
        seen.setdefault(example.entry, example)
    entries = list(seen.values())[:500]
    return [([key for key, _ in one.facts], [value for _, value in one.facts]) for one in entries]


def _lexicon(subjects: Sequence[Subject]) -> frozenset[str]:
    """Words of the prompts: enough for a list, and none of them a value or a number."""
    words = set(split_words(few_shot_prompt(["title"])))
    closed = {word for sequence in closed_words() for word in sequence}
    named = {word for _, values in subjects for value in values for word in split_words(value)}
    return frozenset(word for word in words if word not in closed | named and not has_number(word))


def _random_portion(
    loaded: models.LoadedModel, rules: Policy, count: int, start: int, config: ProveConfig
) -> dict[str, object]:
    table = mask_table(loaded.tokenizer, rules, loaded.eos_ids)
    lean_V = leaning(table.trie.texts, rules, loaded.engine.vocab_size)
    engine = RandomModel(lean_V, derive_seed(config.seed, rules.level, start))
    found: list[str] = []
    tokens = slots = 0
    for number in range(count):
        settings = GenerationSettings(
            max_new_tokens=config.max_new_tokens, do_sample=True, temperature=TEMPERATURE,
            seed=derive_seed(config.seed, start, number),
        )  # fmt: skip
        text, length = _write(engine, loaded, [number + 1], settings, LeakProof(table, config.max_new_tokens))
        template = parse_template(text)
        found += violations(template, rules)
        tokens, slots = tokens + length, slots + len(template.slots)
    return {"level": rules.level, "templates": count, "violations": found, "tokens": tokens, "slots": slots}


def leaning(texts: Sequence[bytes], rules: Policy, vocab_size: int) -> Tensor:
    """[V]: how much likelier than others the tokens are at which a template may go wrong."""
    beginnings = {word[:size] for words in rules.forbidden for word in words for size in range(2, len(word) + 1)}
    lean_V = torch.zeros(vocab_size)
    for number, text in enumerate(texts):
        if b"[" in text or b"]" in text:
            lean_V[number] = LEAN_TO_BRACKETS
        elif len(text) == 1 or fold(text.decode(errors="ignore").strip()) in beginnings:
            lean_V[number] = LEAN_TO_TRAPS
    return lean_V


def _write(
    engine: object,
    loaded: models.LoadedModel,
    prompt: Sequence[int],
    settings: GenerationSettings,
    constraint: Constraint | None,
) -> tuple[str, int]:
    stopper = Stopper(max_new_tokens=settings.max_new_tokens, eos_ids=loaded.eos_ids)
    result = generation.generate(engine, prompt, settings, stopper, constraint=constraint)  # pyright: ignore[reportArgumentType]
    tokens = [token for token in result.tokens if token not in loaded.eos_ids]
    return str(loaded.tokenizer.decode(tokens)), len(result.tokens)


def _prove_model(
    loaded: models.LoadedModel, subjects: Sequence[Subject], lexicon: frozenset[str], config: ProveConfig, run: Run
) -> None:
    """Templates of the model with masks, and as many of the same prompts without, for the price of the masks."""
    jobs: list[tuple[Level, int]] = [(level, number) for level in LEVELS for number in range(config.model_templates)]
    todo: list[tuple[Level, int]] = [(level, number) for level, number in jobs if f"model-{level}-{number}" not in run.rows]
    for level, number in track(todo, "Templates of the model", done=len(jobs) - len(todo)):
        keys, values = subjects[number % len(subjects)]
        rules = policy(level, keys, values, lexicon=lexicon)
        prompt = models.text_ids(loaded.tokenizer, few_shot_prompt(keys))
        settings = GenerationSettings(
            max_new_tokens=config.max_new_tokens, do_sample=True, seed=derive_seed(config.seed, level, number)
        )
        start = time.perf_counter()
        table = mask_table(loaded.tokenizer, rules, loaded.eos_ids)
        text, length = _write(loaded.engine, loaded, prompt, settings, _timed(table, config.max_new_tokens))
        seconds = time.perf_counter() - start
        plain = _plain_seconds_per_token(loaded, prompt, length)
        row = {"level": level, "template": text, "violations": violations(parse_template(text), rules)}
        run.add(f"model-{level}-{number}", {**row, "tokens": length, "seconds": seconds, "plain_seconds": plain})


def _timed(table: MaskTable, max_new_tokens: int) -> LeakProof:
    return LeakProof(table, max_new_tokens)


def _plain_seconds_per_token(loaded: models.LoadedModel, prompt: Sequence[int], length: int) -> float:
    """Seconds to write as many tokens after the same prompt without masks."""
    settings = GenerationSettings(max_new_tokens=max(length, 1), do_sample=True)
    start = time.perf_counter()
    generation.generate(loaded.engine, prompt, settings, Stopper(max_new_tokens=max(length, 1)))
    return time.perf_counter() - start


def _metrics(config: ProveConfig, run: Run) -> Metrics:
    rows = [row for key, row in run.rows.items() if not key.startswith("model-")]
    written = [row for key, row in run.rows.items() if key.startswith("model-")]
    metrics: Metrics = {
        "templates_per_level": config.templates,
        "violations": {level: sum(len(row["violations"]) for row in rows if row["level"] == level) for level in LEVELS},
        "tokens": sum(row["tokens"] for row in rows),
        "slots": sum(row["slots"] for row in rows),
    }
    if written:
        metrics["model"] = config.model
        metrics["model_violations"] = {
            level: sum(len(row["violations"]) for row in written if row["level"] == level) for level in LEVELS
        }
        costs = {
            level: sum(row["seconds"] for row in written if row["level"] == level)
            / sum(row["plain_seconds"] for row in written if row["level"] == level)
            for level in LEVELS
        }
        metrics["time_ratio"] = costs
    return metrics


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{level}: {count} violations in {metrics['templates_per_level']} templates of random models"
        for level, count in metrics["violations"].items()
    ]
    if "model" in metrics:
        lines += [
            f"{level}: {count} violations of {metrics['model']}; "
            f"decoding takes {metrics['time_ratio'][level]:.2f} times as long"
            for level, count in metrics["model_violations"].items()
        ]
    return "\n".join(lines)
