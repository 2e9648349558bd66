"""The verb `inject`: errors planted in texts whose facts are known; are they found, are they corrected, is nothing
else touched?"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.core.seeds import derive as derive_seed
from tenfold.evals.statistics import wilson
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.slotsum.align import Span
from tenfold.systems.slotsum.data import Example, load_examples
from tenfold.systems.slotsum.derive import Derivation, derive_template
from tenfold.systems.slotsum.flagging import flag
from tenfold.systems.slotsum.inject import KINDS, Planted, Pool, inject_errors
from tenfold.systems.slotsum.knowledge import box_facts, pairs_box
from tenfold.systems.slotsum.provenance import supports
from tenfold.systems.slotsum.rectify import Decision, Prediction, Rules, rectify

RULES = Rules(strategy="verify", needs_evidence=False)


class InjectConfig(Config):
    """Plant errors in texts, and measure whether rectification finds them, corrects them, and leaves the rest alone."""

    data: str = "webnlg-dev"
    """Texts: lines of {"text", "facts"}, or Enriched WebNLG as JSON lines (also .gz)."""
    rate: float = Field(0.3, gt=0, le=1)
    """Share of the slots that get an error."""
    restated: float = Field(0.5, ge=0, le=1)
    """Share of the other slots that are written in an equivalent form, to tempt false edits."""
    limit: int | None = Field(None, ge=1)
    """Only the first texts."""
    seed: int = 0
    """Of what is planted where."""


def inject(config: InjectConfig, run: Run) -> Metrics:
    """Plants and corrects in the texts that the run does not hold yet, then sums up all of them.

    Raises:
        ConfigError: no slot could be given an error.
    """
    examples = load_examples(config.data)[: config.limit]
    pool = Pool([example.facts for example in examples])
    todo = [example for example in examples if example.key not in run.rows]
    for example in track(todo, "Texts", done=len(examples) - len(todo)):
        run.add(example.key, _row(example, pool, config))
    rows = [run.rows[example.key] for example in examples]
    if not any(row["slots"] for row in rows):
        raise ConfigError(f"{config.data} has no slot that could be given an error; give texts with facts")
    return _metrics(rows)


def _row(example: Example, pool: Pool, config: InjectConfig) -> dict[str, Any]:
    derived = derive_template(example.text, example.facts)
    seed = derive_seed(config.seed, example.key)
    planted = inject_errors(derived, example.facts, pool, rate=config.rate, restated=config.restated, seed=seed)
    predictions = [Prediction(surface) for surface in planted.surfaces]
    facts = box_facts(pairs_box(example.facts))
    result = rectify(derived.template, predictions, facts, rules=RULES)
    slots = [
        _slot(*parts, _values_of(parts[0].key, example))
        for parts in zip(derived.spans, planted.surfaces, planted.marks, result.decisions, strict=True)
    ]
    return {"slots": [slot for slot in slots if slot], "text": _flat(derived, planted, example)}


def _values_of(key: str, example: Example) -> list[str]:
    return [value for name, value in example.facts if name == key]


def _slot(span: Span, surface: str, mark: str | None, decision: Decision, true: Sequence[str]) -> dict[str, Any] | None:
    """What happened to one slot of a fact; nothing to say of anonymous ones. Any of several true values is right."""
    if not span.value:
        return None
    after = decision.surface or ""
    return {
        "key": span.key,
        "mark": mark,
        "gold": span.value,
        "before": surface,
        "after": after,
        "flagged": decision.action == "corrected",
        "right": after != surface and any(supports(after, value) for value in true),
        "touched": after != surface,
    }


def _flat(derived: Derivation, planted: Planted, example: Example) -> dict[str, int]:
    """Tier `text`: the planted errors among the suspicious spans of the flat text."""
    text, places = _rendered(derived, planted.surfaces)
    flags = flag(text, example.facts)
    wrong = [(place, span) for place, span, mark in zip(places, derived.spans, planted.marks, strict=True) if mark in KINDS]
    hits = [[one for one in flags if one.start < end and start < one.end] for (start, end), _ in wrong]
    fixed = [
        any(one.correction and supports(one.correction, span.value) for one in found)
        for found, (_, span) in zip(hits, wrong, strict=True)
    ]
    errors = [place for place, _ in wrong]
    false = [one for one in flags if not any(one.start < end and start < one.end for start, end in errors)]
    return {
        "errors": len(wrong),
        "found": sum(map(bool, hits)),
        "fixed": sum(fixed),
        "flags": len(flags),
        "false": len(false),
    }


def _rendered(derived: Derivation, surfaces: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """The text, and where each surface stands in it."""
    text = derived.template.render(surfaces)
    places: list[tuple[int, int]] = []
    shift = 0
    for span, surface in zip(derived.spans, surfaces, strict=True):
        start = span.start + shift
        places.append((start, start + len(surface)))
        shift += len(surface) - (span.end - span.start)
    return text, places


def _metrics(rows: Sequence[Mapping[str, Any]]) -> Metrics:
    slots = [slot for row in rows for slot in row["slots"]]
    wrong = [slot for slot in slots if slot["mark"] in KINDS]
    untouched = [slot for slot in slots if slot["mark"] not in KINDS]
    texts = {name: sum(row["text"][name] for row in rows) for name in ("errors", "found", "fixed", "flags", "false")}
    return {
        "texts": len(rows),
        "injected": len(wrong),
        "localisation": _share([slot["flagged"] for slot in wrong]),
        "localisation_interval": _interval([slot["flagged"] for slot in wrong]),
        "rectification": _share([slot["right"] for slot in wrong]),
        "rectification_interval": _interval([slot["right"] for slot in wrong]),
        "false_edits": sum(slot["touched"] for slot in untouched),
        "untouched": len(untouched),
        "restated": sum(slot["mark"] == "restated" for slot in untouched),
        "by_kind": {kind: _of_kind([slot for slot in wrong if slot["mark"] == kind]) for kind in KINDS},
        "text_localisation": texts["found"] / texts["errors"] if texts["errors"] else None,
        "text_rectification": texts["fixed"] / texts["errors"] if texts["errors"] else None,
        "text_flag_precision": 1 - texts["false"] / texts["flags"] if texts["flags"] else None,
    }


def _of_kind(slots: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "injected": len(slots),
        "localisation": _share([slot["flagged"] for slot in slots]),
        "rectification": _share([slot["right"] for slot in slots]),
    }


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _interval(hits: Sequence[bool]) -> list[float] | None:
    return wilson(sum(hits), len(hits)).interval if hits else None


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    found, fixed = (f"{metrics[key]:.1%}" if metrics[key] is not None else "?" for key in ("localisation", "rectification"))
    flat = metrics["text_localisation"]
    return "\n".join(
        [
            f"{metrics['injected']} errors planted in {metrics['texts']} texts: {found} found, {fixed} corrected",
            f"{metrics['false_edits']} of {metrics['untouched']} right slots changed; "
            f"{metrics['restated']} of these were written in other words",
            f"in flat text, without the template: {flat:.1%} found" if flat is not None else "no errors in flat text",
        ]
    )
