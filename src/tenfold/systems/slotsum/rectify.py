"""Facts corrected by a knowledge base: slots with their predictions come in, decisions with reasons go out (section 4).

    discard, keep, predict   the knowledge base's value; without one: delete the slot, show its name, the prediction
    allpredict               the prediction, always
    verify                   the prediction if it says what the knowledge base says, else the base's value in its words

Only a value that is certainly different is replaced. Of several values of best rank any one is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tenfold.systems.slotsum.dates import MONTHS
from tenfold.systems.slotsum.derive import ORDINAL, YEAR, has_digit
from tenfold.systems.slotsum.knowledge import Fact, Statement, label_of, match_key
from tenfold.systems.slotsum.provenance import DocSpan, StatementRef, pointer
from tenfold.systems.slotsum.relations import Relation, relate
from tenfold.systems.slotsum.templates import ANONYMOUS, Slot, Template
from tenfold.systems.slotsum.tokens import STOP_WORDS, words
from tenfold.systems.slotsum.trimming import Discard, without
from tenfold.systems.slotsum.values import NUMBER_WORDS, SCALES, clean, parse_value
from tenfold.systems.slotsum.verbalise import Lang, verbalise

Strategy = Literal["discard", "keep", "predict", "allpredict", "verify"]
Action = Literal["kept", "corrected", "filled", "predicted", "unsupported", "discarded", "missing"]


@dataclass(frozen=True)
class Prediction:
    """What a filler says for a slot, and where it read it; no value where it found none."""

    value: str | None
    evidence: tuple[DocSpan, ...] = ()


@dataclass(frozen=True)
class Decision:
    """What became of a slot: the text that stands there now (None: nothing), why, and both values."""

    slot: Slot
    action: Action
    surface: str | None
    reason: str
    predicted: str | None = None
    known: tuple[str, ...] = ()
    relation: Relation | None = None
    source: DocSpan | StatementRef | None = None
    evidence: tuple[DocSpan, ...] = ()

    @property
    def row(self) -> dict[str, Any]:
        """The decision as plain JSON."""
        plain = {name: getattr(self, name) for name in ("action", "surface", "reason", "predicted", "relation")}
        pointers = [pointer(span) for span in self.evidence]
        return {
            "slot": self.slot.marker,
            **plain,
            "known": [*self.known],
            "source": pointer(self.source),
            "evidence": pointers,
        }


@dataclass(frozen=True)
class Rectified:
    """A corrected text, the template that is left of the one that came in, and a decision per slot of the latter."""

    text: str
    template: Template
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class Rules:
    """How to decide: the strategy, what to do with a slot of which nothing is known, and the language."""

    strategy: Strategy = "verify"
    unknown: Literal["discard", "keep", "hedge"] = "discard"
    discard: Discard = "clause"
    lang: Lang = "en"
    needs_evidence: bool = True
    """With `verify`, a prediction that the base says nothing about stands only where a document says it."""


MOST_EXTRA, MOST_WORDS_OF_NUMBER = 3, 6
SAYING_NUMBERS = frozenset(NUMBER_WORDS) | frozenset(SCALES) | frozenset(MONTHS)
HEDGES = {"en": "an unknown {label}", "zh": "未知{label}"}


def rectify(
    template: Template,
    predictions: Sequence[Prediction],
    facts: Sequence[Fact],
    *,
    entity: str = "",
    rules: Rules | None = None,
) -> Rectified:
    """Decides on every slot, one prediction each, and renders the text.

    Raises:
        ConfigError: there are more or fewer predictions than slots.
    """
    rules = rules or Rules()
    template.check_count(len(predictions))
    decisions: list[Decision] = []
    for slot, prediction in zip(template.slots, predictions, strict=True):
        fact = _fact_of(slot, facts)
        decisions.append(_decide(slot, prediction, fact, _Context(entity, rules, tuple(decisions))))
    gone = [decision.surface is None for decision in decisions]
    left = without(template, gone, rules.discard)
    surfaces = [decisions[place].surface or "" for place in left.kept]
    return Rectified(left.template.render(surfaces), left.template, tuple(_marked(decisions, left.kept)))


@dataclass(frozen=True)
class _Context:
    entity: str
    rules: Rules
    earlier: tuple[Decision, ...]


def _fact_of(slot: Slot, facts: Sequence[Fact]) -> Fact | None:
    """Anonymous slots and ordinals of a schema's keys have no key in a base; a year inside a value belongs to that value."""
    if slot.key.startswith(ANONYMOUS) or ORDINAL.fullmatch(slot.key):
        return None
    return match_key(slot.key, facts) or match_key(slot.key.removesuffix(".year"), facts)


def _decide(slot: Slot, prediction: Prediction, fact: Fact | None, context: _Context) -> Decision:
    rules = context.rules
    best = fact.best if fact else []
    decision = Decision(
        slot,
        "predicted",
        prediction.value,
        "",
        prediction.value,
        tuple(one.value for one in best),
        evidence=prediction.evidence,
    )
    if rules.strategy == "allpredict" or not best:
        return _unknown_to_base(decision, rules)
    assert fact is not None
    if rules.strategy == "verify" and prediction.value is not None:
        return _verified(decision, fact, best, context)
    return _from_base(decision, "filled", "the knowledge base has the key", fact, best, context)


