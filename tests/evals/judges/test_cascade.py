"""A cascade settles where a stage is sure, passes on inside the band, and never turns a failure into a label."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import ConfigError
from tenfold.evals.judges.cascade import Cascade, Computed
from tenfold.evals.judges.grader import ModelJudge
from tenfold.evals.judges.judgement import Band, JudgeError, Judgement
from tenfold.llm.chat import ChatReply, ProviderError, user
from tenfold.llm.scripted import Scripted

RULES: Computed[dict] = Computed("rules", lambda case: case.get("rules"))
LINEAR: Computed[dict] = Computed("linear", lambda case: case["linear"])
CASCADE = Cascade([RULES, LINEAR], {"rules": Band(0.2, 0.8), "linear": Band(0.4, 0.6)})


def judge(case, cascade=CASCADE):
    return asyncio.run(cascade.judge(case))


def test_sure_stage_settles():
    assert judge({"rules": 0.9, "linear": 0.1}) == Judgement(True, 0.9, "rules")
    assert judge({"rules": 0.8, "linear": 0.1}) == Judgement(False, 0.1, "linear")  # ends belong to the band
    assert judge({"linear": 0.7}) == Judgement(True, 0.7, "linear")  # rules had nothing to say


def test_last_stage_that_is_not_sure_says_so():
    assert judge({"rules": 0.3, "linear": 0.45}) == Judgement(False, 0.45, "linear", settled=False)


@given(rules=st.floats(0, 1) | st.none(), linear=st.floats(0, 1), ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_law_of_the_cascade(rules, linear, ends):
    """The slow reading: the first probability outside its band, else the last."""
    band = Band(min(ends), max(ends))
    made = judge({"rules": rules, "linear": linear}, Cascade([RULES, LINEAR], {"rules": band}))
    passes = rules is None or band.low <= rules <= band.high
    assert (made.probability, made.stage) == ((linear, "linear") if passes else (rules, "rules"))
    assert made.label == (made.probability >= 0.5)
    assert made.settled


def grader(answer):
    return ModelJudge(
        "model",
        Scripted("grader", answer),
        lambda case, options: [user(f"{case['text']} A) {options[0]} B) {options[1]}")],
        options=("flawed", "sound"),
    )


def test_model_is_asked_in_both_orders_and_preference_for_a_letter_cancels():
    stage = grader(lambda request: ChatReply("", candidate_logprobs=(-0.1, -3.0)))
    assert asyncio.run(stage.probability({"text": "t"})) == pytest.approx(0.5)
    texts = [request.messages[0].text for request in stage.model.requests]
    assert texts == ["t A) flawed B) sound", "t A) sound B) flawed"]


def test_model_that_sees_the_options():
    def answer(request):
        flawed_first = "A) flawed" in request.messages[0].text
        return ChatReply("", candidate_logprobs=(0.0, -50.0) if flawed_first else (-2000.0, 0.0))

    assert asyncio.run(grader(answer).probability({"text": "t"})) == pytest.approx(1.0)


@pytest.mark.parametrize("reply", [ChatReply("A"), ChatReply("", candidate_logprobs=(-0.1, None))])
def test_unranked_letter_is_a_failed_judge_not_a_label(reply):
    with pytest.raises(JudgeError, match="grader did not rank A and B"):
        asyncio.run(grader(lambda request: reply).probability({"text": "t"}))


def test_unreachable_judge_fails_its_case_only():
    def answer(request):
        if request.messages[0].text.startswith("gone"):
            raise ProviderError("timeout", "no reply within 60 s")
        return ChatReply("", candidate_logprobs=(-0.1, -3.0) if "A) flawed" in request.messages[0].text else (-3.0, -0.1))

    cascade = Cascade([RULES, grader(answer)], {"rules": Band(0.2, 0.8)})
    cases = {"1": {"rules": 0.5, "text": "gone"}, "2": {"rules": 0.5, "text": "here"}, "3": {"rules": 0.1, "text": "gone"}}
    told = {}
    made = asyncio.run(cascade.judge_all(cases, on_judgement=told.__setitem__))
    assert list(made) == ["1", "2", "3"]
    assert isinstance(made["1"], JudgeError) and "timeout" in str(made["1"])
    assert made["2"].stage == "model" and made["2"].label
    assert made["3"] == Judgement(False, 0.1, "rules")
    assert told == made


def test_nobody_has_anything_to_say():
    with pytest.raises(JudgeError, match="none of the stages rules had anything to say"):
        judge({}, Cascade([RULES], {}))


def test_band_of_no_stage_is_refused():
    with pytest.raises(ConfigError, match="bands are given for model; the stages are rules"):
        Cascade([RULES], {"model": Band(0, 1)})


@pytest.mark.parametrize("probability", [float("nan"), 1.5, float("-inf")])
def test_what_is_no_probability_is_a_failure_and_no_label(probability):
    with pytest.raises(JudgeError, match="linear: its probability is"):
        judge({"linear": probability})


@pytest.mark.parametrize("logprobs", [(float("nan"), -1.0), (float("-inf"), float("-inf"))])
def test_broken_log_probabilities_are_a_failure_and_no_label(logprobs):
    model = Scripted("broken", lambda _: ChatReply("", candidate_logprobs=logprobs))
    grader = ModelJudge("grader", model, lambda case, options: [user(case)], options=("flawed", "sound"))
    with pytest.raises(JudgeError, match="did not rank A and B"):
        asyncio.run(grader.probability("x"))
