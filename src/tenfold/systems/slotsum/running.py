"""The verbs `generate` and `run`: templates, and the whole method, for the entities of a file or for
one title."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.core.records import Metrics
from tenfold.nn.sampling import GenerationSettings
from tenfold.store import atomic
from tenfold.store.artifacts import cache_folder
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.slotsum.bases import open_knowledge
from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.documents import Document, read_documents
from tenfold.systems.slotsum.entities import OWN, Entity, load_entities
from tenfold.systems.slotsum.explain import explain
from tenfold.systems.slotsum.fill import FillMode, SlotFiller, open_filler
from tenfold.systems.slotsum.generate import TemplateGenerator, Writing, Written, open_generator
from tenfold.systems.slotsum.knowledge import InfoboxKB, KnowledgeBase
from tenfold.systems.slotsum.leaks import Level
from tenfold.systems.slotsum.provenance import Evidence
from tenfold.systems.slotsum.rectify import Rules, Strategy
from tenfold.systems.slotsum.summarize import Method, Summary, summarize

Guarantee = Literal["none", "digits", "words", "values", "lexicon"]


class EntitiesConfig(Config):
    """Which entities, and which models."""

    data: str = OWN
    """Entities: lines of {"title", "documents", "infobox"}, or our own twelve, `entities`."""
    limit: int | None = Field(None, ge=1)
    """Only the first entities."""
    model: str = "smollm2"
    """Writes the templates: an alias, a folder (such as merged/ of `slotsum train`), a hub id, or openai:NAME."""
    tuned: bool = False
    """The model was trained by `slotsum train`; else it is shown two templates."""
    guarantee: Guarantee = "values"
    """What cannot stand outside slots: none, digits, words, values, or lexicon."""
    lexicon: str = ""
    """File of words for the level lexicon, one a line."""
    max_new_tokens: int = Field(160, ge=16)
    """Longest template in tokens."""


class GenerateConfig(EntitiesConfig):
    """Write a template for each entity."""


class RunConfig(EntitiesConfig):
    """Write a text about each entity whose every fact has a source, or is left out."""

    title: str = ""
    """One entity instead of a file: its title."""
    docs: Names = ()
    """Its documents: text files, or folders of .txt files."""
    keys: Names = ()
    """Its slots; those of the knowledge base if left out."""
    entity: str = ""
    """Which entity of the knowledge base, where several answer to the title."""
    kb: str = ""
    """A knowledge base: .json, .jsonl, .box, an index (.sqlite), or wikidata:CONTACT; else each entity's own infobox."""
    lang: Literal["en", "zh"] = "en"
    """Language of the one entity."""
    filler: str = ""
    """Reads the values; the model that writes if left out."""
    mode: FillMode = "rank"
    """How values are read: copy (best after training), rank, free or chat."""
    templates: Literal["model", "golden"] = "model"
    """golden derives the templates from the entities' targets (the paper's oracle)."""
    strategy: Strategy = "verify"
    """What the knowledge base is for: verify, discard, keep, predict or allpredict."""
    unknown: Literal["discard", "keep", "hedge"] = "discard"
    """With verify, what becomes of a slot of which nothing is known."""
    discard: Literal["clause", "bare"] = "clause"
    """Leave out the smallest clause, or the bare slot."""


class GoldenGenerator:
    """Templates derived from the entities' own texts."""

    def __init__(self, entities: Sequence[Entity]) -> None:
        self._by_title = {entity.title: entity for entity in entities}

    def generate(
        self, title: str, keys: Sequence[str], *, documents: Sequence[Document] = (), values: Iterable[str] = ()
    ) -> Written:
        entity = self._by_title[title]
        if not entity.target:
            raise ConfigError(f"{title!r} has no target to derive a template from; give one, or let a model write")
        facts = [("title", entity.title), *((key, str(value)) for key, value in entity.infobox.items())]
        return Written(derive_template(entity.target, facts).template, None, "none")


def generate(config: GenerateConfig, run: Run) -> Metrics:
    """A template for each entity that the run does not hold yet."""
    entities = load_entities(config.data)[: config.limit]
    for entity in left(entities, run, "Templates"):
        values = [*map(str, entity.infobox.values()), entity.title]
        written = writer(config, entity.lang).generate(entity.title, names_of(entity), values=values)
        run.add(entity.key, {"title": entity.title, **written_row(written)})
    rows = list(run.rows.values())
    used = [set(row["keys"]) for row in rows]
    return {
        "entities": len(rows),
        "slots": sum(len(row["keys"]) for row in rows),
        "distinct_keys": sum(map(len, used)),
        "guarantee": config.guarantee,
        "repaired": sum(len(row["repaired"]) for row in rows),
    }


def written_row(written: Written) -> dict[str, Any]:
    """A written template as plain JSON."""
    return {
        "template": str(written.template),
        "keys": [slot.key for slot in written.template.slots],
        "guarantee": written.guarantee,
        "guarantee_by": written.guarantee_by,
        "tokens": written.num_tokens,
        "repaired": [*written.repaired],
    }


