"""The checker: no edit of a certificate passes, verdicts agree with an enumeration of small worlds, mutants are caught."""

import itertools
from collections import defaultdict
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.ump.building import build_problems
from tenfold.systems.ump.checker import check, check_block
from tenfold.systems.ump.derivations import RefusedError
from tenfold.systems.ump.problems import CATEGORIES, Certificate, Equation, Fact, Problem, by_block
from tenfold.systems.ump.verdicts import prove

BLOCKS = list(by_block(build_problems("builtin").problems).values())
ONE_OF_EACH = {category: next(cells for cells in BLOCKS if cells["u1"].category == category) for category in CATEGORIES}
CELLS = [cells[name] for cells in ONE_OF_EACH.values() for name in ("c1", "u1", "u2")]


def changed(problem: Problem, **certificate: object) -> Problem:
    return problem.model_copy(update={"certificate": problem.certificate.model_copy(update=certificate)})


def more(text: str) -> str:
    return str(Fraction(text) + 1)


@pytest.mark.parametrize("problem", CELLS, ids=lambda problem: f"{problem.category}-{problem.cell}")
def test_no_edit_of_a_certificate_passes(problem):
    assert check(problem) is None
    certificate = problem.certificate
    for place, fact in enumerate(certificate.facts):
        rest = (*certificate.facts[:place], *certificate.facts[place + 1 :])
        assert check(changed(problem, facts=rest)), "a number of the text without a fact"
        if fact.value is not None:
            odd = fact.model_copy(update={"value": more(fact.value)})
            assert check(changed(problem, facts=(*rest, odd))), "a fact that the text does not say"
        moved = fact.model_copy(update={"span": (fact.span[0] + 1, fact.span[1] + 1)})
        assert check(changed(problem, facts=(*rest, moved))), "a fact that points beside its words"
    others = {"unique", "inconsistent", "underdetermined", "violates", "dimension", "false_predicate"} - {
        certificate.verdict
    }
    assert all(check(changed(problem, verdict=verdict)) for verdict in others), "another verdict"
    assert check(changed(problem, witness={})), "no witness"


@pytest.mark.parametrize("cells", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_sound_and_flawed_cannot_be_exchanged(cells):
    relabelled = cells["u1"].model_copy(update={"flaw": None, "answer": "7"})
    assert check(relabelled)
    assert check(cells["c1"].model_copy(update={"flaw": cells["u1"].flaw, "answer": None}))
    assert check_block({**cells, "u1": cells["c1"], "c1": cells["u1"]})
    assert check_block({**cells, "u2": cells["u1"]})
    assert check_block({name: cell for name, cell in cells.items() if name != "c2"})


@pytest.mark.parametrize("cells", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_a_repair_has_to_mend_the_text_and_to_say_the_answer(cells):
    flawed = cells["u1"]
    wrong = flawed.repair.model_copy(update={"answer": more(flawed.repair.answer)})
    assert check(flawed.model_copy(update={"repair": wrong}))
    assert check(flawed.model_copy(update={"repair": flawed.repair.model_copy(update={"edits": ()})}))
    assert check(flawed.model_copy(update={"repair": None}))


# ---- the verdicts against an enumeration: two facts a, b, up to two sums over them, worlds of small integers

OPERATORS = ("+", "-", "*")
APPLY = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}


def certificate_of(
    known: dict[str, int | None], equations: list[tuple[str, str, str, str]], verdict: str, witness: dict
) -> Certificate:
    facts = tuple(
        Fact(span=(place, place + 1), text="", var=var, value=None if value is None else str(value))
        for place, (var, value) in enumerate(known.items())
    )
    rules = tuple(Equation(var=var, expr=[operator, left, right]) for var, operator, left, right in equations)
    return Certificate(
        facts=facts, equations=rules, ask=equations[0][0] if equations else "a", verdict=verdict, witness=witness
    )


def answers(known: dict[str, int | None], equations: list[tuple[str, str, str, str]], ask: str) -> set[int]:
    """What `ask` may be over all small worlds in which every statement holds."""
    free = [var for var, value in known.items() if value is None]
    found = set()
    for choice in itertools.product(range(6), repeat=len(free)):
        world = {var: value for var, value in known.items() if value is not None} | dict(zip(free, choice, strict=True))
        derived = defaultdict(set)
        for var, operator, left, right in equations:
            derived[var].add(APPLY[operator](world[left], world[right]))
        if all(len(values | ({world[var]} if var in world else set())) == 1 for var, values in derived.items()):
            found.add(next(iter(derived[ask])) if ask in derived else world[ask])
    return found


@given(
    a=st.none() | st.integers(0, 5),
    b=st.integers(0, 5),
    rules=st.lists(
        st.tuples(st.just("s"), st.sampled_from(OPERATORS), st.sampled_from("ab"), st.sampled_from("ab")),
        min_size=1,
        max_size=2,
    ),
    told=st.none() | st.integers(0, 10),
)
def test_verdicts_agree_with_an_enumeration_of_small_worlds(a, b, rules, told):
    known = {"a": a, "b": b} | ({} if told is None else {"s": told})
    truth = answers(known, rules, "s")

    def proves(verdict: str, witness: dict) -> bool:
        try:
            prove(certificate_of(known, rules, verdict, witness))
        except RefusedError:
            return False
        return True

    if a is None:
        for value in range(-5, 30):
            if proves("unique", {"value": str(value), "assignment": {"b": str(b), "s": str(value)}}):
                assert truth == {value}
        return
    derived = [APPLY[op](known[left], known[right]) for _, op, left, right in rules] + ([] if told is None else [told])
    assignment = {"a": str(a), "b": str(b), "s": str(derived[0])}
    for value in range(-5, 30):
        assert proves("unique", {"value": str(value), "assignment": assignment}) == (truth == {value})
    for one, other in itertools.combinations(range(-5, 12), 2):
        witness = {"var": "s", "values": [str(one), str(other)], "assignment": assignment}
        assert proves("inconsistent", witness) == (set(derived) == {one, other}) and (not truth or len(set(derived)) == 1)


# ---- mutants of the generator: each plants one bug in good blocks; the checker has to notice every one


def _facts(problem: Problem, change) -> Problem:
    return changed(problem, facts=tuple(change(fact) for fact in problem.certificate.facts))


def _swap_number(problem: Problem) -> Problem:
    """The text says another number than the certificate."""
    fact = next(fact for fact in problem.certificate.facts if fact.value is not None and fact.text[:1].isdigit())
    start = fact.span[0]
    digit = "1" if problem.question[start] != "1" else "2"
    return problem.model_copy(update={"question": problem.question[:start] + digit + problem.question[start + 1 :]})


INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}


