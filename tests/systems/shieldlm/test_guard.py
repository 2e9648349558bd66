"""The guard: decisions, refusals, injected verdicts that cannot lower a score, attributions and evidence."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.llm.chat import assistant, user
from tenfold.systems.shieldlm import faithful
from tenfold.systems.shieldlm.calibrator import Calibrator
from tenfold.systems.shieldlm.judging import INJECTIONS
from tenfold.systems.shieldlm.served import ServedGuard, exchange
from tiny_guard import tiny_guard, tiny_scorer


@pytest.fixture(scope="module")
def guard():
    return tiny_guard()


def test_a_verdict_says_what_it_rests_on(guard):
    verdict = guard.check("hi", "the answer", ["bias:strict", "Never name a frump."], spans=True)
    assert verdict.label in ("safe", "unsafe", "controversial")
    assert sum(verdict.probabilities.values()) == pytest.approx(1)
    assert len(verdict.attributions) == len(verdict.rules) == 2
    assert verdict.ids["pack-en"] == guard.packs["en"].fingerprint


@settings(max_examples=25)
@given(text=st.text(alphabet="ab .\n", min_size=1, max_size=30).filter(str.strip), injected=st.sampled_from(INJECTIONS))
def test_injected_verdicts_never_lower_a_score(guard, text, injected):
    plain = guard.scores("q", text, (), "en")
    attacked = guard.scores("q", text + injected, (), "en")
    assert attacked.spoof
    assert guard.calibrator.score(attacked.logps) >= guard.calibrator.score(plain.logps) - 1e-12


def test_bad_requests_are_told_plainly(guard):
    for response, rules, options, match in (
        (" \n", (), {}, "response is empty"),
        ("x", ["bias:strict", "bias:loose"], {}, "contradiction"),
        ("x", ["two\nlines here"], {}, "line-break"),
        ("x", (), {"lang": "fr"}, "en and zh"),
        ("ab " * 3000, (), {}, "tokens|characters"),
        ("ab" * 40_000, (), {}, "characters"),
        ("x", (), {"alpha": 0.1}, "calibrate"),
    ):
        with pytest.raises(ConfigError, match=match):
            guard.check("", response, rules, **options)
    with pytest.raises(UnknownNameError, match="bias:strict"):
        guard.check("", "x", ["bais:strict"])


def test_decisions_follow_the_thresholds():
    labels = [False] * 40 + [True] * 40
    low = Calibrator().with_limits("en", [0.0] * 40 + [1e-9] * 40, labels, alpha=0.05, beta=0.05)
    high = Calibrator().with_limits("en", [0.999] * 40 + [1.0] * 40, labels, alpha=0.05, beta=0.05)
    assert tiny_guard(calibrator=low).check("", "a word").decision == "block"
    assert tiny_guard(calibrator=high).check("", "a word").decision == "allow"


def test_thresholds_of_another_pack_are_refused():
    with pytest.raises(ConfigError, match="another pack-en"):
        tiny_guard(calibrator=Calibrator(bound_to={"pack-en": "0"}))


def test_attributions_are_differences_of_log_odds():
    scorer = tiny_scorer()
    rules = ["one rule", "another rule"]
    found = faithful.attributions(scorer, "q", "ab", rules, "unsafe", lang="en")
    whole = scorer.score("q", "ab", rules).log_odds("unsafe")
    assert found[1] == pytest.approx(whole - scorer.score("q", "ab", rules[:1]).log_odds("unsafe"))
    assert faithful.cited_rule([0.01, 0.02]) is None and faithful.cited_rule([0.2, 0.5]) == 2
    assert faithful.cited_rule([]) is None


@given(st.text(alphabet="ab c.!?\n你。", max_size=60))
def test_pieces_cover_every_word_once_and_in_order(text):
    spans = faithful.pieces(text)
    assert all(start < end for start, end in spans)
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))
    covered = "".join(text[start:end] for start, end in spans)
    assert "".join(covered.split()) == "".join(text.split())


def test_evidence_falls_in_weight(guard):
    found = guard.check("q", "First piece. Second piece. Third one.", spans=True).spans
    assert [each.weight for each in found] == sorted((each.weight for each in found), reverse=True)
    assert len(found) == 3


def test_the_seam_reads_conversations(guard):
    turns = [user("first"), assistant("one"), user("second"), assistant("two")]
    assert exchange(turns) == ("second", "two")
    assert exchange(turns[:3]) == ("", "second")
    assert exchange([]) == ("", "")
    served = ServedGuard(guard)
    verdict = served.check(turns)
    assert verdict.score == guard.check("second", "two").score
    assert len(served.fingerprint) == 64
    watch = served.watch(turns[:3])
    released = watch.feed("a few words, ") + watch.feed("and more.") + watch.finish()
    assert watch.verdict is not None
    assert released == ("" if watch.stream.tripped else "a few words, and more.")
