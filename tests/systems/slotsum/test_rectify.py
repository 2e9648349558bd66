"""What is right is never touched, what differs is corrected in the words of its place, and clauses about nothing go."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import ConfigError
from tenfold.systems.slotsum.knowledge import Fact, Statement, box_facts, match_key
from tenfold.systems.slotsum.provenance import DocSpan
from tenfold.systems.slotsum.rectify import Prediction, Rules, rectify
from tenfold.systems.slotsum.relations import relate, relate_texts
from tenfold.systems.slotsum.templates import parse_template
from tenfold.systems.slotsum.trimming import without
from tenfold.systems.slotsum.values import parse_value
from tenfold.systems.slotsum.verbalise import verbalise

FACTS = box_facts(
    {"birth date": "1930-01-20", "height": "188 cm", "club": ["Genoa", "Inter Milan"], "place": "Austin, Texas"}
)
SPAN = DocSpan("d1", 0, 4)


def text_of(template, predictions, facts=FACTS, **rules):
    made = [one if isinstance(one, Prediction) else Prediction(one) for one in predictions]
    return rectify(parse_template(template), made, facts, rules=Rules(needs_evidence=False, **rules)).text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("[[birth date]]", "20 January 1930"),
        ("[[birth date]]", "1930"),
        ("[[birth date]]", "January 20, 1930"),
        ("[[birth date]]", "1930年1月20日"),
        ("[[height]]", "1.88 m"),
        ("[[height]]", "188"),
        ("[[club]]", "Inter"),
        ("[[place]]", "Austin"),
        ("[[place]]", "AUSTIN, TEXAS"),
        ("[[place]]", "Austen, Texas"),
    ],
)
def test_what_says_the_same_stays_as_it_is(template, said):
    assert text_of(template, [said]) == said


@pytest.mark.parametrize(
    ("template", "said", "corrected"),
    [
        ("[[birth date]]", "20 January 1931", "20 January 1930"),
        ("[[birth date]]", "January 20, 1931", "January 20, 1930"),
        ("[[birth date]]", "20th of March, 1931", "20th of January, 1930"),
        ("[[birth date]]", "1931", "1930"),
        ("[[birth date]]", "1931年1月20日", "1930年1月20日"),
        ("[[height]]", "1.98 m", "1.88 m"),
        ("[[height]]", "198", "188 cm"),
        ("[[place]]", "Dallas", "Austin, Texas"),
        ("[[club]]", "Napoli", "Genoa"),
    ],
)
def test_what_differs_is_corrected_in_the_manner_of_its_place(template, said, corrected):
    assert text_of(template, [said]) == corrected


def test_a_prediction_that_reads_on_too_far_is_cut_to_the_value():
    facts = box_facts({"work": "Atlas of the Northern Skerries"})
    assert text_of("[[work]]", ["Atlas of the Northern Skerries made Ada Lovelace known"], facts) == facts[0].values[0].value
    assert (
        text_of("[[work]]", ["the great Atlas of the Northern Skerries"], facts)
        == "the great Atlas of the Northern Skerries"
    )


def test_a_sentence_is_no_date():
    said = "The bridge was designed by Isla Fenwick and is 412 metres long"
    assert text_of("[[birth date]]", [said]) == "20 January 1930"
    assert text_of("[[height]]", [said]) == "188 cm"
    assert text_of("[[birth date]]", ["Ada Lovelace"]) == "20 January 1930"


def test_several_values_are_each_said_once():
    assert text_of("[[club]] and [[club#2]]", ["Genoa", "Napoli"]) == "Genoa and Inter Milan"


def test_best_rank_leaves_out_old_and_deprecated_values():
    values = (Statement("A", "deprecated"), Statement("B", ended=True), Statement("C"))
    assert [one.value for one in Fact("k", "k", values).best] == ["C", "B"]
    assert [one.value for one in Fact("k", "k", (*values, Statement("D", "preferred"))).best] == ["D"]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("discard", "Ada was born."),
        ("keep", "Ada was born in birth place."),
        ("predict", "Ada was born in London."),
        ("allpredict", "Ada was born in London."),
        ("verify", "Ada was born in London."),
    ],
)
def test_strategies_where_the_base_has_no_key(strategy, expected):
    given_ = [Prediction("Ada"), Prediction("London", (SPAN,))]
    rules = Rules(strategy, discard="bare")
    facts = box_facts({"title": "Ada"})
    assert rectify(parse_template("[[title]] was born in [[birth place]]."), given_, facts, rules=rules).text == expected


def test_a_prediction_without_evidence_is_left_out_or_hedged():
    template = parse_template("[[title]] is a writer and was born in [[birth place]].")
    given_ = [Prediction("Ada"), Prediction("London")]
    facts = box_facts({"title": "Ada"})
    assert rectify(template, given_, facts, rules=Rules()).text == "Ada is a writer."
    hedged = rectify(template, given_, facts, rules=Rules(unknown="hedge"))
    assert hedged.text == "Ada is a writer and was born in an unknown birth place."
    assert [decision.action for decision in hedged.decisions] == ["kept", "missing"]


@pytest.mark.parametrize(
    ("template", "gone", "left"),
    [
        ("[[a]] is a lake. It covers [[b]] and is [[c]] deep.", [0, 1, 0], "X is a lake. It is X deep."),
        ("[[a]] is a lake. It covers [[b]] and is [[c]] deep.", [0, 0, 1], "X is a lake. It covers X."),
        ("[[a]] is a lake. It covers [[b]] and is [[c]] deep.", [0, 1, 1], "X is a lake. "),
        ("[[a]], born in [[b]], was a [[c]] known for [[d]].", [0, 1, 0, 0], "X, was a X known for X."),
        ("[[a]]位于[[b]]，深[[c]]。", [0, 1, 0], "X，深X。"),
        ("[[a]]是[[b]]的小说，共[[c]]页。", [0, 1, 1], "X是小说。"),
    ],
)
def test_the_smallest_clause_goes(template, gone, left):
    made = without(parse_template(template), [bool(one) for one in gone])
    assert made.template.render(["X"] * len(made.kept)) == left
    assert [gone[place] for place in made.kept] == [0] * len(made.kept)


@given(st.text("ab ,.[[x]]", max_size=30), st.data())
def test_a_template_without_slots_keeps_the_others_in_order(text, data):
    try:
        template = parse_template(text)
    except ConfigError:
        return
    gone = data.draw(st.lists(st.booleans(), min_size=len(template.slots), max_size=len(template.slots)))
    for discard in ("bare", "clause"):
        made = without(template, gone, discard)
        assert len(made.template.slots) == len(made.kept)
        assert not any(gone[place] for place in made.kept)
        assert list(made.kept) == sorted(made.kept)


SURFACES = [
    "",
    "1931",
    "20 January 1931",
    "January 20, 1931",
    "1931-02-03",
    "1931年2月3日",
    "5 m",
    "5.0 cm",
    "1,000",
    "Italian",
]
VALUES = [
    "1930-01-20",
    "1930",
    "January 1930",
    "188 cm",
    "1.88 m",
    "94.8024 kg",
    "1411.0",
    "6,250",
    "Italy",
    "Ada",
    "657, 714",
]


@pytest.mark.parametrize(("raw", "surface"), list(itertools.product(VALUES, SURFACES)))
def test_what_is_written_never_differs_from_the_value(raw, surface):
    value = parse_value(raw)
    for lang in ("en", "zh"):
        assert relate(value, parse_value(verbalise(value, surface, lang))) != "different"


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        ("404, 678, 470", "404, 678, and 470", "equal"),
        ("657, 714", "657", "compatible"),
        ("Austin, Texas", "Dallas, Texas", "different"),
        ("Egg Harbor Township, New Jersey", "EGG HARBOUR TOWNSHIP", "unknown"),
        ("UT Austin", "University of Texas at Austin", "compatible"),
        ("J. V. Jones", "Julie Victoria Jones", "compatible"),
        ("Dr. John Smith", "John Smith", "equal"),
        ("Apollo 11", "Apollo 12", "different"),
        ("978-0-7653-0633-6", "9780765306336", "equal"),
        ("Italy", "Italian", "compatible"),
        ("9 min", "540 s", "equal"),
        ("100305.0 (minutes)", "69 days", "compatible"),
        ("1873", "1873.0", "equal"),
        ("北京", "北京市", "compatible"),
        ("1930年1月20日", "1930-01-20", "equal"),
    ],
)
def test_golden_relations(first, second, relation):
    assert relate_texts(first, second) == relation
    assert relate_texts(second, first) == relation


def test_keys_are_matched_by_name_but_not_across_numbers():
    facts = box_facts({"birthPlace": "A", "1st_runway_Length": "B"})
    assert match_key("birth place", facts).key == "birthPlace"
    assert match_key("2nd_runway_Length", facts) is None
    assert match_key("spouse", facts) is None


def test_too_few_predictions_are_refused():
    with pytest.raises(ConfigError, match="1 surfaces for 2 slots"):
        rectify(parse_template("[[a]] [[b]]"), [Prediction("x")], [])