def run_all(config: RunConfig, run: Run) -> Metrics:
    """A grounded text for each entity that the run does not hold yet, with its explanation beside it.

    Raises:
        ConfigError: neither a file of entities nor a title, or a title without documents.
    """
    entities = [_one(config)] if config.title else load_entities(config.data)[: config.limit]
    base = open_knowledge(config.kb, cache_folder() / "wikidata") if config.kb else None
    filler: SlotFiller | None = None
    generators: dict[str, TemplateGenerator] = {}
    for entity in left(entities, run, "Entities"):
        filler = filler or open_filler(config.filler or config.model, config.mode)
        if entity.lang not in generators:
            generators[entity.lang] = (
                GoldenGenerator(entities) if config.templates == "golden" else writer(config, entity.lang)
            )
        rules = Rules(config.strategy, config.unknown, config.discard, entity.lang)
        summary = _summary(config, entity, base, Method(generators[entity.lang], filler, rules))
        row = {**summary.row, "valid": _all_valid(summary), "target": entity.target}
        run.add(entity.key, row)
        atomic.write_text(run.folder / "explanations" / f"{_file_name(entity.key)}.html", explain(row))
    return _metrics(list(run.rows.values()), config)


def _summary(config: RunConfig, entity: Entity, base: KnowledgeBase | None, method: Method) -> Summary:
    knowledge = base or InfoboxKB({entity.title: entity.infobox})
    keys = config.keys or entity.keys
    chosen = config.entity or None
    return summarize(entity.title, entity.documents, method, knowledge=knowledge, keys=keys, entity=chosen)


def _one(config: RunConfig) -> Entity:
    documents = [Document(path.name, path.read_text(encoding="utf-8")) for path in _files(config.docs)]
    return Entity("1", config.title, tuple(read_documents(documents)), {}, config.keys, lang=config.lang)


def _files(names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        path = Path(name)
        if path.is_dir():
            yield from sorted(path.glob("*.txt"))
        elif path.is_file():
            yield path
        else:
            raise MissingArtifactError(f"no document {name!r}; give text files, or folders of .txt files")


def writer(config: EntitiesConfig, lang: str) -> TemplateGenerator:
    """The generator that the settings ask for."""
    level: Level | None = None if config.guarantee == "none" else config.guarantee
    words = tuple(Path(config.lexicon).read_text(encoding="utf-8").split()) if config.lexicon else ()
    if level == "lexicon" and not words:
        raise ConfigError("the level lexicon needs a list of words; give lexicon, a file with one word a line")
    settings = GenerationSettings(max_new_tokens=config.max_new_tokens)
    return open_generator(config.model, Writing(level, words, settings, config.tuned, lang))


def names_of(entity: Entity) -> list[str]:
    """The slots of an entity: its keys, else those of its infobox, and the title."""
    return list(dict.fromkeys(["title", *(entity.keys or entity.infobox)]))


def left(entities: Sequence[Entity], run: Run, label: str) -> Iterator[Entity]:
    """The entities that the run does not hold yet, behind a progress bar."""
    todo = [entity for entity in entities if entity.key not in run.rows]
    return track(todo, label, done=len(entities) - len(todo))


def _all_valid(summary: Summary) -> bool:
    """Whether every pointer leads to a place that says its value."""
    evidence = Evidence(summary.documents)
    return all(
        evidence.is_valid(span, decision.predicted or "")
        for decision in summary.rectified.decisions
        for span in decision.evidence
    )


def _file_name(key: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in key)


def _metrics(rows: Sequence[dict[str, Any]], config: RunConfig) -> Metrics:
    slots = [slot for row in rows for slot in row["slots"]]
    actions = ("kept", "corrected", "filled", "predicted", "unsupported", "missing", "discarded")
    standing = [slot for slot in slots if slot["surface"]]
    encoded, separate = (sum(row[name] for row in rows) for name in ("encoded_tokens", "separate_tokens"))
    return {
        "entities": len(rows),
        "slots": len(slots),
        **{action: sum(slot["action"] == action for slot in slots) for action in actions},
        "sourced": sum(slot["source"] is not None for slot in standing) / len(standing) if standing else None,
        "listings": sum(row["is_listing"] for row in rows),
        "valid_pointers": all(row["valid"] for row in rows),
        "fewer_tokens": separate / encoded if encoded else None,
        "strategy": config.strategy,
        "guarantee": config.guarantee,
        "model": config.model,
    }


def describe_generate(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return f"{metrics['entities']} templates, {metrics['slots']} slots; outside them: guarantee {metrics['guarantee']}"


def describe_run(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    actions = ", ".join(
        f"{metrics[name]} {name}"
        for name in ("kept", "corrected", "filled", "predicted", "unsupported", "missing", "discarded")
        if metrics[name]
    )
    sourced = f"{metrics['sourced']:.0%}" if metrics["sourced"] is not None else "none"
    return (
        f"{metrics['entities']} texts, {metrics['slots']} slots: {actions}\n"
        f"{sourced} of the facts that stand have a source; an explanation of each text is in the run's folder explanations/"
    )
