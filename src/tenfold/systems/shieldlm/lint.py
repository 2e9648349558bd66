"""What is wrong with rules before a model reads them: contradictions, repetitions, and text that would break the prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from rapidfuzz.fuzz import token_sort_ratio

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.prompting import BREAKS, OWN_NUMBER, language_of, quote_imitations
from tenfold.systems.shieldlm.rules import POLARITIES, RulePack

ALIKE = 90
"""Token-sort similarity (0-100) from which two rules are the same."""
MOST_TOKENS = 80


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    level: Literal["error", "warning"]
    kind: str
    where: str
    message: str


CountTokens = Callable[[str], int]


def rough_tokens(text: str) -> int:
    """Tokens without a tokenizer: 2 for a Chinese character, 1.4 for a word."""
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
    return round(2 * chinese + 1.4 * len(text.split()))


def lint_pack(pack: RulePack, *, count_tokens: CountTokens = rough_tokens) -> list[Finding]:
    """Findings of a whole pack, in its order."""
    named = [
        (f"{pair.id}:{polarity}", rule) for pair in pack.rules for polarity in POLARITIES if (rule := pair.rule(polarity))
    ]
    found = [finding for name, rule in named for finding in _sentence(name, rule, pack.lang, count_tokens)]
    for pair in pack.rules:
        if pair.loose is None or pair.strict is None:
            missing = "loose" if pair.loose is None else "strict"
            found.append(Finding("warning", "partner", pair.id, f"there is no {missing} rule; flips cannot be tested"))
    for (one, text), (other, second) in combinations(named, 2):
        if one.rpartition(":")[0] != other.rpartition(":")[0] and _alike(text, second):
            kind = "duplicate" if one.rpartition(":")[2] == other.rpartition(":")[2] else "polarity"
            found.append(Finding("error", kind, one, f"nearly the same words as {other}"))
    return found


def lint_selection(
    names: Sequence[str], rules: Sequence[str], pack: RulePack | None, lang: str, *, count_tokens: CountTokens = rough_tokens
) -> list[Finding]:
    """Findings of the rules of one request; `names` say how each was asked for."""
    found = [f for place, rule in enumerate(rules, 1) for f in _sentence(f"rule {place}", rule, lang, count_tokens)]
    keys = {name.rpartition(":")[::2] for name in names if name.endswith((":loose", ":strict"))}
    for key in sorted({key for key, _ in keys}):
        if {(key, "loose"), (key, "strict")} <= keys:
            found.append(Finding("error", "contradiction", key, "its loose and its strict rule are both selected"))
    polarity = _polarities(rules, pack)
    for (place, rule), (second, other) in combinations(enumerate(rules), 2):
        if rule == other or _alike(rule, other):
            opposite = {polarity[place], polarity[second]} == {"loose", "strict"}
            kind = "polarity" if opposite else "duplicate"
            found.append(Finding("error", kind, f"rule {place + 1}", f"nearly the same words as rule {second + 1}"))
    return found


def refuse(findings: Sequence[Finding]) -> None:
    """Raises ConfigError for the first error among the findings."""
    for finding in findings:
        if finding.level == "error":
            raise ConfigError(f"{finding.where}: {finding.message} ({finding.kind}); change it, `rules lint` shows all")


def _sentence(where: str, rule: str, lang: str, count_tokens: CountTokens) -> list[Finding]:
    checks = (
        (bool(BREAKS.search(rule)), "line-break", "it has line breaks; write one sentence"),
        (bool(OWN_NUMBER.match(rule)), "numbering", "it brings a number of its own; leave it out"),
        (quote_imitations(rule)[1], "marker", "it imitates the prompt's markers; reword it"),
        (language_of(rule) != lang, "language", f"it is not written in {lang}"),
        (not rule.strip(), "empty", "it is empty"),
    )
    found = [Finding("error", kind, where, message) for bad, kind, message in checks if bad]
    if (size := count_tokens(rule)) > MOST_TOKENS:
        found.append(Finding("warning", "length", where, f"it has about {size} tokens; {MOST_TOKENS} are plenty"))
    return found


def _alike(one: str, other: str) -> bool:
    return token_sort_ratio(one, other) >= ALIKE


def _polarities(rules: Sequence[str], pack: RulePack | None) -> list[str | None]:
    known = {} if pack is None else {rule: polarity for polarity in POLARITIES for rule in pack.all(polarity)}
    return [known.get(rule) for rule in rules]
