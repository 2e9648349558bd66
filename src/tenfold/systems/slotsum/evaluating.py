"""The verb `eval`: on entities with documents some of whose facts are wrong, how many false facts does each way to a
text let in?"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.core.registry import load_target
from tenfold.evals.statistics import cluster_mean, cluster_ratio
from tenfold.nn import models
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.slotsum.arms import Curve, Outcome, Writers, arm_name, write_all
from tenfold.systems.slotsum.data import UNSEEN, load_examples
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.fill import LocalFiller, SlotFiller, is_asked
from tenfold.systems.slotsum.generate import Writing, local_generator
from tenfold.systems.slotsum.grounded import Grounded, build_grounded
from tenfold.systems.slotsum.leaks import Level
from tenfold.systems.slotsum.metrics import Likeness, SlotCounts, key_counts, score_facts, value_counts
from tenfold.systems.slotsum.provenance import Evidence
from tenfold.systems.slotsum.rectify import Strategy
from tenfold.systems.slotsum.rouge import rouge

STRATEGIES = ("verify", "discard", "keep", "predict", "allpredict")
BASELINES = ("plain", "K", "KV", "rewriter")
ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class EvalConfig(Config):
    """Compare slots, under every strategy and share of the knowledge base, with models that write the text themselves."""

    data: str = "webnlg-dev"
    """Texts with facts, of which several share an entry: Enriched WebNLG, or lines of {"text", "facts", "entry"}."""
    limit: int | None = Field(100, ge=1)
    """Entities, drawn at random."""
    categories: Literal["all", "seen", "unseen"] = "all"
    """unseen: Astronaut and ComicsCharacter alone; seen: all others."""
    corrupt: float = Field(0.2, ge=0, le=1)
    """Share of the facts that the documents have wrong."""
    template_model: str = "smollm2"
    """Writes the templates."""
    tuned: bool = False
    """The template model was trained by `slotsum train`."""
    filler: str = ""
    """Reads the values; the template model if left out."""
    mode: Literal["copy", "rank", "free"] = "copy"
    """How values are read."""
    plain: str = ""
    """Model that writes from the documents; left out if empty, as are the others."""
    k: str = ""
    """Model that writes from documents and keys."""
    kv: str = ""
    """Model that writes from documents, keys and values."""
    rewriter: str = ""
    """Model that writes from template and values."""
    strategies: Names = STRATEGIES
    """Strategies to compare."""
    fact_ratios: tuple[float, ...] = (0.0, 0.2, 0.5, 1.0)
    """Shares of the knowledge base's keys that are kept."""
    guarantee: Level = "values"
    """What cannot stand outside slots."""
    max_new_tokens: int = Field(160, ge=16)
    """Longest template or text in tokens."""
    questions: bool = False
    """Also let the filler answer each key from each arm's text, and compare with the true values (the paper asked
    people)."""
    likeness: str = ""
    """A learned measure beside ROUGE, as module:function from (texts, references) to a score each: BERTScore, entailment."""
    seed: int = 0
    """Of the entities, of what is corrupted, and of the shares."""


def evaluate(config: EvalConfig, run: Run) -> Metrics:
    """Writes about the entities that the run does not hold yet, then sums up all of them.

    Raises:
        ConfigError: an unknown strategy, a share outside 0 to 1, or no entity.
    """
    curve = _curve(config)
    entities = draw_entities(config)
    todo = [entity for entity in entities if entity.key not in run.rows]
    writers = _open(config) if todo else None
    for entity in track(todo, "Entities", done=len(entities) - len(todo)):
        assert writers is not None
        outcome = write_all(entity, writers, curve, max_new_tokens=config.max_new_tokens)
        answers = answered(entity, outcome, writers.filler) if config.questions else {}
        run.add(entity.key, _row(entity, outcome, answers))
    return _metrics([run.rows[entity.key] for entity in entities], config)


