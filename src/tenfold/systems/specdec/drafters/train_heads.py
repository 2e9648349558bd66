"""Training of a Medusa or EAGLE head on the target's own greedy continuations of given prompts.

In: a target and prompts. Out: a folder with the head (`head_networks`), the continuations and a state from which a
stopped training goes on to the same bytes. Target and LM head are frozen; the head learns, for several places ahead,
the law that the target itself has there:

    ce   cross entropy with the target's argmax             kl   KL(p || q)
    tv   1 - sum min(p, q), the chance of a rejection       lk   lambda KL + (1 - lambda) TV, lambda = exp(-3 alpha)

with alpha the present acceptance sum min(p, q): KL while the head is bad, acceptance itself once it is good.
"""

# T tokens of a text, D model width, J places ahead, M positions trained at once, n tokens the trimmed head knows
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache

from tenfold.core import config as settings
from tenfold.core import jsonl
from tenfold.core.errors import ResumeError, UserError
from tenfold.core.seeds import derive
from tenfold.nn import models
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.store import atomic
from tenfold.systems.specdec.drafters.early_exit import most_frequent
from tenfold.systems.specdec.drafters.head_networks import (
    EagleLayer,
    HeadDescription,
    HeadShape,
    MedusaHeads,
    TrainedHead,
    frozen_head,
    new_network,
    target_digest,
)
from tenfold.systems.specdec.drafters.model import lean_engine
from tenfold.systems.specdec.drafters.ngram import NgramDrafter
from tenfold.systems.specdec.speculate import speculate

CONTINUATIONS, STATE, CONFIG = "continuations.jsonl", "training.pt", "training.json"
DECAY = 0.8
"""The weight of each place ahead relative to the one before it: later guesses matter only if earlier ones hold."""

Texts = Sequence[Sequence[int]]
Report = Callable[[int, float], None]
"""Called after each step with its number and loss."""


class TrainHeadConfig(HeadShape):
    """Train a head on the target's own continuations."""

    loss: Literal["ce", "kl", "tv", "lk"] = "lk"
    """What is minimised."""
    num_places: int = Field(default=3, ge=1)
    """Eagle: places ahead in training, each fed with the head's own guess for the one before."""
    head_size: int = Field(default=8192, ge=1)
    """Tokens the head may guess: the most frequent ones of the training texts."""
    max_new_tokens: int = Field(default=64, ge=8)
    """Tokens the target writes after each prompt."""
    num_steps: int = Field(default=600, ge=1)
    """Steps of training, one text each."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak of the learning rate, which then falls to a tenth along a cosine."""
    save_every: int = Field(default=100, ge=1)
    """Steps between two saved states."""
    seed: int = 0
    """Seed of the first weights and of the order of texts."""


@dataclass(frozen=True)
class Example:
    """One text as the target sees it."""

    embedding_TD: Tensor
    feature_TD: Tensor


