"""Verdicts by scoring whole verdict strings after one encoding of the prompt: any labels, any tokenizer, no parsing.

Prompt and candidate are cut into tokens as one text; what all candidates share is encoded once, the rest is a prefix tree
behind it. log p(c) is the sum along its path, p(label) the softmax over the candidates, and `coverage` the sum of their
probabilities: where it is low, the model would rather have written something else. The keys and values of what a prompt
shares with the one before it (instruction and rules) are kept.
"""

# C candidates
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp

import numpy as np
from transformers import PreTrainedTokenizerBase

from tenfold.core.errors import ConfigError
from tenfold.nn.causal_lm import CausalLM, check_positions
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.nn.reuse import Reusing, common_prefix
from tenfold.nn.scoring import inner_nodes, prefix_tree, score_candidates
from tenfold.systems.shieldlm.prompting import Lang, Order, Prompt, Style, build_prompt, encode, wrapper_of


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of the labels' strings after one prompt."""

    logps: Mapping[str, float]
    """Natural logarithm, by label."""
    num_prompt_tokens: int
    """What all candidates share."""
    num_extra_tokens: int
    """Positions computed beyond it."""
    spoof: bool = False
    """Whether the text imitated the prompt's own lines."""

    @property
    def probabilities(self) -> dict[str, float]:
        """Softmax over the labels."""
        logp_C = np.array(list(self.logps.values()))
        share_C = np.exp(logp_C - logp_C.max())
        return dict(zip(self.logps, (share_C / share_C.sum()).tolist(), strict=True))

    @property
    def coverage(self) -> float:
        """Probability that the model writes one of the labels at all."""
        return float(sum(exp(logp) for logp in self.logps.values()))

    def log_odds(self, label: str) -> float:
        """log p(label) - log p(any other)."""
        others = np.array([logp for name, logp in self.logps.items() if name != label])
        return self.logps[label] - float(np.logaddexp.reduce(others))


class VerdictScorer:
    """Scores on a one-row engine; one text at a time."""

    def __init__(
        self,
        model: LoadedModel,
        *,
        style: Style = "short",
        wrapper: str = "none",
        order: Order = "label-first",
    ) -> None:
        self.model = model
        self.tokenizer = model.tokenizer
        self.style: Style = style
        self.order: Order = order
        self.wrapper = wrapper_of(model.tokenizer, wrapper)
        self.engine: CausalLM = Reusing(model.engine) if model.engine.exactness == "bit" else model.engine

    def prompt(self, query: str, response: str, rules: Sequence[str] = (), *, lang: Lang = "en") -> Prompt:
        """The prompt under this scorer's style and wrapper."""
        return build_prompt(query, response, rules, lang=lang, order=self.order, style=self.style, wrapper=self.wrapper)

    def score(self, query: str, response: str, rules: Sequence[str] = (), *, lang: Lang = "en") -> Scores:
        """Scores of safe, unsafe and controversial.

        Raises:
            UserError: the text does not fit into the model's positions.
        """
        return self.score_prompt(self.prompt(query, response, rules, lang=lang))

    def twin(self) -> "VerdictScorer":
        """The same scorer with a cache of its own where the engine allows it; never for use at the same time."""
        engine = self.model.engine
        other = copy.copy(self)
        if isinstance(engine, LeanLlama):
            other.model = replace(self.model, engine=engine.twin())
            other.engine = Reusing(other.model.engine) if isinstance(self.engine, Reusing) else other.model.engine
        return other

    def score_prompt(self, prompt: Prompt, labels: Mapping[str, str] | None = None) -> Scores:
        """Scores of any labels: a name for each continuation, with its leading blank.

        Raises:
            ConfigError: two labels have the same text.
            UserError: the text does not fit into the model's positions.
        """
        chosen: Mapping[str, str] = {**prompt.verdicts} if labels is None else labels
        shared, tails = candidate_ids(self.tokenizer, prompt, list(chosen.values()))
        check_positions(self.model.engine, len(shared), max(map(len, tails)))
        scores = score_candidates(self.engine, shared, tails).tolist()
        extra = len(inner_nodes(prefix_tree(tails)[0]))
        return Scores(dict(zip(chosen, scores, strict=True)), len(shared), extra, prompt.spoof)


def candidate_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: Prompt, texts: Sequence[str]
) -> tuple[list[int], list[list[int]]]:
    """Tokens that the prompt and all candidates share, and the rest of each candidate.

    Raises:
        ConfigError: two candidates are equal, or one is empty.
    """
    if len(set(texts)) < len(texts) or not all(texts):
        raise ConfigError(f"label texts must differ and must not be empty, but got {sorted(texts)}; rename one")
    if any(one != other and other.startswith(one) for one in texts for other in texts):
        texts = [text + "\n" for text in texts]
    whole = [encode(tokenizer, prompt, text) for text in texts]
    shared = common_prefix(encode(tokenizer, prompt), *whole)
    return whole[0][:shared], [ids[shared:] for ids in whole]