def _curve(config: EvalConfig) -> Curve:
    unknown = [name for name in config.strategies if name not in STRATEGIES]
    if unknown:
        raise ConfigError(f"no strategy {unknown[0]!r}; known are {', '.join(STRATEGIES)}")
    if not all(0 <= ratio <= 1 for ratio in config.fact_ratios):
        raise ConfigError(f"fact_ratios are {config.fact_ratios}; give shares between 0 and 1")
    strategies: tuple[Strategy, ...] = tuple(name for name in config.strategies if name in STRATEGIES)  # pyright: ignore
    return Curve(strategies, config.fact_ratios, config.seed)


def draw_entities(config: EvalConfig) -> list[Grounded]:
    """The entities to write about."""
    examples = load_examples(config.data)
    if config.categories != "all":
        examples = [one for one in examples if (one.category in UNSEEN) == (config.categories == "unseen")]
    entities = build_grounded(examples, corrupt=config.corrupt, seed=config.seed, limit=config.limit)
    if not entities:
        raise ConfigError(f"{config.data} has no entry with several texts; give lines that share an entry")
    return entities


def _open(config: EvalConfig) -> Writers:
    """Each model is loaded once, however often it is named."""
    loaded: dict[str, LoadedModel] = {}

    def opened(name: str) -> LoadedModel:
        if name not in loaded:
            loaded[name] = models.load(name)
        return loaded[name]

    settings = GenerationSettings(max_new_tokens=config.max_new_tokens)
    writing = Writing(config.guarantee, settings=settings, is_tuned=config.tuned)
    generator = local_generator(opened(config.template_model), writing)
    filler = LocalFiller(opened(config.filler or config.template_model), mode=config.mode)
    named = dict(zip(BASELINES, (config.plain, config.k, config.kv, config.rewriter), strict=True))
    return Writers(generator, filler, {arm: opened(name) for arm, name in named.items() if name})


def answered(entity: Grounded, outcome: Outcome, filler: SlotFiller) -> dict[str, dict[str, int]]:
    """Per arm, how many keys of the golden template the filler answers rightly from the text alone."""
    slots = [slot for slot in outcome.golden.slots if slot.index == 1 and is_asked(slot.key)]
    true = {slot.key: [value for key, value in entity.facts if key == slot.key] for slot in slots}
    found: dict[str, dict[str, int]] = {}
    for name, text in outcome.texts.items():
        read = filler.fill(entity.title, slots, [Document("text", text)]).predictions if text.strip() else ()
        values = {slot.key: one.value for slot, one in zip(slots, read, strict=False)}
        found[name] = vars(value_counts(values, {key: values for key, values in true.items() if values}))
    return found


def _row(entity: Grounded, outcome: Outcome, answers: Mapping[str, dict[str, int]]) -> dict[str, Any]:
    evidence = Evidence(entity.documents)
    keys = [slot.key for slot in outcome.written.template.slots]
    predicted = {key: one.value for key, one in zip(keys, outcome.filled.predictions, strict=True) if key != "title"}
    true: dict[str, list[str]] = {}
    for key, value in entity.facts[1:]:
        true.setdefault(key, []).append(value)
    asked = {key: values for key, values in true.items() if key in predicted}
    pointers = [evidence.is_valid(span, one.value or "") for one in outcome.filled.predictions for span in one.evidence]
    return {
        "title": entity.title,
        "target": entity.target,
        "corrupted": [list(one) for one in entity.corrupted],
        "template": str(outcome.written.template),
        "keys": vars(key_counts(outcome.written.template, outcome.golden)),
        "values_strict": vars(value_counts(predicted, asked, strict=True)),
        "values_lenient": vars(value_counts(predicted, asked)),
        "pointers": len(pointers),
        "valid_pointers": sum(pointers),
        "encoded_tokens": outcome.filled.encoded_tokens,
        "separate_tokens": outcome.filled.separate_tokens,
        "arms": {name: _judged(text, entity) | {"answers": answers.get(name)} for name, text in outcome.texts.items()},
    }


def _judged(text: str, entity: Grounded) -> dict[str, Any]:
    report = score_facts(text, entity.documents, entity.facts, reference=entity.target)
    return {"text": text, **report.counts, **rouge(text, entity.target)}


