"""Rule mixing (the paper's section 3, its code for the details): a training item meets rules that do not concern it.

With K types and e = 1 for an item that has a type: draw n in {0..K-e}, P(0) = 1/2, P(j) = 1/(2(K-e)) for j >= 1; n other
types without replacement, from each a random loose or strict rule with equal chances; add the item's own rule, loose if its
label is safe and strict otherwise; shuffle; number from 1. "rule 1" in the text to learn becomes the own rule's new number.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.items import Label
from tenfold.systems.shieldlm.rules import POLARITIES, Polarity, RulePack

OWN_IN_TEXT = re.compile(r"\b(rule )1\b|(规则)1(?!\d)", re.IGNORECASE)


@dataclass(frozen=True)
class Mixed:
    """Rules in their new order, the text to learn with the own rule's new number, and where that rule stands."""

    rules: tuple[str, ...]
    target: str
    own: int | None
    """Its number, from 1; None without an own rule."""


def mix_rules(
    label: Label,
    pack: RulePack,
    draw: Random,
    *,
    type_: str | None = None,
    own: str | None = None,
    target: str = "",
    near: Sequence[str] = (),
    most: int | None = None,
) -> Mixed:
    """Rules for one item.

    Args:
        type_: the item's type, whose own rule is added; None for an item without one.
        own: the own rule's sentence; drawn from the pack if left out.
        target: the text to learn, which names the own rule as rule 1.
        near: types that could apply to the item and are therefore left out (ours; the paper does not look).
        most: at most this many other rules (ours, for short prompts).

    Raises:
        ConfigError: the pack has no rule of the item's type and polarity.
    """
    others = [name for name in pack.types if name != type_ and name not in near]
    chosen = draw.sample(others, _number(len(others), draw, most))
    rules = [draw.choice(pack.pool(name, _polarity(pack, name, draw))) for name in chosen]
    if type_ is None and own is None:
        draw.shuffle(rules)
        return Mixed(tuple(rules), target, None)
    sentence = own or _own(pack, type_, "loose" if label == "safe" else "strict", draw)
    place = draw.randrange(len(rules) + 1)
    draw.shuffle(rules)
    rules.insert(place, sentence)
    return Mixed(tuple(rules), OWN_IN_TEXT.sub(lambda found: f"{found[1] or found[2]}{place + 1}", target), place + 1)


def _number(num_others: int, draw: Random, most: int | None) -> int:
    """How many other rules: none with probability 1/2, else each number alike."""
    most = num_others if most is None else min(most, num_others)
    return 0 if most == 0 or draw.random() < 0.5 else draw.randint(1, most)


def _polarity(pack: RulePack, type_: str, draw: Random) -> Polarity:
    chosen: Polarity = "loose" if draw.random() < 0.5 else "strict"
    return chosen if pack.pool(type_, chosen) else POLARITIES[1 - POLARITIES.index(chosen)]


def _own(pack: RulePack, type_: str | None, polarity: Polarity, draw: Random) -> str:
    pool = pack.pool(type_ or "", polarity)
    if not pool:
        raise ConfigError(f"pack {pack.id} has no {polarity} rule of type {type_!r}; add one or give the rule")
    return draw.choice(pool)
