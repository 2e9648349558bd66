"""What each model of this home learns: examples come in, rows of prompt and answer go out.

template       keys -> template                  plain      documents -> text
template-docs  documents and keys -> template    K, KV      documents and keys (and values) -> text
fill           documents and one slot -> value   rewriter   template and values -> text
"""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Literal

from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.grounded import Grounded
from tenfold.systems.slotsum.prompting import fill_prompt, list_documents, list_facts, list_keys, render, template_prompt
from tenfold.systems.slotsum.provenance import Evidence
from tenfold.systems.slotsum.values import clean
from tenfold.train.rows import Row, ask

Task = Literal["template", "template-docs", "fill", "plain", "K", "KV", "rewriter"]


def keys_of(entity: Grounded) -> list[str]:
    """The keys of an entity's facts, each once."""
    return list(dict.fromkeys(key for key, _ in entity.facts))


def learning_rows(task: Task, entities: Sequence[Grounded], *, seed: int = 0) -> list[Row]:
    """Rows for a task, in the order of the entities; a row's id is that of its entity."""
    random = Random(seed)
    return [
        Row(entity.key, ask(question), answer) for entity in entities for question, answer in _PAIRS[task](entity, random)
    ]


Pairs = Iterator[tuple[str, str]]


def _template(entity: Grounded, _: Random) -> Pairs:
    yield template_prompt(entity.title, keys_of(entity)), str(derive_template(entity.target, entity.facts).template)


def _template_docs(entity: Grounded, _: Random) -> Pairs:
    question = template_prompt(entity.title, keys_of(entity), entity.documents)
    yield question, str(derive_template(entity.target, entity.facts).template)


def text_question(task: str, entity: Grounded) -> str:
    """What a model that writes the text itself is asked: plain, K or KV."""
    fields = {"documents": list_documents(entity.documents), "title": clean(entity.title)}
    return render(task, **fields, keys=list_keys(keys_of(entity)), facts=list_facts(entity.facts))


def rewriter_question(entity: Grounded, template: str) -> str:
    return render("rewriter", title=clean(entity.title), template=template, facts=list_facts(entity.facts))


def _text(task: str) -> Callable[[Grounded, Random], Pairs]:
    def pairs(entity: Grounded, _: Random) -> Pairs:
        yield text_question(task, entity), entity.target

    return pairs


def _rewriter(entity: Grounded, _: Random) -> Pairs:
    yield rewriter_question(entity, str(derive_template(entity.target, entity.facts).template)), entity.target


def _fill(entity: Grounded, random: Random) -> Pairs:
    """One slot of the entity, drawn among those that a document says; the answer is what it says there."""
    evidence = Evidence(entity.documents)
    said = {(key, true): wrong for key, true, wrong in entity.corrupted}
    for key, value in random.sample(list(entity.facts[1:]), len(entity.facts) - 1):
        found = evidence.find(said.get((key, value), value), near=[entity.title])
        if found:
            yield fill_prompt(entity.title, key, entity.documents), evidence.text(found[0])
            return


_PAIRS: dict[Task, Callable[[Grounded, Random], Pairs]] = {
    "template": _template,
    "template-docs": _template_docs,
    "fill": _fill,
    "plain": _text("plain"),
    "K": _text("K"),
    "KV": _text("KV"),
    "rewriter": _rewriter,
}
TASKS = tuple(_PAIRS)
