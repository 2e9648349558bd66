"""Trained heads draft from the hidden states that the target computes anyway (survey, section 4.2).

The target leaves the final hidden rows of each pass in `LeanLlama.hidden_rows`; of a verifying pass the rows along the
accepted path are kept, so that there is one for each token of the context but the last, which no pass has seen yet.
"""

# T tokens, D model width, J heads, V vocabulary
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tenfold.core.errors import UserError
from tenfold.nn.drafting import ROOT, Draft
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.linear import TrimmedLinear
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.drafters.head_networks import EagleLayer, MedusaHeads, TrainedHead
from tenfold.systems.specdec.drafters.model import ModelDraftConfig, ModelDrafter, lean_engine


class HeadDrafterConfig(ModelDraftConfig):
    """Which trained head drafts."""

    head: Path
    """Folder of the trained head, as train-head writes it."""


def medusa_drafter(target: LoadedModel, settings: GenerationSettings, config: HeadDrafterConfig) -> ModelDrafter:
    """Medusa heads as drafter; raises what `TrainedHead.load` raises, and UserError for a head of another kind."""
    return _head_drafter(target, settings, config, "medusa")


def eagle_drafter(target: LoadedModel, settings: GenerationSettings, config: HeadDrafterConfig) -> ModelDrafter:
    """An EAGLE head as drafter; raises what `TrainedHead.load` raises, and UserError for a head of another kind."""
    return _head_drafter(target, settings, config, "eagle")


class Features:
    """The target's final hidden rows [T, D] for every token of the context but the last."""

    def __init__(self, target: LeanLlama) -> None:
        self.target = target
        self.reset()

    def reset(self) -> None:
        self.rows: list[Tensor] = []

    def cover(self, context: Sequence[int]) -> bool:
        """Whether the rows belong to `context`; the first time they are those of the prompt's own pass."""
        if not self.rows and len(self.target.hidden_rows[0]) == len(context) - 1:
            self.rows = list(self.target.hidden_rows[0])
        return len(self.rows) == len(context) - 1

    def observe(self, emitted: Sequence[int], draft: Draft) -> None:
        """Adds the rows of the last pass along the accepted path; its row 0 is the context's last token."""
        if not self.rows:
            return
        pass_rows, node = self.target.hidden_rows[0], ROOT
        self.rows.append(pass_rows[0])
        for token in emitted[:-1]:
            node = next(i for i, parent in enumerate(draft.parents) if parent == node and draft.tokens[i] == token)
            self.rows.append(pass_rows[node + 1])


class Medusa:
    """Guesses as many tokens as there are heads, each from the same hidden row."""

    def __init__(self, head: TrainedHead, target: LeanLlama) -> None:
        assert isinstance(head.network, MedusaHeads)
        self.network, self.features = head.network, Features(target)
        self.to_logits = TrimmedLinear(target.weights.head, head.vocabulary_n, kernel=target.kernel)

    def reset(self) -> None:
        self.features.reset()

    def room_after(self, context: Sequence[int]) -> int:
        return len(self.network.maps) if self.features.cover(context) else 0

    @torch.inference_mode()
    def follow(self, context: Sequence[int]) -> Tensor:
        """The first head's logits; the others wait for their turn."""
        hidden_JD = self.network(self.features.rows[-1][None])[:, 0]
        first_V, *self.waiting = self.to_logits(hidden_JD)
        return first_V

    def feed(self, token: int) -> Tensor:
        """The next head's logits: no head sees what the one before it guessed."""
        return self.waiting.pop(0)

    def observe(self, emitted: Sequence[int], draft: Draft) -> None:
        self.features.observe(emitted, draft)


class Eagle:
    """Continues the target's hidden rows; guessed rows leave its cache when the target's own arrive."""

    def __init__(self, head: TrainedHead, target: LeanLlama) -> None:
        assert isinstance(head.network, EagleLayer)
        self.network, self.features, self.target = head.network, Features(target), target
        self.to_logits = TrimmedLinear(target.weights.head, head.vocabulary_n, kernel=target.kernel)
        self.reset()

    def reset(self) -> None:
        self.features.reset()
        self.cache: Any = DynamicCache()
        self.num_true = 0

    def room_after(self, context: Sequence[int]) -> int:
        return self.target.max_positions - len(context) if self.features.cover(context) else 0

    @torch.inference_mode()
    def follow(self, context: Sequence[int]) -> Tensor:
        """Feeds the true rows that are new, each with the token that followed it."""
        if surplus := self.cache.get_seq_length() - self.num_true:
            self.cache.crop(-surplus)
        features_TD = torch.stack(self.features.rows[self.num_true :])
        logits_V = self._feed(context[self.num_true + 1 :], features_TD)
        self.num_true = len(context) - 1
        return logits_V

    @torch.inference_mode()
    def feed(self, token: int) -> Tensor:
        return self._feed([token], self.last_D[None])

    def observe(self, emitted: Sequence[int], draft: Draft) -> None:
        self.features.observe(emitted, draft)

    def _feed(self, tokens: Sequence[int], features_TD: Tensor) -> Tensor:
        cached, num_new = self.cache.get_seq_length(), len(tokens)
        embedding_TD = self.target.weights.embedding_VD[torch.tensor(list(tokens))].float()
        mask_TS = torch.ones(num_new, cached + num_new, dtype=torch.bool).tril(cached)
        positions_T = torch.arange(cached, cached + num_new)
        output_BTD = self.network(embedding_TD[None], features_TD[None], positions_T, cache=self.cache, mask_TS=mask_TS)
        self.last_D = output_BTD[0, -1]
        return self.to_logits(self.last_D[None])[0]


def _head_drafter(target: LoadedModel, settings: GenerationSettings, config: HeadDrafterConfig, kind: str) -> ModelDrafter:
    engine = lean_engine(target, kind)
    head = TrainedHead.load(config.head, engine)
    if head.description.kind != kind:
        found = head.description.kind
        raise UserError(f"the head in {str(config.head)!r} is of kind {found}; take drafter {found}")
    network = Medusa(head, engine) if kind == "medusa" else Eagle(head, engine)
    return ModelDrafter(network, settings, config, name=kind)
