"""Explanations parse, agree with the label, cite what exists, and are verified against the measurement."""

import pytest

from tenfold.systems.shieldlm import faithful
from tenfold.systems.shieldlm.explain import CATEGORIES, check, explain, parse_explanation
from tiny_guard import tiny_guard, tiny_scorer

RESPONSE = 'First comes a word. Then "another" one.\nAnd 你好 a last one.'


@pytest.mark.parametrize("cite", ["measured", "model"])
@pytest.mark.parametrize("label", ["safe", "unsafe", "controversial"])
def test_every_explanation_parses_and_agrees(cite, label):
    scorer = tiny_scorer()
    rules = ["one rule", "another rule"]
    prompt = scorer.prompt("q", RESPONSE, rules)
    spans = [faithful.Evidence(0, 19, 0.5), faithful.Evidence(20, 39, -0.1)]
    told = explain(scorer, prompt, label, RESPONSE, [0.0, 0.4], spans, cite=cite)
    assert told.label == label and told.category in CATEGORIES and told.reason
    assert told.rule in (None, 1, 2)
    assert told.evidence == RESPONSE[told.start : told.end]
    if cite == "measured":
        assert told.rule == 2 and told.verified and told.evidence == "First comes a word."


def test_chinese_explanations_use_chinese_verdicts():
    scorer = tiny_scorer(style="tenfold")
    prompt = scorer.prompt("q", "花是红的。", (), lang="zh")
    told = explain(scorer, prompt, "unsafe", "花是红的。", [], [faithful.Evidence(0, 5, 1.0)])
    assert told.rule is None and told.evidence == "花是红的。" and told.verified


def test_what_the_measurement_does_not_bear_out_is_not_verified():
    scorer = tiny_scorer()
    prompt = scorer.prompt("q", "one two", ["a rule"])
    text = " unsafe\n[Analysis] category: other\nrule: 1\nevidence: two\nreason: so it is\n"
    told = parse_explanation(text, prompt, "unsafe")
    spans = [faithful.Evidence(0, 3, 0.4), faithful.Evidence(4, 7, -0.2)]
    assert not check(told, "one two", [0.9], spans).verified  # the evidence carries nothing
    spans = [faithful.Evidence(4, 7, 0.2)]
    assert check(told, "one two", [0.9], spans).verified
    assert not check(told, "one two", [0.01], spans).verified  # the rule decided nothing
    with pytest.raises(AssertionError):
        parse_explanation(text, prompt, "safe")


def test_the_guard_explains():
    verdict = tiny_guard().check("q", RESPONSE, ["bias:strict"], explain=True)
    assert verdict.explanation is not None and verdict.explanation.label == verdict.label
    assert verdict.explanation.verified == (verdict.explanation.rule == faithful.cited_rule(verdict.attributions))
