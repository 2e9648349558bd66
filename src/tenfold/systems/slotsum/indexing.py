"""The verb `index`: a Wikidata dump becomes a knowledge base; with `synthetic`, one of our own making is indexed and
timed."""

import gzip
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store.progress import counter
from tenfold.store.runs import Run
from tenfold.systems.slotsum.wikidata import WikidataIndex, build_index

NUM_LOOKUPS = 2000
BROKEN_EVERY = 10_007
"""In a synthetic dump every so many lines one is cut off in the middle."""


class IndexConfig(Config):
    """Make a knowledge base of a Wikidata JSON dump, in bounded memory, going on where it was cut off."""

    dump: str = ""
    """The dump: .json, .json.gz or .json.bz2, one entity a line."""
    to: str = "kb.sqlite"
    """The index to write."""
    languages: tuple[str, ...] = ("en", "zh")
    """Languages of the labels and aliases to keep."""
    synthetic: int = Field(0, ge=0)
    """Instead of a dump, make one of so many entities, with broken lines and a cut-off end, index it and time look-ups."""
    seed: int = 0
    """Of the synthetic dump."""


def index(config: IndexConfig, run: Run) -> Metrics:
    """Indexes, and reports what was read and what was not.

    Raises:
        ConfigError: neither a dump nor a synthetic one was asked for.
    """
    if bool(config.dump) == bool(config.synthetic):
        raise ConfigError("give a dump to index, or synthetic with a number of entities; not both")
    to = run.folder / "kb.sqlite" if config.synthetic else Path(config.to)
    dump = _synthetic(run.folder, config.synthetic, config.seed) if config.synthetic else Path(config.dump)
    before, start = _peak_mib(), time.perf_counter()
    with counter("Entities", total=config.synthetic or 0) as advance:
        report = build_index(dump, to, languages=config.languages, on_progress=advance)
    seconds = time.perf_counter() - start
    metrics: Metrics = {
        "entities": report.entities,
        "statements": report.statements,
        "broken_lines": report.num_broken,
        "repeated": report.repeated,
        "truncated": report.truncated,
        "first_broken": report.broken,
        "seconds": seconds,
        "entities_per_second": report.entities / seconds,
        "peak_memory_mib": _peak_mib(),
        "memory_before_mib": before,
        "index_mib": to.stat().st_size / 2**20,
    }
    return metrics | (_lookups(to, config) if config.synthetic else {})


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _lookups(path: Path, config: IndexConfig) -> Metrics:
    """Seconds for a title's entities and all their facts, each title once."""
    base, random = WikidataIndex(path), Random(config.seed)
    times: list[tuple[float, float]] = []
    found = 0
    for number in random.sample(range(config.synthetic), min(NUM_LOOKUPS, config.synthetic)):
        start = time.perf_counter()
        entities = base.lookup(f"Entity {number}")
        middle = time.perf_counter()
        found += bool(entities and base.facts(entities[0]))
        times.append((middle - start, time.perf_counter() - middle))
    lookups, facts = (sorted(column) for column in zip(*times, strict=True))
    return {
        "lookup_ms_median": 1000 * lookups[len(lookups) // 2],
        "lookup_ms_p99": 1000 * lookups[int(0.99 * len(lookups))],
        "facts_ms_median": 1000 * facts[len(facts) // 2],
        "facts_ms_p99": 1000 * facts[int(0.99 * len(facts))],
        "found": found / len(times),
    }


def _synthetic(folder: Path, size: int, seed: int) -> Path:
    """A dump as .json.gz whose last line is cut off; made once."""
    path = folder / "dump.json.gz"
    if not path.exists():
        scratch = path.with_suffix(".partial")
        with gzip.open(scratch, "wt", encoding="utf-8", compresslevel=1) as file:
            file.write("[\n")
            file.writelines(_dump_lines(size, seed))
        scratch.replace(path)
    return path


def _dump_lines(size: int, seed: int) -> Iterator[str]:
    random = Random(seed)
    for number in range(size):
        line = json.dumps(synthetic_entity(number, size, random), ensure_ascii=False)
        yield f"{line[: len(line) // 2] if number % BROKEN_EVERY == BROKEN_EVERY - 1 else line},\n"
    yield '{"id": "Q0", "labels"'


def synthetic_entity(number: int, size: int, random: Random) -> dict[str, object]:
    """An entity in Wikidata's form: labels in two languages, an alias, a date, a quantity, two places of which one
    is old."""
    name = f"Q{number + 1}"
    return {
        "type": "item",
        "id": name,
        "labels": {"en": _text("en", f"Entity {number}"), "zh": _text("zh", f"条目{number}")},
        "aliases": {"en": [_text("en", f"E. {number}")]} if number % 3 else [],
        "sitelinks": {"enwiki": {"site": "enwiki", "title": f"Entity {number}", "badges": []}},
        "claims": {
            "P569": [_claim(name, "P569", "time", {"time": f"+{1800 + number % 200}-03-{1 + number % 28:02d}T00:00:00Z",
                                                   "precision": 11}, "normal")],
            "P2048": [_claim(name, "P2048", "quantity", {"amount": f"+{150 + number % 60}",
                                                         "unit": "http://www.wikidata.org/entity/Q174728"}, "normal")],
            "P19": [
                _claim(name, "P19", "wikibase-entityid", {"id": f"Q{1 + random.randrange(size)}"}, "deprecated"),
                _claim(name, "P19", "wikibase-entityid", {"id": f"Q{1 + random.randrange(size)}"}, "preferred"),
            ],
        },
    }  # fmt: skip


def _text(lang: str, value: str) -> dict[str, str]:
    return {"language": lang, "value": value}


def _claim(entity: str, name: str, kind: str, value: object, rank: str) -> dict[str, object]:
    snak = {"snaktype": "value", "property": name, "datavalue": {"type": kind, "value": value}}
    return {"id": f"{entity}${name}", "mainsnak": snak, "type": "statement", "rank": rank}


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['entities']} entities, {metrics['statements']} statements in {metrics['seconds']:.0f} s; "
        f"at most {metrics['peak_memory_mib']:.0f} MiB of memory, {metrics['index_mib']:.0f} MiB on disk",
        f"{metrics['broken_lines']} lines could not be read" + (", and the end is missing" if metrics["truncated"] else ""),
        *metrics["first_broken"],
    ]
    if "lookup_ms_median" in metrics:
        lines.append(
            f"a look-up takes {metrics['lookup_ms_median']:.3f} ms (99 %: {metrics['lookup_ms_p99']:.3f}), "
            f"an entity's facts {metrics['facts_ms_median']:.3f} ms"
        )
    return "\n".join(lines)