def train_head(
    config: TrainHeadConfig, target: LoadedModel, prompts: Sequence[str], folder: Path, *, report: Report | None = None
) -> Mapping[str, float]:
    """Trains a head in `folder`, going on where an earlier call with the same settings stopped.

    A tenth of the texts is held back; returned is, per place ahead, the share of its positions at which the head's
    argmax is the target's (`agreement_j`).

    Raises:
        UserError: fewer than two prompts, or a target without the lean engine.
        ResumeError: the folder holds a training under other settings.
    """
    engine = lean_engine(target, config.kind)
    if len(prompts) < 2:
        raise UserError(f"we got {len(prompts)} prompts; give at least 2, one of them is held back")
    _check_same_settings(config, engine, folder)
    texts = continuations(target, prompts, config.max_new_tokens, folder / CONTINUATIONS)
    num_held_back = max(1, len(texts) // 10)
    training = _Training(config, engine, texts[num_held_back:], folder)
    training.run(report or (lambda step, loss: None))
    head = training.trained()
    head.save(folder)
    return agreements(head, engine, texts[:num_held_back], training.num_places)


def continuations(target: LoadedModel, prompts: Sequence[str], max_new_tokens: int, path: Path) -> Texts:
    """Each prompt with the target's greedy answer, as token ids; those already in the file are not written again."""
    rows = jsonl.recover(path)
    for prompt in prompts[len(rows) :]:
        ids = models.chat_ids(target.tokenizer, [{"role": "user", "content": prompt}])
        stopper = Stopper(max_new_tokens=max_new_tokens, eos_ids=target.eos_ids)
        answer = speculate(target.engine, ids, GenerationSettings(), stopper, drafter=NgramDrafter(), num_draft=4)
        rows.append([*ids, *answer.tokens])
        jsonl.append(path, rows[-1])
    return rows[: len(prompts)]


def loss_of(kind: str, target_logits_Mn: Tensor, logits_Mn: Tensor) -> Tensor:
    """One of the four losses, averaged over positions."""
    if kind == "ce":
        return functional.cross_entropy(logits_Mn, target_logits_Mn.argmax(-1))
    log_p_Mn, log_q_Mn = target_logits_Mn.log_softmax(-1), logits_Mn.log_softmax(-1)
    divergence = functional.kl_div(log_q_Mn, log_p_Mn, log_target=True, reduction="batchmean")
    acceptance = torch.minimum(log_p_Mn.exp(), log_q_Mn.exp()).sum(-1).mean()
    if kind == "kl":
        return divergence
    share = 0.0 if kind == "tv" else float(torch.exp(-3 * acceptance.detach()))
    return share * divergence + (1 - share) * (1 - acceptance)


def guesses(network: MedusaHeads | EagleLayer, example: Example, num_places: int) -> Tensor:
    """Predicted features [J, M, D]: row (j, i) is the guess, made after token i + 1, for the feature of token i + 1 + j."""
    num_positions = len(example.feature_TD) - num_places
    if isinstance(network, MedusaHeads):
        return network(example.feature_TD[:num_positions])[:num_places]
    return _fed_back(network, example, num_places, num_positions)


def agreements(head: TrainedHead, engine: LeanLlama, texts: Texts, num_places: int) -> Mapping[str, float]:
    """Share of positions, per place ahead, at which head and target choose the same token; the head is fed its guesses."""
    head_nD, hits, total = frozen_head(engine, head.vocabulary_n), torch.zeros(num_places), 0
    for text in texts:
        example = _example(engine, text)
        with torch.inference_mode():
            guess_JMD = guesses(head.network, example, num_places)
            choice_JM = head.vocabulary_n[(guess_JMD @ head_nD.T).argmax(-1)]
            wanted_T = engine.weights.head(example.feature_TD).argmax(-1)
        num_positions = choice_JM.shape[1]
        wanted_JM = torch.stack([wanted_T[j + 1 : j + 1 + num_positions] for j in range(num_places)])
        hits, total = hits + (choice_JM == wanted_JM).sum(1), total + num_positions
    return {f"agreement_{j + 1}": float(share) for j, share in enumerate(hits / total)}


class _Training:
    """A head on its way, saved every so often."""

    def __init__(self, config: TrainHeadConfig, engine: LeanLlama, texts: Texts, folder: Path) -> None:
        self.config, self.engine, self.folder = config, engine, folder
        self.num_places = config.num_heads if config.kind == "medusa" else config.num_places
        self.examples = [_example(engine, text) for text in texts if len(text) > self.num_places + 1]
        self.vocabulary_n = torch.tensor(most_frequent(texts, config.head_size))
        self.head_nD = frozen_head(engine, self.vocabulary_n)
        with torch.random.fork_rng():
            torch.manual_seed(derive(config.seed, "weights"))
            self.network = new_network(config, engine)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, config.num_steps, eta_min=config.learning_rate / 10
        )
        self.step = 0

    def run(self, report: Report) -> None:
        self._resume()
        while self.step < self.config.num_steps:
            loss = self._train_on(self.examples[self._next_index()])
            self.step += 1
            report(self.step, loss)
            if self.step % self.config.save_every == 0 or self.step == self.config.num_steps:
                self._save()

    def trained(self) -> TrainedHead:
        shape = {name: getattr(self.config, name) for name in HeadShape.model_fields}
        return TrainedHead(_description(self.engine, shape), self.network.eval(), self.vocabulary_n)

    def _next_index(self) -> int:
        """Every epoch has an order of its own, so that a step's text follows from its number."""
        epoch, place = divmod(self.step, len(self.examples))
        generator = torch.Generator().manual_seed(derive(self.config.seed, "order", epoch))
        return int(torch.randperm(len(self.examples), generator=generator)[place])

    def _train_on(self, example: Example) -> float:
        guess_JMD = guesses(self.network, example, self.num_places)
        target_Tn = example.feature_TD @ self.head_nD.T
        losses = [
            DECAY**j * loss_of(self.config.loss, target_Tn[j + 1 : j + 1 + len(guess_MD)], guess_MD @ self.head_nD.T)
            for j, guess_MD in enumerate(guess_JMD)
        ]
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        return float(loss.detach())

    def _save(self) -> None:
        parts = {"network": self.network, "optimizer": self.optimizer, "schedule": self.schedule}
        scratch = self.folder / f".{STATE}"
        torch.save({"step": self.step, **{name: part.state_dict() for name, part in parts.items()}}, scratch)
        scratch.replace(self.folder / STATE)

    def _resume(self) -> None:
        if not (self.folder / STATE).is_file():
            return
        state: dict[str, Any] = torch.load(self.folder / STATE, weights_only=True)
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def _fed_back(network: EagleLayer, example: Example, num_places: int, num_positions: int) -> Tensor:
    """Each place ahead is one pass over all positions, which sees what drafting sees: the true rows up to its own
    position, and its own guesses after them.
    """
    cache, feature_MD, guessed = DynamicCache(), example.feature_TD[:num_positions], []
    true_MM = torch.ones(num_positions, num_positions, dtype=torch.bool).tril()
    own_MM = torch.eye(num_positions, dtype=torch.bool)
    for j in range(num_places):
        embedding_MD = example.embedding_TD[j + 1 : j + 1 + num_positions]
        mask_MS = torch.cat([true_MM] + [own_MM] * j, dim=1)
        positions_M = torch.arange(j, j + num_positions)
        feature_MD = network(embedding_MD[None], feature_MD[None], positions_M, cache=cache, mask_TS=mask_MS)[0]
        guessed.append(feature_MD)
    return torch.stack(guessed)


def _example(engine: LeanLlama, text: Sequence[int]) -> Example:
    """The target's rows, copied out of inference mode so that gradients may pass beside them."""
    engine.reset()
    engine.prefill([text])
    return Example(engine.weights.embedding_VD[torch.tensor(text)].float(), engine.hidden_rows[0].clone())


def _description(engine: LeanLlama, shape: Mapping[str, Any]) -> HeadDescription:
    return HeadDescription(**shape, target_sha256=target_digest(engine))


def _check_same_settings(config: TrainHeadConfig, engine: LeanLlama, folder: Path) -> None:
    """Notes the settings in the folder, or compares with those that are there."""
    table = {**config.model_dump(mode="json"), "target_sha256": target_digest(engine)}
    path = folder / CONFIG
    if not path.is_file():
        atomic.write_json(path, table)
    elif changes := settings.difference(json.loads(path.read_text()), table):
        raise ResumeError(f"{str(folder)!r} holds another training ({'; '.join(changes)}); give another folder")
