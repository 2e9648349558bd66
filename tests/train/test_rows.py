"""Rows in the forms that people have, and one clear line for those they should not have."""

import json

import pytest

from tenfold.core.errors import ConfigError
from tenfold.train.rows import Row, ask, parse_row, read_rows

ROW = Row("7", ask("Two and two?"), "Four.")


@pytest.mark.parametrize(
    "record",
    [
        {"id": 7, "prompt": "Two and two?", "completion": "Four."},
        {"id": 7, "instruction": "Two and two?", "output": "Four.", "input": "", "source": "me"},
        {"id": 7, "messages": [{"role": "user", "content": "Two and two?"}, {"role": "assistant", "content": "Four."}]},
        {
            "id": 7,
            "prompt": [{"role": "user", "content": "Two and two?"}],
            "completion": [{"role": "assistant", "content": "Four."}],
        },
    ],
)
def test_every_form_is_the_same_row(record):
    assert parse_row(record, "x:1") == ROW


def test_input_follows_the_instruction():
    assert parse_row({"instruction": "Add.", "input": "2, 2", "output": "4"}, "x:1").prompt == ask("Add.\n\n2, 2")


def test_a_row_without_id_is_named_by_its_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    assert [row.id for row in read_rows(path)] == ["rows.jsonl:1"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"prompt": "a", "completion": "  "}, "rows.jsonl:2: the answer is empty"),
        ({"text": "a"}, "rows.jsonl:2: keys ['text'] are no instruction row"),
        ({"messages": [{"role": "user", "content": "a"}]}, "rows.jsonl:2: keys ['messages']"),
    ],
)
def test_bad_rows_are_named(tmp_path, record, words):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({"prompt": "a", "completion": "b"}, record)))
    with pytest.raises(ConfigError) as error:
        read_rows(path)
    assert words in str(error.value)


def test_empty_file_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(ConfigError, match="holds no row"):
        read_rows(tmp_path / "rows.jsonl")
