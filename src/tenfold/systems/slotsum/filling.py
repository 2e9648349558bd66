"""The verb `fill`: what stands in each slot of entities, read from their documents."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.slotsum.entities import OWN, load_entities
from tenfold.systems.slotsum.fill import FillMode, SlotFiller, open_filler
from tenfold.systems.slotsum.provenance import Evidence
from tenfold.systems.slotsum.running import left, names_of
from tenfold.systems.slotsum.shortening import shortened
from tenfold.systems.slotsum.templates import Slot


class FillConfig(Config):
    """Say what stands in each slot, from documents, with the place of each value."""

    data: str = OWN
    """Entities with documents; their keys are the slots."""
    limit: int | None = Field(None, ge=1)
    """Only the first entities."""
    filler: str = "smollm2"
    """Reads the values: a model as for `run`."""
    mode: FillMode = "rank"
    """copy (best after training), rank or free for a local model; chat for any."""


def fill(config: FillConfig, run: Run) -> Metrics:
    """The slots of each entity that the run does not hold yet."""
    entities = load_entities(config.data)[: config.limit]
    filler: SlotFiller | None = None
    for entity in left(entities, run, "Entities"):
        filler = filler or open_filler(config.filler, config.mode)
        slots = [Slot(key) for key in names_of(entity)]
        documents = shortened(entity.documents, entity.title)
        filled = filler.fill(entity.title, slots, documents)
        evidence = Evidence(entity.documents)
        values = {
            slot.key: {
                "value": one.value,
                "evidence": [vars(span) for span in one.evidence],
                "valid": all(evidence.is_valid(span, one.value or "") for span in one.evidence),
            }
            for slot, one in zip(slots, filled.predictions, strict=True)
        }
        counts = {"encoded_tokens": filled.encoded_tokens, "separate_tokens": filled.separate_tokens}
        run.add(entity.key, {"title": entity.title, "values": values, **counts})
    return _metrics(list(run.rows.values()))


def _metrics(rows: Sequence[dict[str, Any]]) -> Metrics:
    values = [value for row in rows for value in row["values"].values()]
    given = [value for value in values if value["value"] is not None]
    encoded, separate = (sum(row[name] for row in rows) for name in ("encoded_tokens", "separate_tokens"))
    return {
        "entities": len(rows),
        "slots": len(values),
        "filled": len(given),
        "supported": sum(bool(value["evidence"]) for value in given),
        "pointers": sum(len(value["evidence"]) for value in given),
        "valid_pointers": sum(len(value["evidence"]) for value in given if value["valid"]),
        "encoded_tokens": encoded,
        "fewer_tokens": separate / encoded if encoded else None,
    }


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    fewer = f"{metrics['fewer_tokens']:.1f}" if metrics["fewer_tokens"] else "?"
    return (
        f"{metrics['filled']} of {metrics['slots']} slots filled, {metrics['supported']} with a place in a document\n"
        f"{metrics['valid_pointers']} of {metrics['pointers']} pointers are valid; {fewer} times fewer tokens encoded"
    )
