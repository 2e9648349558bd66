"""One labelled pair, and the two parts of a set: what every module of the guard speaks of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Label = Literal["safe", "unsafe", "controversial"]
LABELS: tuple[Label, ...] = ("safe", "unsafe", "controversial")


@dataclass(frozen=True)
class Item:
    """One labelled pair; items of one group share a context or a question and are never split."""

    key: str
    query: str
    response: str
    label: Label
    category: str
    group: str
    lang: Literal["en", "zh"] = "en"
    loose: str = ""
    """A rule of its own under which it is safe, if the set brings one."""
    strict: str = ""
    """And one under which it is unsafe."""

    @property
    def text(self) -> str:
        """What a detector without a prompt reads."""
        return f"{self.query}\n{self.response}" if self.query else self.response


@dataclass(frozen=True)
class Split:
    """Items to learn from and items to be judged on; no group of `unseen` occurs in `train`."""

    train: Sequence[Item]
    test: Sequence[Item]

    @property
    def unseen(self) -> frozenset[str]:
        """Groups of the test part that training never saw."""
        return frozenset(item.group for item in self.test) - {item.group for item in self.train}
