"""The prompts: what a model is told for each task. Their texts are the files under `prompts/`.

Documents are data: brackets in them are escaped, so that nothing in a document can be taken for a slot.
"""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.knowledge import label_of
from tenfold.systems.slotsum.templates import escape
from tenfold.systems.slotsum.values import clean

Facts = Sequence[tuple[str, str]]


@cache
def prompt(name: str) -> str:
    """The text of a prompt, with its fields in braces."""
    return (files("tenfold.systems.slotsum") / "prompts" / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


def render(name: str, **fields: str) -> str:
    """A prompt with its fields filled in; what a field holds is never read as a field."""
    parts = prompt(name).split("{")
    filled = [parts[0]]
    for part in parts[1:]:
        field, _, rest = part.partition("}")
        filled.append(fields[field] + rest)
    return "".join(filled)


def list_documents(documents: Sequence[Document]) -> str:
    """The documents one after the other."""
    return "\n".join(escape(" ".join(document.text.split())) for document in documents)


def list_keys(keys: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(keys))


def list_facts(facts: Facts) -> str:
    return "; ".join(f"{key}: {clean(value)}" for key, value in facts)


def few_shot_prompt(keys: Sequence[str], lang: str = "en") -> str:
    """What asks a model that was not fine-tuned: templates of our own stand before. It is a text to be continued.

    The title is not told: what a model does not know it cannot write outside a slot.
    """
    return render("template_few_zh" if lang == "zh" else "template_few", keys=list_keys(keys))


def template_prompt(title: str, keys: Sequence[str], documents: Sequence[Document] = ()) -> str:
    """What asks a fine-tuned model for a template: from the keys alone, or from documents too."""
    fields = {"title": clean(title), "keys": list_keys(keys)}
    if not documents:
        return render("template", **fields)
    return render("template_docs", documents=list_documents(documents), **fields)


def fill_prompt(title: str, key: str, documents: Sequence[Document]) -> str:
    """What asks for a slot's value; only its end depends on the slot."""
    label = label_of(key)
    return render("fill", documents=list_documents(documents), title=clean(title), label=label)
