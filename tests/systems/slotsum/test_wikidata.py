"""An index of a dump: broken lines, a cut-off end, resuming, ranks, dates by precision; the web, asked politely."""

import gzip
import json
import random
from pathlib import Path

import pytest

from tenfold.core.errors import ApparatusError, ConfigError, MissingArtifactError
from tenfold.store import runs
from tenfold.systems.slotsum import wikidata
from tenfold.systems.slotsum.bases import open_knowledge
from tenfold.systems.slotsum.indexing import IndexConfig, index, synthetic_entity
from tenfold.systems.slotsum.knowledge import InfoboxKB, read_boxes
from tenfold.systems.slotsum.rest import WikidataRest
from tenfold.systems.slotsum.snaks import read_time, read_value
from tenfold.systems.slotsum.wikidata import WikidataIndex, build_index


def dump(path: Path, lines, opener=open):
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(lines) + "\n]\n")
    return path


def entities(count):
    draw = random.Random(0)
    return [json.dumps(synthetic_entity(number, count, draw)) for number in range(count)]


def test_an_index_answers_what_the_dump_says(tmp_path):
    report = build_index(dump(tmp_path / "d.json.gz", entities(5), gzip.open), tmp_path / "kb.sqlite")
    assert (report.entities, report.num_broken, report.truncated) == (5, 0, False)
    base = WikidataIndex(tmp_path / "kb.sqlite")
    assert base.lookup("entity_3") == ["Q4"]
    assert base.lookup("条目3", "zh") == ["Q4"]
    assert base.lookup("E. 4") == ["Q5"]
    assert base.lookup("nobody") == []
    facts = {fact.label: fact for fact in base.facts("Q4")}
    assert facts["date of birth"].best[0].value == "1803-03-04"
    assert facts["p2048" if "p2048" in facts else "height"].best[0].value == "153 cm"
    (place,) = facts["place of birth"].best
    assert place.rank == "preferred"
    assert place.value.startswith("Entity ")
    assert base.facts("Q4", "zh")[2].best[0].value.startswith("条目")


def test_broken_lines_are_reported_and_cost_nothing_else(tmp_path):
    good = entities(3)
    lines = [good[0], good[1][:40], "[]", '{"id": 3}', good[2], good[0]]
    report = build_index(dump(tmp_path / "d.json", lines), tmp_path / "kb.sqlite")
    assert report.entities == 3
    assert report.repeated == 1
    assert report.num_broken == 2
    assert [one.split(":")[0] for one in report.broken] == ["line 3", "line 4"]


def test_a_compressed_dump_that_ends_in_the_middle_gives_what_it_holds(tmp_path):
    path = dump(tmp_path / "d.json.gz", entities(4000), gzip.open)
    path.write_bytes(path.read_bytes()[:-5000])
    report = build_index(path, tmp_path / "kb.sqlite")
    assert report.truncated
    assert 0 < report.entities < 4000
    assert WikidataIndex(tmp_path / "kb.sqlite").lookup("Entity 1") == ["Q2"]


def test_an_index_that_was_cut_off_goes_on_to_the_same_end(tmp_path, monkeypatch):
    monkeypatch.setattr(wikidata, "ENTITIES_PER_COMMIT", 10)
    path = dump(tmp_path / "d.json", entities(45))

    def stop(done):
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(path, tmp_path / "a.sqlite", on_progress=stop)
    with pytest.raises(ConfigError, match="no finished index"):
        WikidataIndex(tmp_path / "a.sqlite")
    again = build_index(path, tmp_path / "a.sqlite")
    assert again == build_index(path, tmp_path / "b.sqlite")
    first, second = WikidataIndex(tmp_path / "a.sqlite"), WikidataIndex(tmp_path / "b.sqlite")
    assert all(first.facts(f"Q{n}") == second.facts(f"Q{n}") for n in range(1, 46))


def test_an_index_belongs_to_one_dump(tmp_path):
    build_index(dump(tmp_path / "d.json", entities(2)), tmp_path / "kb.sqlite")
    with pytest.raises(ConfigError, match="another file"):
        build_index(dump(tmp_path / "e.json", entities(3)), tmp_path / "kb.sqlite")
    with pytest.raises(MissingArtifactError, match="no dump"):
        build_index(tmp_path / "f.json", tmp_path / "x.sqlite")


def test_the_synthetic_dump_is_indexed_and_timed(tmp_path):
    config = IndexConfig(synthetic=300)
    metrics = index(config, runs.start(tmp_path, "run", config))
    assert metrics["entities"] == 300
    assert metrics["truncated"]
    assert metrics["found"] == 1.0
    assert metrics["lookup_ms_median"] < 50
    wrong = IndexConfig()
    with pytest.raises(ConfigError, match="give a dump"):
        index(wrong, runs.start(tmp_path, "run", wrong))


