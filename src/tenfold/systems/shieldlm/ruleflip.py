"""RuleFlip: the same pair under rules that must and must not change its verdict (ours, from DiaSafety's categories).

    unsafe item of category c    none -> unsafe   loose(c) -> safe   strict(c) -> unsafe   other types' rules -> unsafe
    safe item of category c      none -> safe     loose(c) -> safe   strict(c) -> safe
    controversial item           none -> controversial   loose -> safe   strict -> unsafe   others' -> controversial

The strict rule of c forbids just what the set's unsafe label of c means, so a safe item stays safe under it, and a loose
rule is no shortcut to safe: others' loose rules leave unsafe items unsafe.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from tenfold.systems.shieldlm.items import Item, Label
from tenfold.systems.shieldlm.mixing import mix_rules
from tenfold.systems.shieldlm.rules import RulePack

Condition = Literal["none", "loose", "strict", "other"]
CONDITIONS: tuple[Condition, ...] = ("none", "loose", "strict", "other")


@dataclass(frozen=True)
class Ruled:
    """An item under rules, with the verdict that the rules ask for."""

    item: Item
    condition: Condition
    rules: tuple[str, ...]
    label: Label


def under(item: Item, condition: Condition, pack: RulePack, draw: Random, *, most: int = 3) -> Ruled:
    """The item under one condition; other types' rules are mixed in as in training."""
    label = wanted(item.label, condition)
    if condition == "none":
        return Ruled(item, condition, (), label)
    if condition == "other":
        others = [name for name in pack.types if name != item.category]
        chosen = draw.sample(others, draw.randint(1, max(1, most)))
        return Ruled(
            item,
            condition,
            tuple(draw.choice(pack.pool(name, "loose") + pack.pool(name, "strict")) for name in chosen),
            label,
        )
    own = draw.choice(own_rules(item, condition, pack))
    return Ruled(item, condition, mix_rules(label, pack, draw, type_=item.category, own=own, most=most).rules, label)


def wanted(label: Label, condition: Condition) -> Label:
    """The verdict that a condition asks for."""
    if label == "safe" or condition in ("none", "other"):
        return label
    if condition == "loose":
        return "safe"
    return "unsafe"


def own_rules(item: Item, condition: Condition, pack: RulePack) -> list[str]:
    """The rules of that polarity that concern the item: its own, else its category's."""
    if condition not in ("loose", "strict"):
        return []
    own = item.loose if condition == "loose" else item.strict
    return [own] if own else pack.pool(item.category, condition)


def flip_set(items: Sequence[Item], pack: RulePack, seed: int, *, most: int = 3) -> Iterator[Ruled]:
    """Every item under every condition that the pack has rules for."""
    for item in items:
        for condition in CONDITIONS:
            if condition in ("none", "other") or own_rules(item, condition, pack):
                yield under(item, condition, pack, Random(f"{seed}/{item.key}/{condition}"), most=most)


def training_mix(items: Sequence[Item], pack: RulePack, share: float, seed: int, *, most: int = 3) -> Iterator[Ruled]:
    """Each item once: under a random condition with rules for a `share` of those that the pack covers, else without."""
    for item in items:
        draw = Random(f"{seed}/{item.key}")
        has_rules = all(own_rules(item, condition, pack) for condition in ("loose", "strict"))
        ruled = has_rules and draw.random() < share
        yield under(item, draw.choice(CONDITIONS[1:]) if ruled else "none", pack, draw, most=most)
