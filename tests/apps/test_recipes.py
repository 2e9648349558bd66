"""Recipes: checked before anything runs, changed by --set and --smoke, resumed stage by stage, ended with a report."""

import json
from pathlib import Path

import pytest
from pydantic import Field

from tenfold.apps import cli, recipes, wiring
from tenfold.core.config import Config, Table
from tenfold.core.errors import UserError
from tenfold.core.records import Page, Verb

LIFECYCLE = Path(__file__).parents[2] / "recipes" / "lifecycle.toml"


class CountConfig(Config):
    upto: int = 3
    """How far to count."""


class HandoverConfig(Config):
    texts: str = ""
    """A file to write to, or to read from."""
    more: Table = Field(default_factory=dict)
    """Anything else, which may name files too."""


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.fixture
def counting(monkeypatch):
    """A verb that counts, one durable row per number, and can be killed before a number; returns what it computed."""
    computed, kill_before = [], []

    def count(config, run):
        for number in range(config.upto):
            if str(number) in run.rows:
                continue
            if number in kill_before:
                raise Killed
            computed.append(number)
            run.add(str(number), {"number": number})
        return {"total": sum(row["number"] for row in run.rows.values())}

    verb = Verb(
        CountConfig,
        count,
        lambda metrics: f"total {metrics['total']}",
        lambda rows, metrics: Page("Count", "It counted.", []),
    )
    monkeypatch.setattr(wiring, "verb", lambda name: verb)
    return computed, kill_before


def recipe_file(tmp_path, text=""):
    path = tmp_path / "recipe.toml"
    stage = '[[stage]]\nname = "count"\nverb = "x.count"\n[stage.settings]\nupto = 4\n[stage.smoke]\nupto = 2\n'
    path.write_text(f'title = "A test"\n{stage}{text}')
    return path


def test_the_main_job_is_valid_whole_and_in_smoke_mode():
    assert "speed" in {stage.name for stage in recipes.load(LIFECYCLE).stage}
    smoke = {stage.name: stage for stage in recipes.load(LIFECYCLE, smoke=True).stage}
    assert smoke["speed"].settings["max_new_tokens"] == 8


@pytest.mark.parametrize("path", sorted(LIFECYCLE.parent.glob("*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("smoke", [False, True])
def test_every_recipe_names_verbs_settings_and_stages_that_exist(path, smoke):
    assert recipes.load(path, smoke=smoke).stage


def test_set_beats_smoke_and_smoke_beats_settings(tmp_path, counting):
    path = recipe_file(tmp_path)
    assert recipes.load(path).stage[0].settings == {"upto": 4}
    assert recipes.load(path, smoke=True).stage[0].settings == {"upto": 2}
    assert recipes.load(path, smoke=True, overrides=["count.upto=9"]).stage[0].settings == {"upto": 9}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["upto=3"], "stage.key=value"),
        (["cont.upto=3"], "did you mean 'count'"),
        (["count.uptoo=3"], "did you mean 'upto'"),
        (["count.upto=many"], "upto is 'many'"),
    ],
)
def test_wrong_changes_are_refused_before_anything_runs(tmp_path, counting, overrides, said):
    with pytest.raises(UserError, match=said):
        recipes.load(recipe_file(tmp_path), overrides=overrides)
    assert counting[0] == []


def test_two_stages_of_one_name_are_refused(tmp_path, counting):
    with pytest.raises(UserError, match="same name"):
        recipes.load(recipe_file(tmp_path, '[[stage]]\nname = "count"\nverb = "x.count"\n'))


@pytest.mark.parametrize("name", ["specdec", "specdec.specbenc", "spekdec.specbench"])
def test_wrong_verbs_are_refused(name):
    with pytest.raises(UserError, match="specdec"):
        wiring.verb(name)


