"""The ways to a text that `eval` compares: baselines that write it themselves, and slots under each strategy.

plain, K, KV   a model writes from documents (and keys, and values)
rewriter       a model writes from template and values
slots          template, filled, then corrected by a share of the base
oracle         the golden template with the whole base
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from tenfold.core.seeds import derive as derive_seed
from tenfold.nn import generation, models
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.fill import Filled, LocalFiller
from tenfold.systems.slotsum.generate import LocalGenerator, Written
from tenfold.systems.slotsum.grounded import Grounded
from tenfold.systems.slotsum.knowledge import Fact, box_facts, pairs_box
from tenfold.systems.slotsum.learning import keys_of, rewriter_question, text_question
from tenfold.systems.slotsum.rectify import Prediction, Rules, Strategy, rectify
from tenfold.systems.slotsum.summarize import tidy
from tenfold.systems.slotsum.templates import Template


@dataclass(frozen=True)
class Writers:
    """The models of the arms; baselines without a model are left out."""

    generator: LocalGenerator
    filler: LocalFiller
    baselines: dict[str, LoadedModel] = field(default_factory=dict)


@dataclass(frozen=True)
class Curve:
    """The strategies to compare, each with these shares of the knowledge base's keys."""

    strategies: tuple[Strategy, ...]
    fact_ratios: tuple[float, ...]
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """Everything that was written about one entity."""

    texts: dict[str, str]
    written: Written
    golden: Template
    filled: Filled


def write_all(entity: Grounded, writers: Writers, curve: Curve, *, max_new_tokens: int) -> Outcome:
    """The text of every arm."""
    golden = derive_template(entity.target, entity.facts).template
    values = [value for _, value in entity.facts]
    written = writers.generator.generate(entity.title, keys_of(entity), values=values)
    filled = writers.filler.fill(entity.title, written.template.slots, entity.documents)
    facts = box_facts(pairs_box(entity.facts))
    texts = dict(_slot_texts(entity, written.template, filled.predictions, facts, curve))
    texts["oracle"] = _text(golden, [Prediction(None)] * len(golden.slots), facts, Rules("verify"))
    for name, model in writers.baselines.items():
        question = rewriter_question(entity, str(written.template)) if name == "rewriter" else text_question(name, entity)
        texts[name] = continued(model, question, max_new_tokens)
    return Outcome(texts, written, golden, filled)


def _slot_texts(
    entity: Grounded, template: Template, predictions: Sequence[Prediction], facts: Sequence[Fact], curve: Curve
) -> Iterator[tuple[str, str]]:
    for strategy in curve.strategies:
        for ratio in curve.fact_ratios:
            kept = share_of(facts, ratio, derive_seed(curve.seed, entity.key))
            yield arm_name(strategy, ratio), _text(template, predictions, kept, Rules(strategy))


def arm_name(strategy: str, ratio: float) -> str:
    return f"slots {strategy} {ratio:g}"


def share_of(facts: Sequence[Fact], ratio: float, seed: int) -> list[Fact]:
    """So large a share of the keys, drawn at random; a larger share holds the smaller one. The title is always known."""
    others = [fact for fact in facts if fact.key != "title"]
    order = Random(seed).sample(others, len(others))
    kept = {fact.key for fact in order[: round(ratio * len(others))]}
    return [fact for fact in facts if fact.key in kept or fact.key == "title"]


def _text(template: Template, predictions: Sequence[Prediction], facts: Sequence[Fact], rules: Rules) -> str:
    return tidy(rectify(template, predictions, facts, rules=rules).text)


def continued(loaded: LoadedModel, question: str, max_new_tokens: int) -> str:
    """What a model answers, greedily."""
    prompt = models.chat_ids(loaded.tokenizer, [{"role": "user", "content": question}])
    stopper = Stopper(max_new_tokens=max_new_tokens, eos_ids=loaded.eos_ids)
    result = generation.generate(loaded.engine, prompt, GenerationSettings(max_new_tokens=max_new_tokens), stopper)
    return str(loaded.tokenizer.decode(list(result.tokens), skip_special_tokens=True)).strip()