def _verified(decision: Decision, fact: Fact, best: Sequence[Statement], context: _Context) -> Decision:
    assert decision.predicted is not None
    if not _is_answer(decision.predicted, best):
        return _from_base(decision, "filled", "what was read is no value of that kind", fact, best, context)
    comparable = [one for one in best if _is_comparable(decision.predicted, one.value)] or best
    said = [(relation_to(decision.predicted, one), one) for one in comparable]
    for relation, one in said:
        if relation in ("equal", "compatible") and rambles(decision.predicted, one.value):
            reason = "it says the value, and much besides"
            return _from_base(replace(decision, relation=relation), "corrected", reason, fact, best, context)
        if relation in ("equal", "compatible"):
            source = StatementRef(context.entity, fact.key, one.id, one.rank)
            reason = "the knowledge base says the same"
            return replace(decision, action="kept", reason=reason, relation=relation, source=source)
    if all(relation == "different" for relation, _ in said):
        reason = f"the knowledge base says {best[0].value!r}"
        return _from_base(replace(decision, relation="different"), "corrected", reason, fact, best, context)
    reason = "cannot be told from what the knowledge base says"
    return replace(decision, action="kept", reason=reason, relation="unknown", source=first(decision.evidence))


def _from_base(
    decision: Decision, action: Action, reason: str, fact: Fact, best: Sequence[Statement], context: _Context
) -> Decision:
    """The first value that no earlier slot of this key says, in the words of the place."""
    taken = [one.surface for one in context.earlier if one.slot.key == decision.slot.key and one.surface]
    fresh = [one for one in best if not any(relation_to(surface, one) in ("equal", "compatible") for surface in taken)]
    chosen = (fresh or best)[0]
    value = parse_value(chosen.value)
    if decision.slot.key.endswith(".year") and not fact.key.endswith(".year"):
        year = next(iter(YEAR.findall(chosen.value)), None)
        value = parse_value(year) if year else value
    surface = verbalise(value, decision.predicted or "", context.rules.lang)
    source = StatementRef(context.entity, fact.key, chosen.id, chosen.rank)
    return replace(decision, action=action, surface=surface, reason=reason, source=source)


def _unknown_to_base(decision: Decision, rules: Rules) -> Decision:
    """The prediction where it may stand, else what the rules say."""
    has_value = decision.predicted is not None
    is_supported = bool(decision.evidence) or not rules.needs_evidence
    if has_value and (rules.strategy in ("predict", "allpredict") or (rules.strategy == "verify" and is_supported)):
        action: Action = "predicted" if is_supported else "unsupported"
        return replace(decision, action=action, reason="read in a document" if decision.evidence else "predicted",
                       source=first(decision.evidence))  # fmt: skip
    reason = "no value is known" if not has_value else "no document and no knowledge base says it"
    label = label_of(decision.slot.key.lstrip(ANONYMOUS))
    if rules.strategy == "keep" or (rules.strategy == "verify" and rules.unknown == "keep"):
        return replace(decision, action="missing", surface=label, reason=reason)
    if rules.strategy == "verify" and rules.unknown == "hedge":
        return replace(decision, action="missing", surface=HEDGES[rules.lang].format(label=label), reason=reason)
    return replace(decision, action="discarded", surface=None, reason=reason)


def _is_answer(said: str, best: Sequence[Statement]) -> bool:
    """Whether a text may answer at all: where the base's values are dates and numbers, it must hold one, and not
    much else."""
    kinds = {parse_value(one.value).kind for one in best}
    if not kinds <= {"date", "quantity"} or parse_value(said).kind in kinds:
        return True
    return len(words(said)) <= MOST_WORDS_OF_NUMBER and (has_digit(said) or bool(set(words(said)) & SAYING_NUMBERS))


def rambles(said: str, value: str) -> bool:
    """Whether a prediction holds the value's words and at least as many others, three or more: a filler that read on
    too far."""
    wanted, given = (set(words(clean(text))) - STOP_WORDS for text in (value, said))
    extra = given - wanted
    return wanted <= given and len(extra) >= max(len(wanted), MOST_EXTRA)


def _is_comparable(said: str, value: str) -> bool:
    """Whether both are dates, both numbers, or both names; a key of several values may hold more than one kind."""
    kinds = [parse_value(text).kind for text in (said, value)]
    return kinds[0] == kinds[1] or not {*kinds} & {"date", "quantity"}


def relation_to(said: str, statement: Statement) -> Relation:
    """How a text relates to a statement's value or one of its aliases."""
    relations: list[Relation] = [
        relate(parse_value(said), parse_value(name)) for name in (statement.value, *statement.aliases)
    ]
    return min(relations, key=("equal", "compatible", "unknown", "different").index)


def first(spans: Sequence[DocSpan]) -> DocSpan | None:
    return spans[0] if spans else None


def _marked(decisions: Sequence[Decision], kept: Sequence[int]) -> list[Decision]:
    """A slot that went with its clause is discarded too."""
    places = set(kept)
    return [
        one
        if place in places or one.surface is None
        else replace(one, action="discarded", surface=None, reason="its clause went")
        for place, one in enumerate(decisions)
    ]
