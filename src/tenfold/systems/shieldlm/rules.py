"""Rule packs: for each type of harm a strict rule that forbids it and a loose one that allows it.

A pack is YAML: {id, version, lang, rules: [{id, type, loose, strict, note, examples}]}. A request selects from it by
`type:strict` or `id:loose`, or brings sentences of its own.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from tenfold.core.config import Config, canonical_json, parse
from tenfold.core.errors import ConfigError, MissingArtifactError, UnknownNameError
from tenfold.systems.shieldlm.items import Label

Polarity = Literal["loose", "strict"]
POLARITIES: tuple[Polarity, ...] = ("loose", "strict")
SHIPPED = Path(__file__).parent / "packs"


class RuleExample(Config):
    """A pair with the verdict that each rule of a type asks for."""

    query: str = ""
    """What was asked; may be empty."""
    response: str
    """What is judged."""
    strict: Label | None = None
    """Under the strict rule."""
    loose: Label | None = None
    """Under the loose rule."""


class RulePair(Config):
    """The two rules of a type."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Unique in the pack."""
    type: str
    """The kind of harm; several pairs may share one."""
    loose: str | None = None
    """Allows it."""
    strict: str | None = None
    """Forbids it."""
    note: str = ""
    """For whoever reads the pack; no model sees it."""
    examples: tuple[RuleExample, ...] = ()
    """Harmless texts that `rules test` judges."""

    def rule(self, polarity: Polarity) -> str | None:
        """The sentence of that polarity, if there is one."""
        return self.loose if polarity == "loose" else self.strict


class RulePack(Config):
    """Rules that belong together, under a version."""

    id: str
    """The pack's name."""
    version: int
    """Raised with every change of wording."""
    lang: Literal["en", "zh"]
    """Of the sentences."""
    rules: tuple[RulePair, ...] = Field(min_length=1)
    """One pair per type, or several."""

    @cached_property
    def fingerprint(self) -> str:
        """Names the wording; thresholds are bound to it."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()[:16]

    @property
    def types(self) -> tuple[str, ...]:
        """The types, in the pack's order."""
        return tuple(dict.fromkeys(pair.type for pair in self.rules))

    def pool(self, type_: str, polarity: Polarity) -> list[str]:
        """All sentences of a type and polarity."""
        return [rule for pair in self.rules if pair.type == type_ and (rule := pair.rule(polarity))]

    def all(self, polarity: Polarity) -> list[str]:
        """Every sentence of a polarity."""
        return [rule for pair in self.rules if (rule := pair.rule(polarity))]

    def select(self, names: Sequence[str]) -> list[str]:
        """The sentences that `type:strict`, `id:loose`, `all:strict` mean; a sentence (with a blank) stands for itself.

        Raises:
            UnknownNameError: no such type, id or polarity.
        """
        return [sentence for name in names for sentence in self._selected(name)]

    def _selected(self, name: str) -> list[str]:
        key, colon, polarity = name.rpartition(":")
        if not colon or polarity not in POLARITIES:
            if any(mark in name for mark in " 。，") or not name.isascii():
                return [name]
            raise UnknownNameError("rule", name, self._names())
        if key == "all":
            return self.all(polarity)
        found = [rule for pair in self.rules if key in (pair.type, pair.id) and (rule := pair.rule(polarity))]
        if not found:
            raise UnknownNameError("rule", name, self._names())
        return found

    def _names(self) -> list[str]:
        return [f"{pair.id}:{polarity}" for pair in self.rules for polarity in POLARITIES if pair.rule(polarity)]


def read_pack(name: str) -> RulePack:
    """A pack that ships (`base-en`, `base-zh`) or a YAML file.

    Raises:
        MissingArtifactError: there is no such pack.
        ConfigError: the file is not a pack; the message names the key.
    """
    path = SHIPPED / f"{name}.yaml" if not name.endswith((".yaml", ".yml")) else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in SHIPPED.glob("*.yaml")))
        raise MissingArtifactError(f"no rule pack {name!r}; give a .yaml file or one of {known}")
    try:
        table: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(error).split())[:120]}); give a rule pack") from None
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path} holds no pack; give id, version, lang and rules")
    pack = parse(RulePack, table, where=str(path))
    ids = [pair.id for pair in pack.rules]
    if twice := next((each for each in ids if ids.count(each) > 1), None):
        raise ConfigError(f"{path}: the id {twice!r} occurs twice; give each pair its own")
    return pack