def test_a_killed_recipe_goes_on_where_it_was(tmp_path, counting):
    computed, kill_before = counting
    plan = recipes.load(recipe_file(tmp_path))
    kill_before.append(2)
    with pytest.raises(Killed):
        recipes.execute(plan, tmp_path / "runs", resume=True)
    kill_before.clear()
    result = recipes.execute(plan, tmp_path / "runs", resume=True)
    assert computed == [0, 1, 2, 3]
    assert result.metrics["stages"] == {"count": {"total": 6}}
    assert "It counted." in Path(result.metrics["report"]).read_text(encoding="utf-8")


def test_a_finished_recipe_is_not_run_again(tmp_path, counting):
    plan = recipes.load(recipe_file(tmp_path))
    first = recipes.execute(plan, tmp_path / "runs", resume=True)
    again = recipes.execute(plan, tmp_path / "runs", resume=True)
    assert counting[0] == [0, 1, 2, 3]
    assert first.metrics == again.metrics


def test_other_settings_start_another_run(tmp_path, counting):
    recipes.execute(recipes.load(recipe_file(tmp_path)), tmp_path / "runs", resume=True)
    recipes.execute(recipes.load(recipe_file(tmp_path), smoke=True), tmp_path / "runs", resume=True)
    assert counting[0] == [0, 1, 2, 3, 0, 1]


def test_dry_run_prints_the_stages_and_runs_nothing(tmp_path, counting, capsys):
    assert cli.exit_code(["run", str(recipe_file(tmp_path)), "--dry-run", "--json", "--runs", str(tmp_path / "runs")]) == 0
    assert json.loads(capsys.readouterr().out)["stage"][0]["settings"] == {"upto": 4}
    assert counting[0] == []
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def handing_over(monkeypatch):
    """A verb that writes its file if it is told none, and else counts the words of the file it is given."""

    def work(config, run):
        if not config.texts:
            (run.folder / "made.txt").write_text("two words")
            return {"words": 0}
        files = [config.texts, *config.more.get("files", [])]
        return {"words": sum(len(Path(file).read_text().split()) for file in files)}

    verb = Verb(HandoverConfig, work, lambda metrics: f"{metrics['words']} words", None)
    monkeypatch.setattr(wiring, "verb", lambda name: verb)


def two_stages(tmp_path, settings, first="make"):
    path = tmp_path / "recipe.toml"
    stages = f'[[stage]]\nname = "{first}"\nverb = "x.y"\n[[stage]]\nname = "read"\nverb = "x.y"\n[stage.settings]\n'
    path.write_text(f'title = "Hand over"\n{stages}{settings}')
    return path


def test_a_stage_takes_up_what_an_earlier_one_made(tmp_path, handing_over):
    path = two_stages(tmp_path, 'texts = "@make/made.txt"\nmore = { files = ["@make/made.txt"] }')
    plan = recipes.load(path)
    assert recipes.execute(plan, tmp_path / "runs", resume=True).metrics["stages"]["read"] == {"words": 4}
    assert recipes.execute(plan, tmp_path / "runs", resume=True).metrics["stages"]["read"] == {"words": 4}


def test_a_file_may_stand_behind_an_options_name(tmp_path):
    stage = recipes.Stage(name="read", verb="x.y", settings={"options": ["num=3", "scores=@make/made.txt", "at=a@b/c"]})
    (tmp_path / "made.txt").write_text("x")
    replaced = recipes._with_files(stage, {"make": tmp_path})
    assert replaced.settings["options"] == ["num=3", f"scores={tmp_path / 'made.txt'}", "at=a@b/c"]


@pytest.mark.parametrize("stage", ["read", "later", "maek"])
def test_only_earlier_stages_hand_over(tmp_path, handing_over, stage):
    with pytest.raises(UserError, match=f"earlier stage .*{stage}"):
        recipes.load(two_stages(tmp_path, f'texts = "@{stage}/made.txt"'))


def test_a_file_that_was_not_made_is_told_with_those_that_were(tmp_path, handing_over):
    plan = recipes.load(two_stages(tmp_path, 'texts = "@make/maid.txt"'))
    with pytest.raises(UserError, match=r"left no such file; .*holds .*made\.txt"):
        recipes.execute(plan, tmp_path / "runs", resume=True)
