"""The arms of a comparison: what is trained, on equal original tokens, steps and order; and what each sees while training.

    base          no training                       sr           the method
    lora          the same adapter, no sentinels    sr-causal    sentinels under the ordinary causal mask
    lora+4%       and as many tokens as the         sr-random    sentinels at random places, equally many
                  expanded text has                 sr-inline    the sentinel predicts, at sentence marks
    streaming     first tokens and a window         sr-own       sentinels with positions of their own
    separators    these, and punctuation is kept

The mixture per text: 45 % everything visible, 35 % in a window, 20 % plain text without sentinels.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tenfold.core.errors import ConfigError
from tenfold.core.registry import Registry
from tenfold.core.seeds import derive
from tenfold.systems.sentinel.collate import Example
from tenfold.systems.sentinel.data import Window
from tenfold.systems.sentinel.layout import Layout, insert, plain
from tenfold.systems.sentinel.rules import Rule
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

SHARE_ALL, SHARE_WINDOW = 0.45, 0.35
SENTENCE_MARKS = "punct:.!?…。！？"
SEPARATORS = frozenset(".,?!;: \t\n")
"""Characters of which a separator token consists (SepLLM's own list)."""


@dataclass(frozen=True)
class Arm:
    """One arm. `changes` turn the settings of `sr` into its own; None: it has no sentinels."""

    name: str
    title: str
    changes: dict[str, Any] | None = None
    stretch: float = 1.0
    """Original tokens of a window, relative to the others' (lora+4%)."""
    peer: Literal["none", "streaming", "separators"] = "none"
    """Under which mask its windows are trained, where there are no sentinels."""
    is_trained: bool = True
    views: tuple[str, ...] = field(default=("main",))
    """How it is measured: main, and plain (without sentinels)."""


ARMS = {
    arm.name: arm
    for arm in (
        Arm("base", "no training", is_trained=False),
        Arm("lora", "LoRA"),
        Arm("lora+4%", "LoRA, as many tokens as with sentinels", stretch=1.04),
        Arm("sr", "sentinels", {}, views=("main", "plain")),
        Arm("sr-causal", "sentinels, causal mask", {"scope": "causal"}),
        Arm("sr-random", "sentinels at random places", {"chunker": "random"}),
        Arm("sr-inline", "sentinels that predict (inline)", {"mode": "inline", "chunker": SENTENCE_MARKS}),
        Arm("sr-own", "sentinels with own positions", {"position": "own"}),
        Arm("streaming", "first tokens and window", peer="streaming"),
        Arm("separators", "first tokens, window, punctuation", peer="separators"),
    )
}


def arm(name: str) -> Arm:
    """An arm by name; UnknownNameError with the nearest names if there is none."""
    Registry("arm", dict.fromkeys(ARMS, "")).check(name)
    return ARMS[name]


def arm_config(chosen: Arm, sentinel: SentinelConfig, mean_chunk: float) -> SentinelConfig | None:
    """The settings of an arm's sentinels, or None. `mean_chunk`: tokens in a chunk of the arm `sr`, for random places."""
    if chosen.changes is None:
        return None
    changes = dict(chosen.changes)
    if changes.get("chunker") == "random":
        changes["chunker"] = f"random:{mean_chunk:.2f}"
    return sentinel.changed(**changes)


def examples(
    chosen: Arm, windows: Sequence[Window], segmenter: Segmenter | None, settings: "Mixture", pieces: Sequence[bytes]
) -> list[Example]:
    """Training rows of an arm, one per window; what each window is shown under depends on its number and the seed alone."""
    return [_example(chosen, window, segmenter, settings.draw(number), pieces) for number, window in enumerate(windows)]


@dataclass(frozen=True)
class Draw:
    """What one training text is shown under."""

    kind: Literal["all", "window", "plain"]
    rule: Rule


@dataclass(frozen=True)
class Mixture:
    """How often each kind comes, and which windows are drawn."""

    seed: int
    windows: tuple[int, ...]
    n_sink: int
    block: int
    scope: Any
    hierarchy: bool = False

    def draw(self, number: int) -> Draw:
        generator = random.Random(derive(self.seed, "mixture", number))
        chance, window = generator.random(), generator.choice(self.windows)
        kind = "all" if chance < SHARE_ALL else "window" if chance < SHARE_ALL + SHARE_WINDOW else "plain"
        raw = "window" if kind == "window" else "all"
        return Draw(kind, Rule(self.scope, raw, window, self.n_sink, self.block, self.hierarchy))


def separators(ids: Sequence[int], pieces: Sequence[bytes]) -> tuple[bool, ...]:
    """Which tokens are separators: nothing but punctuation and white space."""
    return tuple(bool(pieces[token]) and set(pieces[token].decode(errors="replace")) <= SEPARATORS for token in ids)


def mean_chunk(layouts: Sequence[Layout]) -> float:
    """Original tokens for each sentinel.

    Raises:
        ConfigError: there is no sentinel.
    """
    if not any(layout.num_sentinels for layout in layouts):
        raise ConfigError("the texts have no boundary under this chunker; take another one, for example chunker=fixed:32")
    tokens = sum(len(layout) - layout.num_sentinels for layout in layouts)
    return tokens / sum(layout.num_sentinels for layout in layouts)


def _example(chosen: Arm, window: Window, segmenter: Segmenter | None, draw: Draw, pieces: Sequence[bytes]) -> Example:
    if segmenter is not None:
        if draw.kind == "plain":
            return Example(plain(window.ids), Rule())
        return Example(insert(window.ids, segmenter), draw.rule)
    if chosen.peer == "none" or draw.kind != "window":
        return Example(plain(window.ids), Rule())
    kept = separators(window.ids, pieces) if chosen.peer == "separators" else (False,) * len(window.ids)
    return Example(plain(window.ids), draw.rule, kept)