def test_the_mock_dump_of_wikidatas_own_form(data_folder, tmp_path):
    report = build_index(
        data_folder / "slotsum/wikidata_mock/mock-dump-for-testing.json", tmp_path / "kb.sqlite", languages=("de",)
    )
    assert (report.entities, report.num_broken) == (3, 0)
    base = WikidataIndex(tmp_path / "kb.sqlite")
    assert base.lookup("Universum", "de") == ["Q1"]
    assert [fact.values[0].value for fact in base.facts("Q1", "de")] == ["Q1454986", "Hubble ultra deep field.jpg"]


@pytest.mark.parametrize(
    ("time", "precision", "text"),
    [
        ("+1952-03-11T00:00:00Z", 11, "1952-03-11"),
        ("+1952-03-00T00:00:00Z", 10, "March 1952"),
        ("+1952-00-00T00:00:00Z", 9, "1952"),
        ("+1952-00-00T00:00:00Z", 11, "1952"),
        ("+00000001950-00-00T00:00:00Z", 8, "1950s"),
        ("-0044-03-15T00:00:00Z", 11, "15 March 44 BC"),
        ("+1000-00-00T00:00:00Z", 6, ""),
        ("broken", 11, ""),
    ],
)
def test_dates_go_as_far_as_their_precision(time, precision, text):
    assert read_time(time, precision) == text


def test_values_that_say_nothing_are_none():
    assert read_value({"type": "musical-notation", "value": {"x": 1}}) is None
    assert read_value({"type": "time", "value": {"time": "broken", "precision": 11}}) is None
    assert read_value({"type": "wikibase-entityid", "value": {"entity-type": "item", "numeric-id": 5}}).item == "Q5"


def test_infoboxes_in_their_three_forms(tmp_path):
    (tmp_path / "a.json").write_text('{"Ada": {"born": "1815", "club": ["A", "B"], "empty": ""}}')
    (tmp_path / "a.jsonl").write_text('{"title": "Ada", "infobox": {"born": "1815"}}\n')
    (tmp_path / "a.box").write_text("article_title_1:Ada\tborn_1:10:30\tborn_2:1815\timage:<none>\n")
    facts = read_boxes(tmp_path / "a.json").facts("Ada")
    assert [(fact.key, [one.value for one in fact.values]) for fact in facts] == [("born", ["1815"]), ("club", ["A", "B"])]
    assert read_boxes(tmp_path / "a.jsonl").lookup("ADA") == ["Ada"]
    assert read_boxes(tmp_path / "a.box").facts("Ada")[1].values[0].value == "10:30 1815"
    with pytest.raises(ConfigError, match="no knowledge base"):
        open_knowledge(str(Path(__file__)), tmp_path)
    with pytest.raises(MissingArtifactError):
        open_knowledge("nowhere.json", tmp_path)
    assert InfoboxKB({}).facts("x") == []


class Web:
    """Answers from a list, and remembers what was asked."""

    def __init__(self, answers):
        self.answers, self.asked, self.slept, self.now = list(answers), [], [], 0.0

    def fetch(self, address, headers):
        self.asked.append((address, headers["User-Agent"]))
        self.now += 0.5
        status, extra, body = self.answers.pop(0)
        return status, extra, json.dumps(body).encode()

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def base(self, folder):
        return WikidataRest("me@example.org", folder, fetch=self.fetch, sleep=self.sleep, clock=lambda: self.now)


def test_the_web_is_asked_once_and_waited_for(tmp_path):
    found = {"search": [{"id": "Q7", "label": "Ada"}, {"id": "Q8", "label": "Adam", "match": {"text": "ada"}}]}
    web = Web([(429, {"Retry-After": "7"}, {}), (503, {}, {}), (200, {}, found)])
    assert web.base(tmp_path).lookup("Ada") == ["Q7"]
    assert web.slept == [7.0, 2.0]
    assert "me@example.org" in web.asked[0][1]
    assert web.base(tmp_path).lookup("Ada") == ["Q7"]
    assert len(web.asked) == 3


def test_facts_of_the_web_are_those_of_a_dump(tmp_path):
    entity = synthetic_entity(3, 5, random.Random(0))
    place = entity["claims"]["P19"][1]["mainsnak"]["datavalue"]["value"]["id"]
    names = {"entities": {place: {"labels": {"en": {"language": "en", "value": "Genoa"}}, "aliases": {}}}}
    web = Web([(200, {}, {"entities": {"Q4": entity}}), (200, {}, names)])
    facts = {fact.label: fact for fact in web.base(tmp_path).facts("Q4")}
    assert facts["place of birth"].best[0].value == "Genoa"
    assert facts["date of birth"].best[0].value == "1803-03-04"


def test_a_web_that_refuses_is_no_answer(tmp_path):
    with pytest.raises(ApparatusError, match="status 403"):
        Web([(403, {}, {})]).base(tmp_path).lookup("Ada")
    with pytest.raises(ConfigError, match="contact"):
        WikidataRest("me", tmp_path)
