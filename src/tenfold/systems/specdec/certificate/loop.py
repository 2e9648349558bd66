"""The whole loop, enumerated: `speculate` itself over a table model, with processors, in float64.

Every seam of the loop can be exchanged, so that a mutant is the same loop with one piece broken.
"""

# p the target's law, q the draft's
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.sampling import GenerationSettings, Processors
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.certificate.guesses import GUESSES, TableDrafter
from tenfold.systems.specdec.certificate.tables import Table, TableModel
from tenfold.systems.specdec.laws import Law
from tenfold.systems.specdec.randomness import Randomness, outcomes
from tenfold.systems.specdec.speculate import speculate
from tenfold.systems.specdec.verifiers.evidence import LawOf, Verifier

PROMPT = (1,)
EOS = 0
Text = tuple[int, ...]


def unchanged(piece: Any, *_: Any) -> Any:
    """What each seam of a sound loop does to the piece that passes it."""
    return piece


@dataclass(frozen=True)
class Loop:
    """Speculation over tables: two of them, a draft's shape, a way of guessing, a verifier, and what may break."""

    verifier: Verifier
    shape: Sequence[int]
    guess: str
    settings: GenerationSettings
    target: Table
    draft: Table
    model: Callable[[CausalLM], CausalLM] = unchanged
    randomness: Callable[[Randomness], Randomness] = unchanged
    recorded: Callable[[Law, Law], Law] = unchanged
    """(the processed q that a token is drawn from, the raw q) -> the q that the draft carries."""
    law_of: Callable[[LawOf], LawOf] = unchanged

    def total_variation(self) -> float:
        """Between the loop's law over whole texts and that of plain decoding."""
        found: dict[Text, float] = defaultdict(float)
        law_of = _remembered(Processors(self.settings).law)
        for text, weight in outcomes(lambda randomness: self._generate(randomness, law_of)):
            found[text] += float(weight)
        own = dict(self._own_texts((), 1.0, law_of))
        return sum(abs(found.get(text, 0.0) - own.get(text, 0.0)) for text in found.keys() | own.keys()) / 2

    def _generate(self, randomness: Randomness, law_of: LawOf) -> Text:
        drafter = TableDrafter(self.shape, self._draft_law(law_of), GUESSES[self.guess], randomness, self._recorded())
        result = speculate(
            self.model(TableModel(self.target)),
            PROMPT,
            self.settings,
            Stopper(max_new_tokens=self.settings.max_new_tokens, eos_ids=[EOS]),
            drafter=drafter,
            num_draft=len(self.shape),
            verifier=self.verifier,
            allow_lossy=True,
            randomness=self.randomness(randomness),
            law_of=self.law_of(law_of),
        )
        assert not result.dropped_drafts, result.dropped_drafts
        return tuple(result.tokens)

    def _draft_law(self, law_of: LawOf) -> Callable[[Sequence[int]], Law]:
        return lambda text: _processed(self.draft, text, law_of)

    def _recorded(self) -> Callable[[Law, Sequence[int]], Law]:
        return lambda law_V, text: self.recorded(law_V, self.draft.after(text).astype(float))

    def _own_texts(self, text: Text, weight: float, law_of: LawOf) -> Iterator[tuple[Text, float]]:
        """All texts of plain decoding that begin with `text`, each with its probability."""
        if len(text) == self.settings.max_new_tokens or text[-1:] == (EOS,):
            yield text, weight
            return
        for token, probability in enumerate(_processed(self.target, [*PROMPT, *text], law_of)):
            if probability > 0:
                yield from self._own_texts((*text, token), weight * float(probability), law_of)


def _processed(table: Table, text: Sequence[int], law_of: LawOf) -> Law:
    return law_of(table.logits_after(tuple(enumerate(text)))[None], [text])[0].numpy()


def _remembered(law_of: LawOf) -> LawOf:
    """The same function; each of its few arguments is computed once."""
    memory: dict[tuple[Any, ...], Tensor] = {}

    def remembered(logits_NV: Tensor, prefixes: Sequence[Sequence[int]]) -> Tensor:
        key = (*logits_NV.flatten().tolist(), *map(tuple, prefixes))
        if key not in memory:
            memory[key] = law_of(logits_NV, prefixes)
        return memory[key].clone()

    return torch.inference_mode()(remembered)
