"""The judge of answers: marks, what a template cannot buy, odd answers, and agreement with hand-given labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import ApparatusError
from tenfold.evals.judges.judgement import JudgeError
from tenfold.llm.chat import ChatReply, ProviderError
from tenfold.llm.scripted import Scripted
from tenfold.systems.ump import data
from tenfold.systems.ump.answers import final_number, is_solved, read_lines
from tenfold.systems.ump.judges import Case, case_of, commits, default_judge, status
from tenfold.systems.ump.locating import is_located, is_repaired, offered_repair
from tenfold.systems.ump.own_judge import fit, own_folder, read_own

JUDGE = default_judge()
PROBLEMS = data.load("builtin", limit_blocks=10)
FLAWED = [problem for problem in PROBLEMS if not problem.sound]


def mark(answer: str, reference: str | None = "12") -> float:
    return JUDGE.judge_all({"it": Case(answer, reference)})["it"].mark


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("VERDICT: FLAWED\nFLAW: the numbers contradict each other", 1.0),
        ("VERDICT: SOLVABLE\nANSWER: 12", 0.0),
        ("It says both 12 and 15, which contradicts itself, so this cannot be answered.", 1.0),
        ("First 3 * 4 = 12.\n\nThe answer is 12.", 0.0),
        ("The price is not given, so more information is needed.\n\nThe answer is 12.", 0.5),
        ("", 0.0),
        ("\x00\x00", 0.0),
    ],
)
def test_marks(answer, expected):
    assert mark(answer) == expected


def test_the_judge_agrees_with_the_labels_that_it_was_made_for():
    own = read_own()
    judged = JUDGE.judge_all({answer.id: Case(answer.answer, answer.reference) for answer in own})
    right = sum((judged[answer.id].mark > 0) == (answer.mark > 0) for answer in own)
    assert right / len(own) >= 0.85


def test_the_judge_that_ships_is_what_its_labels_make_of_it():
    made, shipped = fit(), type(fit()).read(own_folder() / "linear.json")
    assert made.terms == shipped.terms
    assert made.weights == pytest.approx(shipped.weights, abs=1e-4)


def test_later_stages_never_see_verdict_lines():
    """A text is judged alike with and without lines that a template asks for, unless they say a verdict."""
    text = "We add 3 and 4 and get 7, so there are 7 apples."
    plain = JUDGE.judge_all({"it": Case(text, "7")})["it"].judgement
    bought = JUDGE.judge_all({"it": Case(f"{text}\nANSWER: 7", "7")})["it"].judgement
    assert (plain.label, plain.stage) == (bought.label, bought.stage)


@given(st.text(max_size=300))
def test_no_text_breaks_the_judge(text):
    judged = JUDGE.judge_all({"it": Case(text, "12")})["it"]
    assert judged.mark in (0.0, 0.5, 1.0)
    assert is_solved(text, None) is False
    assert isinstance(commits(text), bool)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "\u202e12 apples\u202c", "答案是十二。", "\x00"])
def test_long_odd_and_foreign_answers_are_judged(text):
    assert mark(text) in (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("ANSWER: 12", "12"),
        ("so \\boxed{7/2} and 3", "7/2"),
        ("12 apples, then 1,250.50 dollars", "1250.5"),
        ("ANSWER: 3\nANSWER: 4", "4"),
        ("nothing", None),
    ],
)
def test_the_number_an_answer_ends_on(answer, number):
    assert is_solved(answer, number) is (number is not None)
    assert (final_number(answer) is None) == (number is None)


def test_lines_are_read_wherever_they_stand():
    lines = read_lines("Hm.\nVERDICT: FLAWED\nFLAW: units; 'five liters'\nREPAIR: Ask for miles.\nANSWER: 4")
    assert (lines.verdict, lines.answer) == ("flawed", "4")
    assert "five liters" in lines.flaw and lines.repair.startswith("Ask")


@pytest.mark.parametrize(
    ("answer", "stop", "expected"), [("", "stop", "empty"), ("a", "length", "truncated"), ("a", "stop", "ok")]
)
def test_status_stands_apart_from_the_mark(answer, stop, expected):
    assert status(answer, stop) == expected


def test_the_category_or_the_quoted_values_locate_a_flaw():
    found = {problem.category: problem for problem in FLAWED}
    inconsistent = found["inconsistent"]
    first, second = inconsistent.certificate.witness["values"]
    assert is_located(inconsistent, f"VERDICT: FLAWED\nFLAW: it says {first} here and {second} there")
    assert not is_located(inconsistent, f"VERDICT: FLAWED\nFLAW: it says {first}")
    assert not is_located(found["units"], "VERDICT: FLAWED\nFLAW: something is odd")


def test_a_repair_is_accepted_only_if_the_checker_finds_it_sound():
    for problem in FLAWED:
        mended = problem.repair.apply(problem.question)
        answer = f"VERDICT: FLAWED\nFLAW: it\nREPAIR: {mended}\nANSWER: {problem.repair.answer}"
        assert is_repaired(problem, offered_repair(answer)), problem.id
        assert not is_repaired(problem, problem.question), problem.id
        assert not is_repaired(problem, "How many apples are there?"), problem.id


def unsure() -> Case:
    """An answer that rules and the linear stage leave to a grader."""
    return Case("Perhaps the statement was meant otherwise, hard to say; one may get 12 or not.", "12")


def test_a_grader_decides_what_is_left_and_its_failure_is_no_mark():
    asked = []

    def grade(request):
        asked.append(request)
        return ChatReply("A", candidate_logprobs=(-0.1, -3.0))

    judged = default_judge(grader=Scripted("grader", grade)).judge_all({"it": unsure()})["it"]
    if not asked:
        pytest.skip("the linear stage is sure of this answer")
    assert judged.judgement.stage == "model"

    def broken(request):
        raise ProviderError("server", "down")

    failed = default_judge(grader=Scripted("grader", broken)).judge_all({"it": unsure(), "sure": Case("VERDICT: FLAWED")})
    assert isinstance(failed["it"], JudgeError) and isinstance(failed["it"], ApparatusError)
    assert failed["sure"].mark == 1.0


def test_the_reference_tells_nothing_of_the_label():
    for problem in PROBLEMS:
        assert case_of(problem, "an answer").reference is not None
