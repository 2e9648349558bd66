"""The bundled taxonomy and its core, names of the paper, published trees, and nodes that come and go."""

import csv

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import MissingArtifactError, UserError
from tenfold.store import runs
from tenfold.systems.glan import surveying
from tenfold.systems.glan.importing import read_published
from tenfold.systems.glan.surveying import TaxonomyConfig, survey
from tenfold.systems.glan.taxonomy import aliases, choose, load_taxonomy

ALL, CORE = load_taxonomy(), load_taxonomy("core126")


def surveyed(tmp_path, **settings):
    config = parse(TaxonomyConfig, settings)
    run = runs.start(tmp_path, "glan-taxonomy", config)
    return survey(config, run), run


def test_the_core_is_as_large_as_the_paper_s_tree_and_about_as_vocational():
    assert len(CORE) == 126 and set(CORE) < set(ALL)
    assert 0.25 <= sum(discipline.kind == "vocational" for discipline in CORE) / 126 <= 0.29
    assert {"Algebra", "Logic", "Statistics"} <= {discipline.name for discipline in CORE}
    vocational = [discipline for discipline in ALL if discipline.kind == "vocational"]
    assert len(vocational) >= 60 and len({d.field for d in vocational} | {d.branch for d in vocational}) >= 8
    assert all(len(discipline.scope) >= 4 for discipline in ALL)


@pytest.mark.parametrize("taxonomy", [ALL, CORE])
def test_the_paper_s_names_are_understood(data_folder, taxonomy):
    path = data_folder / "glan" / "glan_table8_disciplines.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    with path.open(encoding="utf-8") as lines:
        names = [row["discipline"] for row in csv.DictReader(lines)]
    understood = []
    for name in names:
        try:
            understood.append(bool(choose(taxonomy, [name])))
        except UserError:
            understood.append(False)
    assert len(names) == 123 and sum(understood) >= 0.95 * len(names)


def test_an_alias_means_disciplines_and_hides_none():
    assert [d.name for d in choose(ALL, ["geriatrics"])] == ["Internal medicine", "Elderly care"]
    own = {label.lower() for d in ALL for label in (d.field, d.branch, d.name)}
    assert not own & set(aliases()), "an alias would be shadowed by the tree's own name"
    assert {name for names in aliases().values() for name in names} <= own
    with pytest.raises(UserError, match="no 'holistic medicine'"):
        choose(ALL, ["holistic medicine"])


def test_a_node_comes_and_goes_and_the_rest_stays(tmp_path):
    path = str(tmp_path / "mine.toml")
    added = {"action": "add", "node": "Health > Medicine > Sleep medicine: dreams; insomnia", "out": path}
    metrics, _ = surveyed(tmp_path, **added)
    mine = load_taxonomy(path)
    (new,) = set(mine) - set(ALL)
    assert (new.name, new.scope, new.kind) == ("Sleep medicine", ("dreams", "insomnia"), "academic")
    assert metrics["disciplines"] == len(ALL) + 1 and [d for d in mine if d != new] == list(ALL)
    assert mine[mine.index(new) - 1].branch == "Medicine"
    surveyed(tmp_path, action="remove", node="sleep medicine".title().replace("M", "m"), taxonomy=path, out=path)
    assert load_taxonomy(path) == ALL
    metrics, _ = surveyed(tmp_path, action="remove", node="Health > Medicine")
    assert metrics["disciplines"] == len(ALL) - sum(d.branch == "Medicine" for d in ALL)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"action": "add", "node": "Health > Medicine"}, "write it as"),
        ({"action": "add", "node": "Health > Medicine > Anatomy"}, "already"),
        ({"action": "remove", "node": "Alchemy"}, "no node 'Alchemy'"),
        ({"action": "import"}, "nothing to import"),
    ],
)
def test_what_cannot_be_changed_is_said_in_a_line(tmp_path, settings, said):
    with pytest.raises(UserError, match=said):
        surveyed(tmp_path, **settings)


def table(path, columns, *rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_published_trees_are_read_and_written_as_our_own(tmp_path):
    openalex = table(
        tmp_path / "topics.csv",
        ["domain", "field", "subfield", "topic_id", "topic"],
        ["Life", "Plants", "Botany", "1", "Roots: growth; water"],
        ["Life", "Plants", "Botany", "2", "Leaves"],
        ["Life", "Plants", "Alchemical gardening", "3", "Gold"],
    )
    metrics, run = surveyed(tmp_path, action="import", source=str(openalex))
    botany, _ = load_taxonomy(metrics["file"])
    assert (botany.path, botany.scope) == ("Life > Plants > Botany", ("Roots - growth, water", "Leaves"))
    assert (metrics["covered"], metrics["names"], metrics["not_covered"]) == (1, 2, ["Alchemical gardening"])
    assert "1 of 2 names" in surveying.describe(metrics) and len(run.rows) == 2
    isced = table(
        tmp_path / "isced.csv", ["broad", "narrow", "detailed", "programme"], ["A", "B", "C", "D"], ["A", "B", "C", "C"]
    )
    assert [(d.path, d.scope) for d in read_published(isced)] == [("A > B > C", ("D",))]


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        (["a", "b"], [], "has the columns a, b"),
        (["broad", "narrow", "detailed", "programme"], [["A", "", "C", "D"]], "line 2"),
    ],
)
def test_files_of_another_layout_are_refused(tmp_path, columns, rows, said):
    with pytest.raises(UserError, match=said):
        read_published(table(tmp_path / "other.csv", columns, *rows))
    with pytest.raises(MissingArtifactError, match="no file"):
        read_published(tmp_path / "none.csv")


def test_the_published_files_on_this_machine_are_read(data_folder, tmp_path):
    for file, least in (("openalex/openalex_topics_2024_09.csv", 250), ("isced_f/isced_f_2013.csv", 70)):
        path = data_folder / "glan" / file
        if not path.is_file():
            pytest.skip(f"{path} is not here")
        found = read_published(path)
        assert len(found) >= least and len({d.path for d in found}) == len(found)
        metrics, _ = surveyed(tmp_path, action="import", source=str(path))
        assert load_taxonomy(metrics["file"]) == found and 0 < metrics["covered"] < metrics["names"]