def _metrics(rows: Sequence[Mapping[str, Any]], config: EvalConfig) -> Metrics:
    names = list(rows[0]["arms"])
    likeness: Likeness | None = load_target(config.likeness) if config.likeness else None
    clusters = [row["key"] for row in rows]
    encoded, separate = (sum(row[name] for row in rows) for name in ("encoded_tokens", "separate_tokens"))
    pointers, valid = (sum(row[name] for row in rows) for name in ("pointers", "valid_pointers"))
    return {
        "entities": len(rows),
        "slot_keys": _counted(rows, "keys"),
        "slot_values_strict": _counted(rows, "values_strict"),
        "slot_values_lenient": _counted(rows, "values_lenient"),
        "pointers": pointers,
        "valid_pointers": valid / pointers if pointers else None,
        "fewer_tokens": separate / encoded if encoded else None,
        "arms": {name: _arm([row["arms"][name] for row in rows], clusters) | _liked(rows, name, likeness) for name in names},
        "false_facts_against_plain": _against(rows, clusters, "plain"),
        "curve": {
            strategy: [[ratio, _false_rate(rows, arm_name(strategy, ratio))] for ratio in config.fact_ratios]
            for strategy in config.strategies
        },
    }


def _liked(rows: Sequence[Mapping[str, Any]], name: str, likeness: Likeness | None) -> dict[str, float]:
    if likeness is None:
        return {}
    scores = likeness([row["arms"][name]["text"] for row in rows], [row["target"] for row in rows])
    return {"likeness": sum(scores) / len(scores)}


def _counted(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, float]:
    return sum((SlotCounts(**row[name]) for row in rows), SlotCounts()).scores


def false_facts(arm: Mapping[str, Any]) -> int:
    """Contradicted and hallucinated facts of a text."""
    return arm["contradicted"] + arm["hallucinated"]


def _false_rate(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(false_facts(row["arms"][name]) for row in rows) / len(rows)


def _arm(arms: Sequence[Mapping[str, Any]], clusters: Sequence[str]) -> dict[str, Any]:
    """Means per text; those that matter most with their intervals over entities."""
    false = cluster_mean([false_facts(arm) for arm in arms], clusters)
    longest = cluster_mean([arm["rougeL"] for arm in arms], clusters)
    names = ("supported", "known", "contradicted", "hallucinated", "missing", "facts", *ROUGES)
    return {
        **{name: sum(arm[name] for arm in arms) / len(arms) for name in names},
        **_answers(arms),
        "false_facts": false.value,
        "false_facts_interval": false.interval,
        "rougeL_interval": longest.interval,
    }


def _answers(arms: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The share of questions answered rightly, where they were asked."""
    counts = [SlotCounts(**arm["answers"]) for arm in arms if arm["answers"]]
    return {"questions": sum(counts, SlotCounts()).scores["recall"]} if counts else {}


def _against(rows: Sequence[Mapping[str, Any]], clusters: Sequence[str], base: str) -> dict[str, list[float]]:
    """False facts of each arm over those of `base`, with an interval over entities; nothing where `base` was not run."""
    if base not in rows[0]["arms"]:
        return {}
    theirs = [false_facts(row["arms"][base]) for row in rows]
    if not sum(theirs):
        return {}
    found: dict[str, list[float]] = {}
    for name in rows[0]["arms"]:
        ratio = cluster_ratio([false_facts(row["arms"][name]) for row in rows], theirs, clusters)
        found[name] = [ratio.value, *ratio.interval]
    return found


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [f"{metrics['entities']} entities; slot keys F1 {metrics['slot_keys']['f1']:.3f}"]
    width = max(map(len, metrics["arms"]))
    for name, arm in metrics["arms"].items():
        lines.append(
            f"{name:<{width}}  false facts {arm['false_facts']:.2f} a text "
            f"(contradicted {arm['contradicted']:.2f}, hallucinated {arm['hallucinated']:.2f})  ROUGE-L {arm['rougeL']:.3f}"
        )
    return "\n".join(lines)
