"""Documents, data sets, verdicts on facts, ROUGE and explanations: what needs no model."""

import json
from collections import Counter

import pytest

from tenfold.core.errors import ConfigError
from tenfold.store import runs
from tenfold.systems.slotsum.build import build_rows, overlap, split_of
from tenfold.systems.slotsum.building import BuildConfig, build
from tenfold.systems.slotsum.documents import Document, clip, read_documents, sentences
from tenfold.systems.slotsum.entities import load_entities
from tenfold.systems.slotsum.explain import explain
from tenfold.systems.slotsum.metrics import score_facts
from tenfold.systems.slotsum.rouge import longest_common, rouge
from tenfold.systems.slotsum.shortening import shortened

DOCUMENTS = [
    Document("a", "Marta Ellingsen (12 April 1931 - 2 November 2004) was born in Hamnvik. She drew maps."),
    Document("b", "Some papers say that Ellingsen was born in 1933 in Tromvik [[title]]."),
]


def test_clipping_and_shortening_keep_offsets():
    document = Document("a", "Ada wrote. 艾达写作。She lived in London! " * 30)
    for sentence in sentences(document):
        assert document.text[sentence.start : sentence.end] == sentence.text
    assert clip([document], "Ada")[0].text == "Ada wrote."
    (short,) = shortened([document], "Ada", most_words=20)
    assert len(short.text) == len(document.text)
    assert all(a in (b, " ") for a, b in zip(short.text, document.text, strict=True))


@pytest.mark.parametrize("rows", [[], [""], [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}], [3]])
def test_documents_that_cannot_be_used_are_refused(rows):
    with pytest.raises(ConfigError):
        read_documents(rows)


def test_facts_of_a_text_are_judged():
    facts = [("title", "Marta Ellingsen"), ("birth date", "1931-04-12"), ("birth place", "Hamnvik"), ("job", "cartographer")]
    text = "Marta Ellingsen, a cartographer, was born in 1933 in Oslo."
    report = score_facts(text, DOCUMENTS, facts)
    said = {text[fact.start : fact.end]: fact.verdict for fact in report.facts}
    assert said == {
        "Marta Ellingsen": "supported", "cartographer": "known", "1933": "contradicted", "Oslo": "hallucinated"
    }  # fmt: skip
    assert report.missing == ("birth date", "birth place")
    assert score_facts("", DOCUMENTS, facts).counts["facts"] == 0


def test_rouge_of_the_reference_is_one_and_of_nothing_zero():
    text = "The lake is deep. It lies in Scotland."
    assert set(rouge(text, text).values()) == {1.0}
    assert set(rouge("", text).values()) == {0.0}
    assert longest_common("abcbdab", "bdcaba") == 4
    scores = rouge("police kill the gunman", "police killed the gunman")
    assert scores["rougeL"] == 1.0


def test_explanations_escape_what_they_show():
    evil = "<script>alert(1)</script>"
    row = {
        "title": evil, "text": f"Ada is {evil}.", "template": evil, "guarantee": None, "guarantee_by": "none", "entity": "",
        "documents": [{"id": evil, "text": f"{evil} Ada"}],
        "slots": [{"slot": "[[title]]", "action": "predicted", "surface": "Ada", "reason": evil, "predicted": "Ada",
                   "relation": None,
                   "known": [evil], "source": {"doc_id": evil, "start": 26, "end": 29},
                   "evidence": [{"doc_id": evil, "start": 26, "end": 29}]}],
    }  # fmt: skip
    page = explain(row)
    assert "<script>" not in page
    assert 'id="span1"' in page
    assert 'href="#slot1"' in page


def test_data_sets_of_our_own_entities(tmp_path):
    config = BuildConfig(to=str(tmp_path / "sets"), licence="CC0")
    metrics = build(config, runs.start(tmp_path, "b", config))
    assert metrics["entities"] == 12
    manifest = json.loads((tmp_path / "sets/manifest.json").read_text())
    assert manifest["licence"] == "CC0"
    assert len(manifest["sha256"]) == 12
    entity = load_entities("entities")[0]
    rows = build_rows(entity)
    assert rows.slotted["sloted_text"].startswith("[[title]], born on [[birth date]]")
    for one in rows.slotted["replaced_slots"]:
        assert entity.target[one["start"] : one["end"]] == one["surface"]
    assert split_of(entity.title) == rows.split
    assert overlap(Counter("aab"), Counter("ab")) == pytest.approx(2 / 3)