def _append(words: str):
    return lambda problem: problem.model_copy(update={"question": f"{problem.question} {words}"})


def _of_sound(change):
    """A bug in sound texts alone."""
    return lambda problem: problem.model_copy(update=change(problem)) if problem.sound else None


def _of_flawed(change):
    """A bug in flawed texts alone."""
    return lambda problem: None if problem.sound else problem.model_copy(update=change(problem))


def _turn_round(problem: Problem) -> Problem | None:
    """Every equation does the inverse operation."""
    equations = problem.certificate.equations
    if not problem.sound or not any(isinstance(equation.expr, list) for equation in equations):
        return None
    turned = [
        Equation(var=each.var, expr=[INVERSE[each.expr[0]], *each.expr[1:]]) if isinstance(each.expr, list) else each
        for each in equations
    ]
    return changed(problem, equations=tuple(turned))


def _other_category(problem: Problem) -> dict[str, str]:
    return {"category": "units" if problem.category != "units" else "illogical"}


LOOP = Equation(var="loop", expr=["+", "loop", "1"])
MUTANTS = {
    "the text has another number": _swap_number,
    "a number too many in the text": _append("There are 417 of them."),
    "a number word too many in the text": _append("There are seventeen of them."),
    "the answer is off by one": _of_sound(lambda problem: {"answer": more(problem.answer)}),
    "a flawed text keeps its answer": _of_flawed(lambda problem: {"answer": "3"}),
    "a sound text is called flawed": _of_sound(lambda problem: {"flaw": ONE_OF_EACH["units"]["u1"].flaw}),
    "a flaw of another category": _of_flawed(_other_category),
    "a flaw that points nowhere": _of_flawed(lambda problem: {"flaw": problem.flaw.model_copy(update={"spans": ()})}),
    "the equations are lost": lambda problem: changed(problem, equations=()) if problem.certificate.equations else None,
    "equations turn round": _turn_round,
    "an equation goes in a circle": lambda problem: changed(problem, equations=(*problem.certificate.equations, LOOP)),
    "the question asks for something else": lambda problem: changed(problem, ask="nothing") if problem.sound else None,
    "the repair says another answer": _of_flawed(
        lambda problem: {"repair": problem.repair.model_copy(update={"answer": more(problem.repair.answer)})}
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_caught(mutant):
    planted = [
        (problem, spoilt)
        for cells in BLOCKS[::7]
        for problem in cells.values()
        if (spoilt := MUTANTS[mutant](problem)) is not None and spoilt != problem
    ]
    assert len(planted) >= 20
    missed = [problem.id for problem, spoilt in planted if check(spoilt) is None]
    assert not missed
