"""Templates written by a model, such that no fact can stand outside their slots.

A local model writes under the masks of a `Policy` (guaranteed by decoding). A model behind an endpoint gives no
logits: what it writes is checked, and what leaks is taken into anonymous slots; after three texts that cannot be
read it is refused.
"""

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tenfold.core.errors import ConfigError, TenfoldError
from tenfold.llm.chat import ChatModel, ChatRequest, user
from tenfold.nn import generation, models
from tenfold.nn.models import LoadedModel
from tenfold.nn.opening import is_endpoint, open_model
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.grammar import LeakProof, mask_table
from tenfold.systems.slotsum.leaks import Level, Policy, fold_letters, has_number, policy, violations, word_places
from tenfold.systems.slotsum.prompting import few_shot_prompt, template_prompt
from tenfold.systems.slotsum.templates import ANONYMOUS, Slot, Template, Text, parse_template

MOST_ATTEMPTS = 3
NUMBER_RUN = re.compile(r"\S*")


class NoTemplateError(TenfoldError):
    """The model wrote nothing that can be read as a template."""


@dataclass(frozen=True)
class Written:
    """A template, the level that it keeps, and what guarantees it: the decoding, or a repair afterwards (or nothing)."""

    template: Template
    guarantee: Level | None
    guarantee_by: Literal["decode", "repair", "none"]
    attempts: int = 1
    num_tokens: int = 0
    repaired: tuple[str, ...] = field(default=())
    is_listing: bool = False
    """The model wrote no slot, and a plain list of the keys stands for its template."""


class TemplateGenerator(Protocol):
    """Whoever writes templates."""

    def generate(
        self, title: str, keys: Sequence[str], *, documents: Sequence[Document] = (), values: Iterable[str] = ()
    ) -> Written:
        """A template for an entity with these keys; `values` may not stand outside slots (from level `values` on)."""
        ...


class LocalGenerator:
    """A local causal LM, fine-tuned or not."""

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        level: Level | None = "values",
        lexicon: Iterable[str] = (),
        settings: GenerationSettings | None = None,
        repeats: int = 4,
        is_tuned: bool = True,
        lang: str = "en",
    ) -> None:
        """`is_tuned`: the model has learned what a template is (`slotsum train`); else it is shown two."""
        self.loaded = loaded
        self.level: Level | None = level
        self.lexicon = tuple(lexicon)
        self.settings = settings or GenerationSettings(max_new_tokens=160)
        self.repeats = repeats
        self.is_tuned, self.lang = is_tuned, lang

    def generate(
        self, title: str, keys: Sequence[str], *, documents: Sequence[Document] = (), values: Iterable[str] = ()
    ) -> Written:
        constraint = self._constraint(keys, values)
        stopper = Stopper(
            max_new_tokens=self.settings.max_new_tokens,
            eos_ids=self.loaded.eos_ids,
            stop_strings=() if self.is_tuned else ("\n",),
            tokenizer=self.loaded.tokenizer,
        )
        prompt = self._prompt(title, keys, documents)
        result = generation.generate(self.loaded.engine, prompt, self.settings, stopper, constraint=constraint)
        tokens = [token for token in result.tokens if token not in self.loaded.eos_ids]
        text = str(self.loaded.tokenizer.decode(tokens, skip_special_tokens=constraint is None)).strip()
        if constraint is None:
            return Written(parse_leniently(text), None, "none", num_tokens=len(result.tokens))
        return Written(parse_template(text), self.level, "decode", num_tokens=len(result.tokens))

    def _prompt(self, title: str, keys: Sequence[str], documents: Sequence[Document]) -> list[int]:
        if not self.is_tuned:
            return models.text_ids(self.loaded.tokenizer, few_shot_prompt(keys, self.lang))
        turn = {"role": "user", "content": template_prompt(title, keys, documents)}
        return models.chat_ids(self.loaded.tokenizer, [turn])

    def _constraint(self, keys: Sequence[str], values: Iterable[str]) -> LeakProof | None:
        if self.level is None:
            return None
        rules = policy(self.level, keys, values, lexicon=self.lexicon, repeats=self.repeats)
        table = mask_table(self.loaded.tokenizer, rules, self.loaded.eos_ids)
        reserve = table.reserve
        if self.settings.max_new_tokens <= reserve:
            raise ConfigError(
                f"max_new_tokens is {self.settings.max_new_tokens}, but {reserve} are kept to close a slot; give more"
            )
        return LeakProof(table, self.settings.max_new_tokens)


