"""Questions and annotations as JSON lines: round trips, and bad lines with their number and reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.deepeval.items import (
    LETTERS,
    TASKS,
    Annotation,
    Item,
    parse_item,
    read_annotations,
    read_items,
    write_jsonl,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
OPTIONS = st.lists(TEXT, min_size=4, max_size=4, unique_by=lambda text: " ".join(text.split()).casefold())
ITEM = Item("title-1", "1", "title", ("one", "two", "three", "four"), 2, "title-000", ("humorous",), ("{} {} {} {}",))


@given(
    item=st.builds(
        Item,
        id=TEXT,
        image_id=TEXT,
        task=st.sampled_from(TASKS),
        options=OPTIONS.map(tuple),
        gold=st.integers(0, 3),
        block=st.none() | TEXT,
        facets=st.lists(TEXT).map(tuple),
        prompts=st.just(()) | st.just(("A {} B {} C {} D {} {braces}",)),
    )
)
def test_items_survive_a_round_trip(item: Item) -> None:
    assert parse_item(json.loads(json.dumps(item.as_json())), "here") == item


def test_files_survive_a_round_trip_with_equal_bytes(tmp_path: Path) -> None:
    notes = [
        Annotation("1", "a man\u2028waits", "Title", "Meaning", "one.png", ("touching",)),
        Annotation("2", "a", "b", "c"),
    ]
    write_jsonl(tmp_path / "items.jsonl", [ITEM])
    write_jsonl(tmp_path / "notes.jsonl", notes)
    before = (tmp_path / "items.jsonl").read_bytes()
    write_jsonl(tmp_path / "items.jsonl", read_items(tmp_path / "items.jsonl"))
    assert (tmp_path / "items.jsonl").read_bytes() == before
    assert read_annotations(tmp_path / "notes.jsonl") == notes


def test_letters_and_answers() -> None:
    assert (ITEM.letter, ITEM.answer) == ("C", "three")
    assert [Item("i", "i", "title", ITEM.options, gold).letter for gold in range(4)] == list(LETTERS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gold": "E"}, "gold is 'E'"),
        ({"gold": 2}, "gold is 2"),
        ({"gold": "AB"}, "gold is 'AB'"),
        ({"options": ["one", "two", "three"]}, "four texts"),
        ({"options": ["one", "two", "three", " ONE "]}, "two options are equal"),
        ({"options": ["one", "two", "three", " "]}, "none of them empty"),
        ({"task": "colour"}, "task is 'colour'"),
        ({"image_id": ""}, "image_id is ''"),
        ({"prompts": ["only {} {} {}"]}, "prompt 1 has 3 slots"),
        ({"facets": ["blue"]}, "facet 'blue' is unknown; we know humorous"),
        ({"facets": "humorous"}, "give a list of words"),
        ({"sha256": "0" * 64}, "sha256 does not fit"),
    ],
)
def test_a_bad_line_is_named_with_its_reason(tmp_path: Path, change: dict, reason: str) -> None:
    rows = [ITEM.as_json(), {**ITEM.as_json(), "sha256": None, **change}]
    path = tmp_path / "items.jsonl"
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    with pytest.raises(ConfigError, match=r"line 3.*") as caught:
        read_items(path, known_facets=("humorous",))
    assert reason in str(caught.value)


@pytest.mark.parametrize(("text", "reason"), [("{", "not JSON"), ("[1]", "is list, not an object"), ("\xff", "not UTF-8")])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=reason):
        read_items(path)


def test_a_missing_file_and_a_doubled_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingArtifactError, match="no file"):
        read_items(tmp_path / "none.jsonl")
    write_jsonl(tmp_path / "notes.jsonl", [Annotation("1", "a", "b", "c")] * 2)
    with pytest.raises(ConfigError, match="line 2: picture '1' comes twice"):
        read_annotations(tmp_path / "notes.jsonl")
