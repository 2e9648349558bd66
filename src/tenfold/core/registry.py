"""Names that stand for code: a registry of lazy `module:attribute` strings.

Nothing is imported until a name is loaded, so that listing names costs nothing; a wrong name is answered with
the nearest right ones.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from tenfold.core.errors import UnknownNameError


def load_target(target: str) -> Any:
    """Imports `package.module:attribute` and returns the attribute."""
    module, _, attribute = target.partition(":")
    return getattr(import_module(module), attribute)


class Registry:
    """A fixed mapping of names to lazy targets; `kind` is the noun used in error messages."""

    def __init__(self, kind: str, targets: Mapping[str, str]) -> None:
        self.kind = kind
        self.targets = dict(targets)

    def __iter__(self) -> Iterator[str]:
        return iter(self.targets)

    def __contains__(self, name: object) -> bool:
        return name in self.targets

    def check(self, name: str) -> str:
        """Returns `name`, or raises UnknownNameError with the nearest names."""
        if name not in self.targets:
            raise UnknownNameError(self.kind, name, self.targets)
        return name

    def load(self, name: str) -> Any:
        """Imports and returns what `name` stands for; UnknownNameError if it stands for nothing."""
        return load_target(self.targets[self.check(name)])
