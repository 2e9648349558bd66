"""Replies as models write them, the broken ones too; what cannot be read says why; nothing that was read is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.glan.parsing import ParseError, normalised, parse_sessions, parse_subjects, unite
from tenfold.systems.glan.planner import PlanConfig, Planner, render
from tenfold.systems.glan.schemas import sessions_schema, subjects_schema
from tenfold.systems.glan.taxonomy import choose, load_taxonomy
from tenfold.systems.glan.tree import Session, Subject

ROW = '{"subject_name": "Groups", "level": "beginner", "subtopics": ["axioms", "subgroups"]}'
GROUPS = Subject("Groups", "beginner", ("axioms", "subgroups"))
SESSION = '{"session": "Axioms", "key_concepts": ["closure", "identity"]}'
AXIOMS = Session("Axioms", ("closure", "identity"))


@pytest.mark.parametrize(
    "text",
    [
        ROW,
        f"```\n{ROW}\n```",
        f"Here you are:\n```jsonl\n{ROW}\n```\nGood luck!",
        f"```json\n{ROW}",
        f"[{ROW},\n]",
        f'{{"subjects": [{ROW}]}}',
        ROW.replace('"]}', '",],}'),
        "{'subject_name': 'Groups', 'level': 'beginner', 'subtopics': ['axioms', 'subgroups']}",
        f'{ROW}\n{{"subject_name": "Rings", "level": "adv',
        f"{ROW}\n{ROW}",
        json.dumps(json.loads(ROW), indent=2),
        '{"name": "1. Groups", "level": ["beginner"], "subtopics": "axioms; subgroups; axioms"}',
        f'{{"level": "beginner"}}\n{ROW}',
    ],
)
def test_reads_subjects(text):
    assert parse_subjects(text) == (GROUPS,)


@pytest.mark.parametrize(
    "text", [SESSION, f'{{"sessions": [{SESSION}]}}', f'```\n{SESSION}\n{{"session": "Empty", "key_concepts": []}}\n```']
)
def test_reads_sessions(text):
    assert parse_sessions(text) == (AXIOMS,)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("I would rather write prose.", "no_json"),
        ("{ this is not } {JSON", "no_json"),
        ('{"title_of_the_song": 3}', "no_records"),
        ("[1, 2]", "no_json"),
        ("{" * 5000, "no_json"),
        ('{"session": "No concepts"}', "no_records"),
    ],
)
def test_says_why_nothing_can_be_read(text, kind):
    with pytest.raises(ParseError) as caught:
        parse_sessions(text)
    assert caught.value.kind == kind


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@given(st.lists(st.tuples(NAMES, st.lists(NAMES, min_size=1, max_size=5, unique_by=normalised)), min_size=1, max_size=6))
def test_what_was_written_is_read(rows):
    text = "\n".join(json.dumps({"session": name, "key_concepts": concepts}) for name, concepts in rows)
    expected = dict.fromkeys(Session(name, tuple(concepts)) for name, concepts in rows)
    assert parse_sessions(f"```\n{text}\n```") == tuple(expected)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    try:
        assert parse_sessions(text)
    except ParseError as error:
        assert error.detail


def test_subjects_of_several_queries_are_united_in_the_order_of_the_queries():
    again = Subject("groups.", "advanced")
    rings = Subject("Rings", "advanced")
    assert unite([[GROUPS], [again, rings]], 10) == (GROUPS, rings)
    assert unite([[GROUPS], [again, rings]], 1) == (GROUPS,)


def test_keys_ignore_siblings_and_token_limits_and_know_everything_else():
    (algebra,) = choose(load_taxonomy(), ["Algebra"])
    key = Planner(PlanConfig(), "t").subjects(algebra, 0).key
    assert Planner(PlanConfig(list_tokens=77, subjects=9, questions=9), "t").subjects(algebra, 0).key == key
    others = [
        Planner(PlanConfig(), "another").subjects(algebra, 0),
        Planner(PlanConfig(seed=1), "t").subjects(algebra, 0),
        Planner(PlanConfig(temperature=0.5), "t").subjects(algebra, 0),
        Planner(PlanConfig(turns=1), "t").subjects(algebra, 0),
        Planner(PlanConfig(), "t").subjects(algebra, 1),
        Planner(PlanConfig(), "t").answer("What?"),
    ]
    assert len({key, *(call.key for call in others)}) == 7


def test_prompts_are_whole():
    assert "{" not in render("subjects", discipline="Algebra", scope=" It includes sets.")
    with pytest.raises(KeyError):
        render("question", subject="x")


@pytest.mark.model
def test_a_local_model_writes_json_that_is_read(smollm2):
    import asyncio

    from tenfold.llm.chat import ChatRequest, user
    from tenfold.nn.chat import LocalChat

    prompt = render("syllabus_json", subject="Fractions", discipline="Algebra", level="beginner", subtopics="sums", count=2)
    schema = sessions_schema(2)
    request = ChatRequest((user(prompt),), max_tokens=400, temperature=0.7, top_p=0.95, seed=3, json_schema=schema)
    reply = asyncio.run(LocalChat(smollm2).chat(request))
    assert reply.finish_reason == "stop" and 1 <= len(parse_sessions(reply.text)) <= 2
    assert subjects_schema(3)["properties"]["subjects"]["maxItems"] == 3
