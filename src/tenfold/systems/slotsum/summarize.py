"""The whole method: documents and a knowledge base come in; a text whose every fact has a source or is left out goes out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tenfold.core.errors import ConfigError
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.fill import Filled, SlotFiller
from tenfold.systems.slotsum.generate import TemplateGenerator, Written
from tenfold.systems.slotsum.knowledge import Fact, KnowledgeBase, Statement, label_of
from tenfold.systems.slotsum.rectify import Rectified, Rules, rectify
from tenfold.systems.slotsum.shortening import shortened
from tenfold.systems.slotsum.templates import ANONYMOUS, Slot, Template, Text
from tenfold.systems.slotsum.values import clean


@dataclass(frozen=True)
class Summary:
    """A grounded text and everything that led to it."""

    title: str
    text: str
    written: Written
    filled: Filled
    rectified: Rectified
    documents: tuple[Document, ...]
    entity: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """The summary as plain JSON."""
        return {
            "title": self.title,
            "text": self.text,
            "template": str(self.written.template),
            "guarantee": self.written.guarantee,
            "guarantee_by": self.written.guarantee_by,
            "is_listing": self.written.is_listing,
            "slots": [decision.row for decision in self.rectified.decisions],
            "entity": self.entity,
            "documents": [vars(document) for document in self.documents],
            "encoded_tokens": self.filled.encoded_tokens,
            "separate_tokens": self.filled.separate_tokens,
        }


@dataclass(frozen=True)
class Method:
    """Who writes the template, who fills it, and how it is corrected."""

    generator: TemplateGenerator
    filler: SlotFiller
    rules: Rules = field(default_factory=Rules)


def summarize(
    title: str,
    documents: Sequence[Document],
    method: Method,
    *,
    knowledge: KnowledgeBase | None = None,
    keys: Sequence[str] = (),
    entity: str | None = None,
) -> Summary:
    """A text about `title`, from its documents, corrected by what a knowledge base says of it.

    Keys default to those of the knowledge base.

    Raises:
        ConfigError: nobody says which keys there are, or several entities answer to the title.
    """
    lang = method.rules.lang
    found = entity if entity is not None else _entity(title, knowledge, lang)
    facts = knowledge.facts(found, lang) if knowledge and found else []
    names = list(dict.fromkeys([*keys, *(fact.key for fact in facts if not keys)]))
    if not names:
        raise ConfigError(f"no keys for {title!r}; give keys, or a knowledge base that has the entity")
    read = shortened(documents, title)
    values = [one.value for fact in facts for one in fact.values] + [clean(title)]
    written = method.generator.generate(title, ["title", *(name for name in names if name != "title")], values=values)
    if not says_something(written.template):
        plain = listing(names, lang)
        written = replace(written, template=plain, guarantee=None, guarantee_by="none", is_listing=True)
    filled = method.filler.fill(title, written.template.slots, read)
    known = [*facts, *_title_fact(title, facts)]
    rectified = rectify(written.template, filled.predictions, known, entity=found or "", rules=method.rules)
    return Summary(title, tidy(rectified.text), written, filled, rectified, tuple(documents), found or "")


def says_something(template: Template) -> bool:
    """Whether a template has a slot beside the title; a model that was not trained may write none."""
    return any(slot.key != "title" and not slot.key.startswith(ANONYMOUS) for slot in template.slots)


def listing(keys: Sequence[str], lang: str = "en") -> Template:
    """The plainest template there is: the title, and each key with its slot."""
    colon, stop = ("：", "。") if lang == "zh" else (": ", ". ")
    pieces: list[Text | Slot] = [Slot("title"), Text(stop)]
    for key in keys:
        if key != "title":
            label = label_of(key)
            pieces += [Text(label[:1].upper() + label[1:] + colon), Slot(key), Text(stop)]
    return Template(tuple(pieces))


def _entity(title: str, knowledge: KnowledgeBase | None, lang: str) -> str:
    found = knowledge.lookup(title, lang) if knowledge else []
    if len(found) > 1:
        raise ConfigError(f"{title!r} may be {', '.join(found[:5])}; say which with entity")
    return found[0] if found else ""


def _title_fact(title: str, facts: Sequence[Fact]) -> list[Fact]:
    """The title is known even where the base has no key for it."""
    return [] if any(fact.key == "title" for fact in facts) else [Fact("title", "title", (Statement(title, id="title"),))]


def tidy(text: str) -> str:
    """A text with a capital at its beginning and single spaces."""
    plain = re.sub(r"\s+([,.;])", r"\1", re.sub(r" {2,}", " ", text)).strip()
    return plain[:1].upper() + plain[1:]
