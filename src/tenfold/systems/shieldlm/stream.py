"""A guard for text that is still being written: it looks every `stride` tokens and shows only what a look has passed.

A probe is the ordinary prompt for the text so far, up to the last place where the tokenizer cannot cut otherwise whatever
follows. The engine keeps the keys and values of what two prompts share, so a probe costs the new tokens, the suffix
(`\\n[Answer]`) and the inner nodes of the verdicts' tree: forwarded tokens / tokens of text = 1 + (suffix + tree)/stride.

Many looks inflate false alarms: thresholds for streams are fitted on the highest score among a safe response's probes.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tenfold.core.errors import ConfigError
from tenfold.nn.reuse import Reusing
from tenfold.nn.scoring import inner_nodes, prefix_tree
from tenfold.systems.shieldlm.guard import Guard, Verdict
from tenfold.systems.shieldlm.prompting import BREAKS, Lang, encode, text_ids
from tenfold.systems.shieldlm.verdict import candidate_ids

MOST_RATIO = 1.2
"""Forwarded tokens per token of text that stride=auto allows."""
ROUNDING = 1e-9
UNDECIDED_LINE = re.compile(r"\s*(?:[AB]\s{0,8}|[\[\u3010]\s{0,4}[a-z\u4e00-\u9fff]{0,8}\s{0,4})?", re.IGNORECASE)
UNDECIDED_TAIL = re.compile(r"(?:<[^<>\n]{0,46}|[\[\u3010]\s{0,4}[A-Za-z\u4e00-\u9fff]{0,8}\s{0,4}|\r)$")


@dataclass(frozen=True)
class Probe:
    """One look at the text so far."""

    num_characters: int
    num_tokens: int
    """Tokens of the response that it covers."""
    score: float
    passed: bool


class StreamGuard:
    """Judges one response while it is written. `feed` and `finish` return text that may be shown."""

    def __init__(
        self,
        guard: Guard,
        query: str,
        rules: Sequence[str] = (),
        *,
        lang: Lang = "en",
        stride: int | Literal["auto"] = "auto",
        threshold: float | None = None,
    ) -> None:
        """`threshold`: scores above it trip; by default that of the calibrator for streams.

        Raises:
            ConfigError: stride is below 1, or a rule has a fault.
        """
        self.guard = guard
        self.query = query
        self.rules = guard.select(rules, lang)
        self.lang: Lang = lang
        self.suffix_tokens, self.tree_tokens = overhead(guard, lang)
        self.stride = smallest_stride(self.suffix_tokens + self.tree_tokens) if stride == "auto" else stride
        if self.stride < 1:
            raise ConfigError(f"stride is {self.stride}; give a number of tokens from 1 on, or auto")
        self.threshold = threshold
        self.text = ""
        """What came in so far."""
        self.num_released = 0
        self.probes: list[Probe] = []
        self.latest: Verdict | None = None
        self.tripped = False
        self.is_finished = False
        self.num_forwarded = 0
        """Tokens that the model computed for this stream, its prompt included."""
        self._counted = (0, 0)

    def feed(self, chunk: str) -> str:
        """Takes text; returns what more may be shown.

        Raises:
            ConfigError: the stream has been finished, or the text is longer than the guard judges at once.
        """
        if self.tripped:
            return ""
        if self.is_finished:
            raise ConfigError("the stream has been finished; begin another")
        self.text += chunk
        if len(self.text) - self._counted[0] < self.stride:
            return ""  # a token has at least one character or is part of one
        end = self.committed()
        if self._tokens_until(end) - self._last_tokens() < self.stride:
            return ""
        return self._probe(end)

    def finish(self) -> str:
        """Judges the whole text as `Guard.check` would, and returns the rest if it passes."""
        if self.is_finished or self.tripped or not self.text.strip():
            self.is_finished = True
            return ""
        self.is_finished = True
        return self._probe(len(self.text))

    def committed(self) -> int:
        """How many characters are certain to be cut into tokens as they are now, whatever follows."""
        end = _decided(self.text)
        start = self._counted[0]
        cut = last_boundary(self.guard.scorer.tokenizer, self.text[start:end])
        return start + cut

    def _probe(self, end: int) -> str:
        part = self.text[:end]
        if not part.strip():
            return ""
        num_tokens = self._tokens_until(end)
        with self.guard.lock:
            self.guard.check_length(self.query, part, self.rules, self.lang)
            before = _reused(self.guard)
            scores = self.guard.scores(self.query, part, self.rules, self.lang)
            self.num_forwarded += scores.num_prompt_tokens + scores.num_extra_tokens - (_reused(self.guard) - before)
        self.latest = self.guard.verdict(scores, self.rules, self.lang, stream=True)
        limit = self.threshold
        self.tripped = self.latest.score > limit if limit is not None else self.latest.decision == "block"
        self.probes.append(Probe(end, num_tokens, self.latest.score, not self.tripped))
        self._counted = (end, num_tokens)
        if self.tripped:
            return ""
        released, self.num_released = self.text[self.num_released : end], end
        return released

    def _tokens_until(self, end: int) -> int:
        start, counted = self._counted
        return counted + len(text_ids(self.guard.scorer.tokenizer, self.text[start:end]))

    def _last_tokens(self) -> int:
        return self._counted[1]


def smallest_stride(num_added: int) -> int:
    """The smallest stride at which looks that add so many tokens keep to MOST_RATIO."""
    return max(1, math.ceil(num_added / (MOST_RATIO - 1) - ROUNDING))


def overhead(guard: Guard, lang: Lang) -> tuple[int, int]:
    """Tokens that a probe appends to the text, and inner nodes of the verdicts' tree."""
    scorer = guard.scorer
    prompt = scorer.prompt("", "word", (), lang=lang)
    shared, tails = candidate_ids(scorer.tokenizer, prompt, list(prompt.verdicts.values()))
    without = replace(prompt, text=prompt.text[: prompt.response[1]], after="", answer="")
    return len(shared) - len(encode(scorer.tokenizer, without)), len(inner_nodes(prefix_tree(tails)[0]))


def last_boundary(tokenizer: Any, text: str) -> int:
    """Characters before the last pre-token: no later text changes how they are cut."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    cutter = getattr(backend, "pre_tokenizer", None)
    if cutter is None:
        return max(text.rfind(" "), text.rfind("\n"), 0)
    pieces = cutter.pre_tokenize_str(text)
    return pieces[-1][1][0] if pieces else 0


def _decided(text: str) -> int:
    """Characters whose quoting no later text changes: not the beginning of a line that may still imitate the prompt's."""
    start = max((found.end() for found in BREAKS.finditer(text)), default=0)
    if UNDECIDED_LINE.fullmatch(text[start:]):
        return start
    tail = UNDECIDED_TAIL.search(text)
    return tail.start() if tail else len(text)


def _reused(guard: Guard) -> int:
    engine = guard.scorer.engine
    return engine.num_reused if isinstance(engine, Reusing) else 0
