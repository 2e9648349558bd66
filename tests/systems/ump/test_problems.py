"""Problem files: what is written is read again; a wrong line is named and nothing of its file is taken."""

import json

import pytest

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.ump.problems import Certificate, Edit, Fact, Flaw, Problem, Repair, by_block, read, write

CERTIFICATE = Certificate(
    facts=(Fact(span=(4, 5), text="3", var="x1", value="3", unit="apple"),),
    ask="x1",
    verdict="unique",
    witness={"value": "3"},
)
SOUND = Problem(id="a-c1", question="Ann 3?", answer="3", block="a", cell="c1", certificate=CERTIFICATE)
FLAWED = Problem(
    id="a-u1",
    question="Ann 4 or 3?",
    block="a",
    cell="u1",
    flaw=Flaw(kind="inconsistent", spans=((4, 5),), text="4 is not 3"),
    repair=Repair(edits=(Edit(span=(4, 5), text="3"),), answer="3"),
)


def test_what_is_written_is_read_again(tmp_path):
    write(tmp_path / "problems.jsonl", [SOUND, FLAWED])
    assert read(tmp_path / "problems.jsonl") == [SOUND, FLAWED]
    assert SOUND.sound and not FLAWED.sound


def test_repair_edits_the_text_from_the_end():
    repair = Repair(edits=(Edit(span=(0, 3), text="Benjamin"), Edit(span=(4, 5), text="12")), answer="12")
    assert repair.apply("Ann 3?") == "Benjamin 12?"


def test_blocks_are_found_again():
    loose = Problem(id="x", question="?")
    assert by_block([SOUND, loose, FLAWED]) == {"a": {"c1": SOUND, "u1": FLAWED}}


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("[1]", "line 3 is list, not an object"),
        ('{"id": "b"}', "line 3: question is missing"),
        ('{"id": "b", "question": 7}', "line 3: question is 7"),
        ('{"id": "b", "question": "?", "colour": 1}', "line 3: colour"),
        ('{"id": "a-c1", "question": "?"}', "line 3: id 'a-c1' occurs twice"),
        ("{", "line 3 is not JSON"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, complaint):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"id": "a-c1", "question": "?"}) + "\n\n" + line + "\n")
    with pytest.raises(ConfigError, match=complaint):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingArtifactError, match=r"no file .*nowhere.jsonl"):
        read(tmp_path / "nowhere.jsonl")
