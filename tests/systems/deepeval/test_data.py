"""The published files: joined by picture, checked against the annotations, refused with a broken key; and sets by name."""

from pathlib import Path

import pytest

from systems.deepeval.published import NUM, Change, write_release
from tenfold.core.errors import ConfigError, MissingArtifactError, UserError
from tenfold.systems.deepeval import data
from tenfold.systems.deepeval.items import LETTERS, TASKS


def test_questions_are_joined_by_picture_whatever_their_order(tmp_path: Path) -> None:
    found = data.load(str(write_release(tmp_path)))
    assert found.name == "released" and len(found.items) == 3 * NUM
    for item in found.items:
        assert item.answer == found.annotations[item.image_id].text(item.task)
        assert item.block is None and len(item.prompts) == 3
    assert {task: check.agreement for task, check in found.checks.items()} == dict.fromkeys(TASKS, 1.0)
    assert not found.checks["title"].known_file


def test_a_constant_key_is_refused(tmp_path: Path) -> None:
    write_release(tmp_path, lambda row: row.update(Answer="A"))
    with pytest.raises(UserError, match=r"answer key of .*Title_Questions.json is broken: only 2 of 8") as caught:
        data.load(str(tmp_path))
    assert caught.value.exit_code == 2


def test_doubtful_options_are_listed(tmp_path: Path) -> None:
    def spoil(row: dict) -> None:
        wrong = [letter for letter in LETTERS if letter != row["Answer"]]
        if row["Image_ID"] == "Img3":
            row["Options"][wrong[0]] = row["Options"][wrong[1]] + " "
        if row["Image_ID"] == "Img5":
            row["Options"][wrong[0]] = "a long " + row["Options"][wrong[1]][:-1] + " with more"

    check = data.load(str(write_release(tmp_path, spoil))).checks["title"]
    assert check.equal_options == ("title-Img3",)
    assert check.nested_options == ("title-Img5", "title-Img3")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: row.update(Answer="E"), "line 1: Answer is 'E'"),
        (lambda row: row["Options"].pop("B"), "line 1: Options is"),
        (lambda row: row.update(Prompt_2="{} {}"), "line 1: Prompt_2 has 2 slots"),
        (lambda row: row.update(Image_ID="Img99"), "'Img99' has no annotation"),
    ],
)
def test_a_bad_question_is_named_with_its_line(tmp_path: Path, change: Change, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        data.load(str(write_release(tmp_path, change)))
    assert reason in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (write_release(tmp_path) / "Title_Questions.json").unlink()
    with pytest.raises(MissingArtifactError, match="Title_Questions"):
        data.load(str(tmp_path))
    with pytest.raises(UserError, match=r"neither items\.jsonl nor the published files"):
        (tmp_path / "empty").mkdir()
        data.load(str(tmp_path / "empty"))


def test_the_published_files_are_as_we_know_them(data_folder: Path) -> None:
    folder = data_folder / "deepeval"
    if not folder.is_dir():
        pytest.skip(f"the published files are not at {folder}")
    found = data.load(str(folder))
    assert {task: len(found.of(task)) for task in TASKS} == dict.fromkeys(TASKS, 1001)
    assert all(check.agreement == 1.0 and check.known_file for check in found.checks.values())
    assert [len(found.checks[task].equal_options) for task in TASKS] == [0, 2, 0]
    assert [len(found.checks[task].nested_options) for task in TASKS] == [0, 19, 0]


@pytest.mark.parametrize("name", ["scenes", "factors"])
def test_our_own_sets_have_a_picture_for_every_question(name: str) -> None:
    found = data.load(name)
    assert found.items and all(found.annotations[item.image_id] for item in found.items)
    picture = found.picture(found.items[0].image_id)
    assert picture is not None and picture.mime == "image/png"
    assert data.load(name, tasks=("title",)).items == ([] if name == "factors" else found.of("title"))
