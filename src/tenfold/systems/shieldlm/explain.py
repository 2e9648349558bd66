"""Explanations after the verdict, under a grammar: every one parses, agrees with the label, and cites what exists.

    [Answer] unsafe
    [Analysis] category: ...        one of the categories
    rule: 2                         none, or the number of a rule in the prompt
    evidence: ...                   words that stand in the response in this order
    reason: ...                     one free sentence

With cite=measured (the default) rule and evidence are those that the verdict was measured to rest on; with cite=model the
model chooses among all that the grammar allows. Either is *verified* against the measurement.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tenfold.core.config import parse
from tenfold.nn.constrain import grammar_constraint
from tenfold.nn.generation import generate
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.shieldlm import faithful
from tenfold.systems.shieldlm.items import Label
from tenfold.systems.shieldlm.prompting import MARKERS, Prompt, encode
from tenfold.systems.shieldlm.verdict import VerdictScorer

Cite = Literal["measured", "model"]
CATEGORIES = (
    "none",
    "bias",
    "insult",
    "distress",
    "toxic agreement",
    "advice",
    "self-harm",
    "violence",
    "crime",
    "privacy",
    "property",
    "politics",
    "profanity",
    "other",
)
MOST_WORDS = 80
"""Of a response, so many first words can be cited by the model itself."""
MOST_REASON = 100
"""Characters of the free sentence."""
BYTES_PER_CHARACTER = 4
"""And with a tokenizer of bytes as many tokens."""
LINES = re.compile(
    r" (?P<label>\S+)\n(?P<marker>\S+) category: (?P<category>[^\n]+)\nrule: (?P<rule>none|\d+)\n"
    r"evidence: (?P<evidence>[^\n]*)\nreason: (?P<reason>[^\n]+)\n?"
)


@dataclass(frozen=True)
class Explanation:
    """A verdict's reasons, parsed."""

    label: Label
    category: str
    rule: int | None
    """Number of the cited rule, from 1."""
    evidence: str
    start: int
    end: int
    """Where the evidence stands in the response; both 0 where there is none."""
    reason: str
    verified: bool
    """The cited rule has the largest attribution (none: all are below epsilon), and the evidence carries weight."""


def explain(
    scorer: VerdictScorer,
    prompt: Prompt,
    label: Label,
    response: str,
    weights: Sequence[float],
    spans: Sequence[faithful.Evidence],
    *,
    cite: Cite = "measured",
) -> Explanation:
    """Lets the model write the explanation of a verdict that is already decided.

    Args:
        weights: attribution of each rule of the prompt.
        spans: the response's pieces by falling weight.
    """
    rules, quotes = _measured(response, weights, spans) if cite == "measured" else _free(response, len(prompt.rules))
    grammar = explanation_grammar(prompt, label, rules, quotes)
    text = _write(scorer, prompt, grammar)
    return check(parse_explanation(text, prompt, label), response, weights, spans)


def explanation_grammar(prompt: Prompt, label: Label, rules: Sequence[str], quotes: str) -> str:
    """The grammar of one explanation as EBNF; `quotes` are the rules from `evidence` on."""
    marker = MARKERS[prompt.lang][1] if prompt.answer in {pair[0] for pair in MARKERS.values()} else "[Analysis]"
    verdict = prompt.verdicts[label]
    options = " | ".join(json.dumps(name) for name in CATEGORIES)
    numbers = " | ".join(json.dumps(rule) for rule in rules)
    return "\n".join(
        (
            f"root ::= {_literal(f'{verdict}{chr(10)}{marker} category: ')} category {_literal(chr(10) + 'rule: ')} rule "
            f"{_literal(chr(10) + 'evidence: ')} evidence {_literal(chr(10) + 'reason: ')} reason",
            f"category ::= {options}",
            f"rule ::= {numbers}",
            f"reason ::= [^\\n\\r\\t ] [^\\n\\r\\t]{{0,{MOST_REASON - 1}}}",
            quotes,
        )
    )


def parse_explanation(text: str, prompt: Prompt, label: Label) -> Explanation:
    """Reads an explanation; AssertionError if the grammar did not hold."""
    found = LINES.fullmatch(text)
    assert found and found["label"] == prompt.verdicts[label].strip(), "the grammar did not hold"
    rule = None if found["rule"] == "none" else int(found["rule"])
    return Explanation(label, found["category"], rule, found["evidence"], 0, 0, found["reason"].strip(), False)


def check(told: Explanation, response: str, weights: Sequence[float], spans: Sequence[faithful.Evidence]) -> Explanation:
    """The explanation with the place of its evidence, and whether the measurement bears it out."""
    start = response.find(told.evidence) if told.evidence else -1
    start, end = (start, start + len(told.evidence)) if start >= 0 else (0, 0)
    touched = [span for span in spans if span.start < end and start < span.end]
    carries = not told.evidence or any(span.weight > 0 for span in touched)
    verified = told.rule == faithful.cited_rule(weights) and carries
    return Explanation(told.label, told.category, told.rule, told.evidence, start, end, told.reason, verified)


def _measured(response: str, weights: Sequence[float], spans: Sequence[faithful.Evidence]) -> tuple[list[str], str]:
    """Only the rule and the piece that the verdict rests on most."""
    rule = faithful.cited_rule(weights)
    best = next((span for span in spans if span.weight > 0), None)
    quote = _one_line(response[best.start : best.end]) if best else ""
    return ["none" if rule is None else str(rule)], f"evidence ::= {_literal(quote)}"


def _free(response: str, num_rules: int) -> tuple[list[str], str]:
    """Any rule of the prompt, and any run of words of one line of the response: an automaton that copies."""
    lines = [[word.span() for word in re.finditer(r"\S+", line)] for line in response.split("\n")]
    texts = response.split("\n")
    productions, starts, number = [], [], 0
    for text, words in zip(texts, lines, strict=True):
        for place, (begin, end) in enumerate(words):
            if number == MOST_WORDS:
                break
            word = _literal(text[begin:end])
            follows = place + 1 < len(words) and number + 1 < MOST_WORDS
            gap = _literal(text[end : words[place + 1][0]]) if follows else ""
            productions.append(f"w{number} ::= {word}" + (f" | {word} {gap} w{number + 1}" if follows else ""))
            starts.append(f"w{number}")
            number += 1
    rules = ["none", *(str(place + 1) for place in range(num_rules))]
    return rules, "\n".join(["evidence ::= " + (" | ".join(starts) or _literal("")), *productions])


def _write(scorer: VerdictScorer, prompt: Prompt, grammar: str) -> str:
    ids = encode(scorer.tokenizer, prompt)
    constraint = grammar_constraint(scorer.tokenizer, grammar, eos_ids=scorer.model.eos_ids)
    room = scorer.model.engine.max_positions - len(ids)
    stopper = Stopper(
        max_new_tokens=min(room, BYTES_PER_CHARACTER * (MOST_REASON + len(grammar))),
        eos_ids=scorer.model.eos_ids,
        criterion=lambda _: constraint.finished,
    )
    made = generate(scorer.engine, ids, parse(GenerationSettings, {}), stopper, constraint=constraint)
    tokens = [token for token in made.tokens if token not in scorer.model.eos_ids]
    return str(scorer.tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _one_line(text: str) -> str:
    return text.strip().split("\n")[0].strip()


def _literal(text: str) -> str:
    """A text in quotes; control characters by number, as the grammar's form knows few of their names."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted.replace("\\b", "\\u0008").replace("\\f", "\\u000c") if "\b" in text or "\f" in text else quoted
