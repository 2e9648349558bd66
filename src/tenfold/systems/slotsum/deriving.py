"""The verb `derive`: one template per text; with `eval`, its spans against the gold references of Enriched WebNLG."""

from collections.abc import Sequence
from typing import Any

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.slotsum.data import Example, load_examples
from tenfold.systems.slotsum.derive import build, derive_template, has_digit
from tenfold.systems.slotsum.spans import count, count_kinds


class DeriveConfig(Config):
    """Derive a template from each text and its facts."""

    data: str = "webnlg-dev"
    """Texts: lines of {"text", "facts"}, or Enriched WebNLG as JSON lines (also .gz)."""
    eval: bool = False
    """Measure spans against gold references; only Enriched WebNLG holds them."""


def derive(config: DeriveConfig, run: Run) -> Metrics:
    """Derives the templates that the run does not hold yet, then sums up all of them.

    Raises:
        ConfigError: `eval` was asked for and no text has gold references.
    """
    examples = load_examples(config.data)
    if config.eval and not any(example.gold for example in examples):
        raise ConfigError(f"{config.data} holds no gold references; give Enriched WebNLG, or leave out eval")
    todo = [example for example in examples if example.key not in run.rows]
    for example in track(todo, "Templates", done=len(examples) - len(todo)):
        run.add(example.key, _row(example))
    rows = [run.rows[example.key] for example in examples]
    return _metrics(rows) | (_against_gold(rows) if config.eval else {})


def _row(example: Example) -> dict[str, Any]:
    derived = derive_template(example.text, example.facts)
    named = [span for span in derived.spans if span.value]
    counts = count(example.text, derived.spans, example.gold)
    return {
        "template": str(derived.template),
        "surfaces": list(derived.surfaces),
        "lossless": derived.template.render(derived.surfaces) == example.text,
        "digit_before": has_digit(build(example.text, named).template.prose),
        "digit_after": has_digit(derived.template.prose),
        "kinds": count_kinds(example.text, derived.spans, example.gold),
        **vars(counts),
    }


def _metrics(rows: Sequence[dict[str, Any]]) -> Metrics:
    return {
        "texts": len(rows),
        "slots": sum(len(row["surfaces"]) for row in rows),
        "lossless": _share(sum(row["lossless"] for row in rows), len(rows)),
        "digit_leak": _share(sum(row["digit_after"] for row in rows), len(rows)),
        "digit_leak_before_anonymous_slots": _share(sum(row["digit_before"] for row in rows), len(rows)),
    }


def _against_gold(rows: Sequence[dict[str, Any]]) -> Metrics:
    """`precision` leaves out spans whose entity has no gold reference there (adjudicated); the raw one counts them wrong."""
    right, wrong, unjudged, entities, found = (
        sum(row[name] for row in rows) for name in ("right", "wrong", "unjudged", "entities", "found")
    )
    return {
        "precision": _share(right, right + wrong),
        "precision_raw": _share(right, right + wrong + unjudged),
        "entity_recall": _share(found, entities),
        "gold_entities": entities,
        "precision_by_kind": {
            kind: _share(*_summed(rows, kind)) for kind in sorted({key for row in rows for key in row["kinds"]})
        },
    }


def _summed(rows: Sequence[dict[str, Any]], kind: str) -> tuple[int, int]:
    right, judged = (sum(row["kinds"].get(kind, (0, 0))[place] for row in rows) for place in (0, 1))
    return right, judged


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    before = metrics["digit_leak_before_anonymous_slots"]
    lines = [
        f"{metrics['texts']} templates, {metrics['slots']} slots; {metrics['lossless']:.1%} give their text back exactly",
        f"{metrics['digit_leak']:.1%} have a digit outside slots ({before:.1%} by facts alone)",
    ]
    if "precision" in metrics:
        precision, recall = (
            f"{metrics[key]:.3f}" if metrics[key] is not None else "unknown" for key in ("precision", "entity_recall")
        )
        lines.append(f"precision {precision} where annotators marked the entity, entity recall {recall}")
    return "\n".join(lines)
