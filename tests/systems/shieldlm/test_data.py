"""Sets and files as items: formats, labels, splits that do not leak; the real sets where they are on this machine."""

import csv
import json

import pytest

from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.systems.shieldlm import data
from tenfold.systems.shieldlm.data import dialogue, read_cold, read_diasafety, read_gptfuzz, read_items, splits


def write_csv(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([columns, *rows])
    return path


def test_diasafety_rows_are_read_and_wrong_ones_refused(tmp_path):
    path = tmp_path / "val.json"
    row = {"context": "c", "response": "r", "category": "Biased Opinion", "label": "Unsafe"}
    path.write_text(json.dumps([row]))
    (item,) = read_diasafety(path)
    assert (item.key, item.query, item.response, item.label, item.group) == ("val-0", "c", "r", "unsafe", "c")
    for broken in ([{**row, "label": "bad"}], [{"context": "c"}], {"a": 1}, [1]):
        path.write_text(json.dumps(broken))
        with pytest.raises(ConfigError):
            read_diasafety(path)


def test_gptfuzz_drops_repeats_and_cold_groups_by_text(tmp_path):
    rows = [["0", "x", "1"], ["0", "x", "1"], ["7", "y", "0"]]
    items = read_gptfuzz(write_csv(tmp_path / "train.csv", ["question", "Response", "label"], rows))
    assert [(item.group, item.label) for item in items] == [("0", "unsafe"), ("7", "safe")]
    cold = read_cold(write_csv(tmp_path / "dev.csv", ["TEXT", "label", "topic"], [["花", "1", "race"]]))
    assert (cold[0].lang, cold[0].label, cold[0].category, cold[0].query) == ("zh", "unsafe", "race", "")
    with pytest.raises(ConfigError, match="lacks the column"):
        read_cold(write_csv(tmp_path / "bad.csv", ["TEXT", "label"], [["a", "1"]]))
    with pytest.raises(ConfigError, match="label"):
        read_cold(write_csv(tmp_path / "bad.csv", ["TEXT", "label", "topic"], [["a", "2", "t"]]))


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"query": "q", "response": "r"}, "safe"),
        ({"query": "q", "response": "r", "label": 2}, "controversial"),
        ({"query": "q", "response": "r", "label": "unsafe"}, "unsafe"),
        ({"query": "q", "response": "r", "output": "[Answer] unsafe\n[Analysis] ..."}, "unsafe"),
        ({"query": "q", "response": "r", "output": "[分析] ...\n[答案] 有争议"}, "controversial"),
        ({"input": "Look.\n\nA: q\nB: r", "output": "[Answer] safe", "lang": "en"}, "safe"),
    ],
)
def test_the_papers_formats_are_read(tmp_path, row, label):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    (item,) = read_items(path)
    assert (item.query, item.response, item.label, item.key) == ("q", "r", label, "own.jsonl:1")


def test_instruction_data_is_read_as_it_is(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"id": "a", "instruction": "How do bees build?", "answer": "In wax."}))
    (item,) = read_items(path)
    assert (item.query, item.response, item.lang) == ("How do bees build?", "In wax.", "en")


def test_rows_without_a_response_are_refused_with_their_line(tmp_path):
    path = tmp_path / "own.jsonl"
    for text, match in (
        ('{"query": "q"}', "jsonl:1"),
        ("[1]", "jsonl:1"),
        ('{"response": "r", "label": "bad"}', "label"),
        ('{"response": "r", "label": 3}', "label"),
        ("", "no row"),
    ):
        path.write_text(text + "\n")
        with pytest.raises(ConfigError, match=match):
            read_items(path)
    assert dialogue("no form") == ("", None)


def test_where_labels_are_needed_none_is_made_up(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text('{"query": "q", "response": "r"}\n')
    assert read_items(path)[0].label == "safe"
    with pytest.raises(ConfigError, match="no label"):
        data.train_items(str(path))


def test_an_unknown_set_is_told():
    with pytest.raises(UnknownNameError, match="diasafety"):
        splits("diasafty")


def test_real_sets_have_their_sizes_and_do_not_leak(data_folder, monkeypatch):
    if not (data_folder / "shieldlm").is_dir():
        pytest.skip(f"no safety sets at {data_folder}")
    monkeypatch.setenv("TENFOLD_DATA", str(data_folder))
    (dia,) = splits("diasafety")
    assert (len(dia.train), len(dia.test)) == (9017, 1097)
    assert sum(item.group not in dia.unseen for item in dia.test) == 487
    fuzz = splits("gptfuzz")
    assert len(fuzz) == 5 and sum(len(split.test) for split in fuzz) == 5166
    assert all(not {item.group for item in split.train} & {item.group for item in split.test} for split in fuzz)
    (cold,) = splits("coldataset")
    assert len(cold.train) == 25726 and len(cold.test) == 6401
    assert not {item.response for item in cold.train} & {item.response for item in cold.test}
    for name in ("example_input", "example_output", "example_output_extracted"):
        items = read_items(data_folder / f"shieldlm/shieldlm_examples/{name}.jsonl")
        assert len(items) == 2 and all(item.response for item in items)
