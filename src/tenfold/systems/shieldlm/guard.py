"""The guard: a scorer, a calibrator and rule packs together give verdicts with promised error rates.

A text that imitates the prompt's own lines is judged twice, with these lines quoted and without them, and the higher score
counts: so a line that claims a verdict can raise suspicion but never lower it.
"""

import copy
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm import faithful
from tenfold.systems.shieldlm.calibrate import Decision
from tenfold.systems.shieldlm.calibrator import Calibrator, stratum
from tenfold.systems.shieldlm.explain import Explanation, explain
from tenfold.systems.shieldlm.items import LABELS, Label
from tenfold.systems.shieldlm.lint import lint_selection, refuse
from tenfold.systems.shieldlm.prompting import LANGS, Lang, encode, language_of, without_imitations
from tenfold.systems.shieldlm.rules import RulePack
from tenfold.systems.shieldlm.verdict import Scores, VerdictScorer

MOST_TOKENS = 2048


@dataclass(frozen=True)
class Verdict:
    """What the guard found, and what it rests on."""

    label: Label
    decision: Decision
    score: float
    """Calibrated, 0 safe to 1 unsafe."""
    probabilities: Mapping[str, float]
    """Calibrated, by label."""
    coverage: float
    """How likely the model writes a verdict at all; low where it does not follow the form."""
    lang: Lang
    rules: tuple[str, ...] = ()
    spoof: bool = False
    """Whether the text imitated the prompt's own lines."""
    num_tokens: int = 0
    attributions: tuple[float, ...] = ()
    """Per rule, if asked for: how much of the verdict's log-odds goes when it is left out."""
    spans: tuple[faithful.Evidence, ...] = ()
    """Pieces of the response by weight, if asked for."""
    explanation: Explanation | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    """Hashes of model, prompt, pack and thresholds."""


class Guard:
    """Judges one text at a time; calls from several threads wait for each other."""

    def __init__(
        self,
        scorer: VerdictScorer,
        calibrator: Calibrator | None = None,
        packs: Sequence[RulePack] = (),
        *,
        ids: Mapping[str, str] | None = None,
        max_tokens: int = MOST_TOKENS,
    ) -> None:
        self.scorer = scorer
        self.calibrator = calibrator or parse(Calibrator, {})
        self.packs = {pack.lang: pack for pack in packs}
        self.ids = {**(ids or {}), **{f"pack-{pack.lang}": pack.fingerprint for pack in packs}}
        self.max_tokens = max_tokens
        self.lock = threading.RLock()
        self.calibrator.check_bound(self.ids)

    def check(
        self,
        query: str,
        response: str,
        rules: Sequence[str] = (),
        *,
        lang: Lang | None = None,
        explain: bool = False,
        spans: bool = False,
        alpha: float | None = None,
    ) -> Verdict:
        """A verdict; the query may be empty. Rules are names of the pack (`bias:strict`) or sentences.

        Raises:
            ConfigError: the response is empty or too long, or a rule has a fault.
            UnknownNameError: a rule or language that we do not have.
        """
        lang, sentences = self.resolve(response, rules, lang)
        with self.lock:
            self.check_length(query, response, sentences, lang)
            scores = self.scores(query, response, sentences, lang)
            verdict = self.verdict(scores, sentences, lang, alpha=alpha)
            return self._with_reasons(verdict, query, response, explain=explain, spans=spans)

    def resolve(self, response: str, rules: Sequence[str], lang: Lang | None) -> tuple[Lang, tuple[str, ...]]:
        """The language and the sentences of a request, checked."""
        if not response.strip():
            raise ConfigError("the response is empty; give the text that is to be judged")
        if lang is not None and lang not in LANGS:
            raise ConfigError(f"the language is {lang!r}; en and zh are accepted")
        lang = lang or language_of(response)
        return lang, self.select(rules, lang)

    def select(self, rules: Sequence[str], lang: Lang) -> tuple[str, ...]:
        """The sentences of rules by name or as text, without faults."""
        pack = self.packs.get(lang)
        sentences = pack.select(rules) if pack else list(rules)
        refuse(lint_selection(rules, sentences, pack, lang))
        return tuple(sentences)

    def scores(self, query: str, response: str, rules: Sequence[str], lang: Lang) -> Scores:
        """Scores of a text; of one that imitates the prompt, the more suspicious of two readings."""
        found = self.scorer.score(query, response, rules, lang=lang)
        plain = without_imitations(response)
        if not found.spoof or not plain.strip():
            return found
        other = self.scorer.score(without_imitations(query), plain, rules, lang=lang)
        worst = max((found, other), key=lambda each: self.calibrator.score(each.logps))
        return Scores(worst.logps, worst.num_prompt_tokens, worst.num_extra_tokens, True)

    def verdict(
        self, scores: Scores, rules: Sequence[str], lang: Lang, *, stream: bool = False, alpha: float | None = None
    ) -> Verdict:
        """The decision on scores."""
        calibrator = self.calibrator
        share = calibrator.probabilities([[scores.logps[label] for label in LABELS]])[0]
        score = calibrator.score(scores.logps)
        limits = calibrator.thresholds(stratum(lang, bool(rules)), stream=stream, alpha=alpha)
        return Verdict(
            label=LABELS[int(share.argmax())],
            decision=limits.decide(score),
            score=score,
            probabilities=dict(zip(LABELS, share.tolist(), strict=True)),
            coverage=scores.coverage,
            lang=lang,
            rules=tuple(rules),
            spoof=scores.spoof,
            num_tokens=scores.num_prompt_tokens,
            ids=self.ids,
        )

    def _with_reasons(self, verdict: Verdict, query: str, response: str, *, explain: bool, spans: bool) -> Verdict:
        if not (explain or spans):
            return verdict
        at: dict[str, Any] = {"lang": verdict.lang}
        weights = tuple(faithful.attributions(self.scorer, query, response, verdict.rules, verdict.label, **at))
        found = tuple(faithful.evidence(self.scorer, query, response, verdict.rules, verdict.label, **at))
        told = explain_verdict(self.scorer, verdict, query, response, weights, found) if explain else None
        return replace(verdict, attributions=weights, spans=found, explanation=told)

    def check_length(self, query: str, response: str, rules: Sequence[str], lang: Lang) -> None:
        """Raises ConfigError if the prompt is longer than max_tokens; characters are looked at before tokens."""
        size = len(query) + len(response) + sum(map(len, rules))
        if size > 16 * self.max_tokens:
            raise ConfigError(f"the text has {size} characters; at most {16 * self.max_tokens} are judged at once: cut it")
        count = self.count_tokens(query, response, rules, lang)
        if count > self.max_tokens:
            raise ConfigError(f"the text has {count} tokens; at most {self.max_tokens} are judged at once: cut it")

    def twin(self) -> "Guard":
        """The same guard with a cache of its own, for a stream beside others; they still take turns at computing."""
        other = copy.copy(self)
        other.scorer = self.scorer.twin()
        return other

    def count_tokens(self, query: str, response: str, rules: Sequence[str], lang: Lang) -> int:
        """Tokens of the prompt."""
        return len(encode(self.scorer.tokenizer, self.scorer.prompt(query, response, rules, lang=lang)))


def explain_verdict(
    scorer: VerdictScorer,
    verdict: Verdict,
    query: str,
    response: str,
    weights: Sequence[float],
    spans: Sequence[faithful.Evidence],
) -> Explanation:
    """The explanation of a verdict from what it was measured to rest on."""
    prompt = scorer.prompt(query, response, verdict.rules, lang=verdict.lang)
    return explain(scorer, prompt, verdict.label, response, weights, spans)
