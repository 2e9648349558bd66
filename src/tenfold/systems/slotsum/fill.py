"""What stands in each slot, read from documents: keys come in, values with their places go out (section 4).

    copy   a local model may only copy from a sentence of the documents, or say "unknown"
    rank   it ranks typed candidates of the documents
    free   it may write anything, which is then looked for in the documents
    chat   any `ChatModel` is asked slot by slot

The documents are encoded once for all slots: prompts differ only at their end, and what they share stays in the KV cache.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tenfold.llm.chat import ChatModel, ChatRequest, user
from tenfold.nn import generation, models
from tenfold.nn.constrain import vocabulary_of
from tenfold.nn.models import LoadedModel
from tenfold.nn.opening import is_endpoint, open_model
from tenfold.nn.reuse import Reusing
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.scoring import score_candidates
from tenfold.nn.stopping import Stopper
from tenfold.systems.slotsum.copying import UNKNOWN, CopyConstraint, Source, read_source, trimmed
from tenfold.systems.slotsum.dates import find_dates
from tenfold.systems.slotsum.derive import NUMERAL, ORDINAL
from tenfold.systems.slotsum.documents import Document, sentences
from tenfold.systems.slotsum.flagging import NAME
from tenfold.systems.slotsum.grammar import token_trie
from tenfold.systems.slotsum.knowledge import label_of
from tenfold.systems.slotsum.prompting import fill_prompt
from tenfold.systems.slotsum.provenance import DocSpan, Evidence
from tenfold.systems.slotsum.rectify import Prediction
from tenfold.systems.slotsum.templates import ANONYMOUS, Slot
from tenfold.systems.slotsum.tokens import STOP_WORDS, words
from tenfold.systems.slotsum.values import clean

FillMode = Literal["copy", "rank", "free", "chat"]
DATE_LABEL = re.compile(r"\b(date|born|birth date|death date|founded|established|year|completed|opened|aired)\b")
MOST_CANDIDATES = 40


@dataclass(frozen=True)
class Filled:
    """A prediction per slot, and what it took: tokens encoded, and how many it would have been slot by slot."""

    predictions: tuple[Prediction, ...]
    encoded_tokens: int = 0
    separate_tokens: int = 0


class SlotFiller(Protocol):
    """Whoever says what stands in slots."""

    def fill(self, title: str, slots: Sequence[Slot], documents: Sequence[Document]) -> Filled:
        """One prediction per slot, in order; equal keys get equal answers."""
        ...


class LocalFiller:
    """A local causal LM in the modes copy, rank and free."""

    def __init__(
        self, loaded: LoadedModel, *, mode: Literal["copy", "rank", "free"] = "copy", max_new_tokens: int = 32
    ) -> None:
        self.loaded = loaded
        self.mode = mode
        self.max_new_tokens = max_new_tokens
        self._engine = Reusing(loaded.engine)

    def fill(self, title: str, slots: Sequence[Slot], documents: Sequence[Document]) -> Filled:
        evidence = Evidence(documents)
        source = read_source([sentence.text for document in documents for sentence in sentences(document)])
        keys = [key for key in dict.fromkeys(slot.key for slot in slots) if is_asked(key)]
        prompts = {key: self._prompt(title, key, documents) for key in keys}
        self._engine.forget()
        reused = self._engine.num_reused
        answers = {key: self._answer((title, key), prompts[key], documents, source) for key in keys}
        separate = sum(map(len, prompts.values()))
        predictions = tuple(predict(slot, title, answers, evidence) for slot in slots)
        return Filled(predictions, separate - (self._engine.num_reused - reused), separate)

    def _prompt(self, title: str, key: str, documents: Sequence[Document]) -> list[int]:
        turn = {"role": "user", "content": fill_prompt(title, key, documents)}
        return models.chat_ids(self.loaded.tokenizer, [turn])

    def _answer(self, asked: tuple[str, str], prompt: list[int], documents: Sequence[Document], source: Source) -> str:
        if self.mode == "rank":
            return self._ranked(*asked, prompt, documents)
        constraint = self._constraint(source) if self.mode == "copy" else None
        settings = GenerationSettings(max_new_tokens=self.max_new_tokens)
        stopper = Stopper(max_new_tokens=self.max_new_tokens, eos_ids=self.loaded.eos_ids)
        result = generation.generate(self._engine, prompt, settings, stopper, constraint=constraint)
        tokens = [token for token in result.tokens if token not in self.loaded.eos_ids]
        text = str(self.loaded.tokenizer.decode(tokens)).strip()
        return trimmed(text, source) if self.mode == "copy" else text.splitlines()[0] if text else ""

    def _constraint(self, source: Source) -> CopyConstraint:
        known = vocabulary_of(self.loaded.tokenizer, self.loaded.eos_ids)
        trie = token_trie(self.loaded.tokenizer, self.loaded.eos_ids)
        return CopyConstraint(source, trie, known.eos_ids, len(known.texts))

    def _ranked(self, title: str, key: str, prompt: list[int], documents: Sequence[Document]) -> str:
        """The candidate whose tokens are likeliest on average."""
        texts = [*(text for text in typed_candidates(key, documents) if not names(title, text)), UNKNOWN]
        encoded: list[Any] = [self.loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        sums = score_candidates(self._engine, prompt, encoded).tolist()
        return max(zip(sums, encoded, texts, strict=True), key=lambda one: one[0] / len(one[1]))[2]


class ChatFiller:
    """Any `ChatModel`, one request a slot; the answer is looked for in the documents."""

    def __init__(self, model: ChatModel, *, max_tokens: int = 64) -> None:
        self.model = model
        self.max_tokens = max_tokens

    def fill(self, title: str, slots: Sequence[Slot], documents: Sequence[Document]) -> Filled:
        keys = [key for key in dict.fromkeys(slot.key for slot in slots) if is_asked(key)]
        answers = {key: asyncio.run(self._ask(title, key, documents)) for key in keys}
        evidence = Evidence(documents)
        return Filled(tuple(predict(slot, title, answers, evidence) for slot in slots))

    async def _ask(self, title: str, key: str, documents: Sequence[Document]) -> str:
        request = ChatRequest((user(fill_prompt(title, key, documents)),), max_tokens=self.max_tokens)
        text = (await self.model.chat(request)).text.strip()
        return text.splitlines()[0].rstrip(".") if text else ""


def is_asked(key: str) -> bool:
    """Whether a model has to say what stands there: not the title, not an ordinal of the schema, not an unnamed number."""
    return key != "title" and not key.startswith(ANONYMOUS) and not ORDINAL.fullmatch(key)


def predict(slot: Slot, title: str, answers: dict[str, str], evidence: Evidence) -> Prediction:
    """The prediction for a slot, with the places that say it."""
    if ORDINAL.fullmatch(slot.key):
        return Prediction(slot.key, tuple(evidence.occurrences(slot.key)))
    answer = re.sub(r"\s*\([^()]*\)$", "", clean(title)) if slot.key == "title" else answers.get(slot.key, "")
    if not answer or answer == UNKNOWN:
        return Prediction(None)
    near = (title, label_of(slot.key))
    found: list[DocSpan] = evidence.occurrences(answer, near=near) or evidence.find(answer, near=near)
    return Prediction(answer, tuple(found))


def names(title: str, text: str) -> bool:
    """Whether a candidate is the title, a part of it, or no word that carries meaning."""
    return set(words(text)) <= set(words(clean(title))) | STOP_WORDS


def typed_candidates(key: str, documents: Sequence[Document]) -> list[str]:
    """Dates, or numbers and names, of the documents, each once."""
    found: dict[str, None] = {}
    for document in documents:
        dates = [(start, end) for start, end, _ in find_dates(document.text)]
        others = [match.span() for pattern in (NAME, NUMERAL) for match in pattern.finditer(document.text)]
        for start, end in sorted(dates if DATE_LABEL.search(label_of(key)) and dates else others):
            found[document.text[start:end].rstrip(".,;:")] = None
    return list(found)[:MOST_CANDIDATES]


def open_filler(name: str, mode: FillMode) -> SlotFiller:
    """The filler of a model's name and mode; `openai:NAME` is always asked."""
    if mode == "chat" or is_endpoint(name):
        return ChatFiller(open_model(name))
    return LocalFiller(models.load(name), mode=mode)
