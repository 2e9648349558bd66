"""JSON lines: what was appended is read back; a torn end costs at most the row it tore."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError, MissingArtifactError

any_text = st.text(st.characters())  # every line break of Unicode, and halves of surrogate pairs too
rows_strategy = st.lists(st.dictionaries(any_text, any_text | st.integers() | st.none(), max_size=3), max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jsonl") / "rows.jsonl"


def write(path: Path, rows: list) -> bytes:
    path.write_bytes(b"")
    for row in rows:
        jsonl.append(path, row)
    return path.read_bytes()


@given(rows=rows_strategy)
def test_rows_come_back_as_they_were(path, rows):
    write(path, rows)
    assert jsonl.recover(path) == rows
    assert list(jsonl.read(path)) == rows


@settings(max_examples=10)
@given(rows=st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2), max_size=4))
def test_cut_at_any_byte_costs_only_the_torn_row(path, rows):
    content = write(path, rows)
    for end in range(len(content) + 1):
        path.write_bytes(content[:end])
        whole = content[:end].count(b"\n")
        assert jsonl.recover(path) == rows[:whole]
        jsonl.append(path, {"next": 1})
        assert jsonl.recover(path) == [*rows[:whole], {"next": 1}]


def test_recovery_never_writes_a_whole_row_again(path, monkeypatch):
    content = write(path, [{"a": 1}, {"b": 2}])
    path.write_bytes(content[:-3])
    monkeypatch.setattr(Path, "write_bytes", None)
    assert jsonl.recover(path) == [{"a": 1}]
    assert path.read_bytes() == b'{"a": 1}\n'


def test_an_absent_file_has_no_rows_of_ours_but_is_an_error_as_input(tmp_path):
    assert jsonl.recover(tmp_path / "absent") == []
    with pytest.raises(MissingArtifactError, match="no file"):
        list(jsonl.read(tmp_path / "absent"))


@pytest.mark.parametrize("bad", [b'{"a": ', b"{'a': 1}", b'{"a": "\xff\xfe"}', b"a"])
def test_a_foreign_bad_line_is_named_by_its_number(path, bad):
    path.write_bytes(b'{"a": 1}\n\n' + bad + b'\n{"a": 2}\n')
    rows = jsonl.read(path)
    assert next(rows) == {"a": 1}
    with pytest.raises(ConfigError, match=r"rows\.jsonl line 3 is not JSON"):
        next(rows)


def test_foreign_line_ends_and_byte_order_marks_are_accepted(path):
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n{"b": "\xe2\x80\xa8"}')
    assert list(jsonl.read(path)) == [{"a": 1}, {"b": "\u2028"}]


def test_text_is_stored_readably(path):
    assert write(path, [{"text": "héé 中"}]).decode() == json.dumps({"text": "héé 中"}, ensure_ascii=False) + "\n"