class ChatGenerator:
    """Any `ChatModel`, by prompt alone."""

    def __init__(
        self,
        model: ChatModel,
        *,
        level: Level = "values",
        lexicon: Iterable[str] = (),
        max_tokens: int = 256,
        lang: str = "en",
    ) -> None:
        self.model, self.lang = model, lang
        self.level: Level = level
        self.lexicon = tuple(lexicon)
        self.max_tokens = max_tokens

    def generate(
        self, title: str, keys: Sequence[str], *, documents: Sequence[Document] = (), values: Iterable[str] = ()
    ) -> Written:
        """Asks up to three times.

        Raises:
            NoTemplateError: nothing that came can be read as a template.
            ProviderError: the model could not be asked.
        """
        rules = policy(self.level, keys, values, lexicon=self.lexicon)
        question = few_shot_prompt(keys, self.lang)
        problem = ""
        for attempt in range(1, MOST_ATTEMPTS + 1):
            request = ChatRequest((user(question),), max_tokens=self.max_tokens, temperature=0.0 if attempt == 1 else 0.7,
                                  seed=attempt)  # fmt: skip
            text = asyncio.run(self.model.chat(request)).text.strip()
            try:
                template = parse_template(text)
            except ConfigError as error:
                problem = str(error)
                continue
            if template.slots:
                repaired = repair(template, rules)
                return Written(repaired, self.level, "repair", attempt, repaired=tuple(violations(template, rules)))
            problem = "it has no slot"
        raise NoTemplateError(
            f"{self.model.name} wrote no template in {MOST_ATTEMPTS} attempts ({problem}); try another model"
        )


def parse_leniently(text: str) -> Template:
    """A text that may break the rules of brackets: what is no slot is prose."""
    pieces = re.split(r"(\[\[[^\[\]]+\]\])", text)
    made = [
        Slot(piece[2:-2]) if piece.startswith("[[") and piece.endswith("]]") else Text(piece) for piece in pieces if piece
    ]
    return Template(tuple(made))


def repair(template: Template, rules: Policy) -> Template:
    """The template with every violation taken into an anonymous slot; it keeps the policy afterwards."""
    pieces: list[Text | Slot] = []
    for piece in template.pieces:
        if isinstance(piece, Text):
            pieces += _repaired(piece.text, rules)
        else:
            is_known = piece.marker[2:-2] in rules.keys
            pieces.append(piece if is_known else Slot(f"{ANONYMOUS}value"))
    return Template(tuple(pieces))


def _repaired(text: str, rules: Policy) -> list[Text | Slot]:
    places = sorted(_leaking(text, rules))
    pieces: list[Text | Slot] = []
    end = 0
    for start, stop, kind in places:
        if start < end:
            continue
        pieces += [Text(text[end:start]), Slot(f"{ANONYMOUS}{kind}", kind)]
        end = stop
    return [piece for piece in [*pieces, Text(text[end:])] if isinstance(piece, Slot) or piece.text]


def _leaking(text: str, rules: Policy) -> Iterable[tuple[int, int, str]]:
    """(start, end, kind) of what may not stand there; a number takes the letters along that touch it."""
    for match in re.finditer(r"\S+", text):
        digits = [place for place, letter in enumerate(match[0]) if has_number(letter)]
        if digits:
            yield match.start() + digits[0], match.start() + digits[-1] + 1, "number"
    letters = [(place, folded) for place, letter in enumerate(text) for folded in fold_letters(letter)]
    folded = "".join(letter for _, letter in letters)
    words = [(letters[start][0], letters[stop - 1][0] + 1, folded[start:stop]) for start, stop in word_places(folded)]
    for first in range(len(words)):
        for last in range(first, len(words)):
            if tuple(word for _, _, word in words[first : last + 1]) in rules.forbidden:
                yield words[first][0], words[last][1], "value"
    if rules.lexicon is not None:
        yield from ((start, stop, "value") for start, stop, word in words if word not in rules.lexicon)


@dataclass(frozen=True)
class Writing:
    """How a model is to write templates."""

    level: Level | None = "values"
    lexicon: tuple[str, ...] = ()
    settings: GenerationSettings = field(default_factory=lambda: GenerationSettings(max_new_tokens=160))
    is_tuned: bool = False
    lang: str = "en"


def open_generator(name: str, writing: Writing) -> TemplateGenerator:
    """The generator of a model's name: `openai:NAME` is asked, any other is decoded here."""
    if is_endpoint(name):
        level = writing.level or "digits"
        return ChatGenerator(open_model(name), level=level, lexicon=writing.lexicon, lang=writing.lang)
    return local_generator(models.load(name), writing)


def local_generator(loaded: LoadedModel, writing: Writing) -> LocalGenerator:
    """The generator of a loaded model."""
    return LocalGenerator(
        loaded,
        level=writing.level,
        lexicon=writing.lexicon,
        settings=writing.settings,
        is_tuned=writing.is_tuned,
        lang=writing.lang,
    )
