"""Planted errors are errors, other words are none, and the verb counts both; a resumed run equals a whole one."""

import json
import random

import pytest

from tenfold.core.errors import ConfigError
from tenfold.store import runs
from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.flagging import flag
from tenfold.systems.slotsum.inject import KINDS, Pool, inject_errors, restatements
from tenfold.systems.slotsum.injecting import InjectConfig, inject
from tenfold.systems.slotsum.page import build_inject
from tenfold.systems.slotsum.relations import relate_texts
from tenfold.systems.slotsum.values import parse_value

TEXTS = [
    ("Ada Lovelace, born on 10 December 1815 in London, was 1.65 m tall.",
     {"title": "Ada Lovelace", "birth date": "1815-12-10", "birth place": "London", "height": "165 cm"}),
    ("Grace Hopper, born on 9 December 1906 in New York City, was 1.70 m tall.",
     {"title": "Grace Hopper", "birth date": "1906-12-09", "birth place": "New York City", "height": "170 cm"}),
    ("Emmy Noether, born on 23 March 1882 in Erlangen, was 1.60 m tall.",
     {"title": "Emmy Noether", "birth date": "1882-03-23", "birth place": "Erlangen", "height": "160 cm"}),
]  # fmt: skip


def test_every_kind_is_planted_and_is_an_error():
    pool = Pool([tuple(facts.items()) for _, facts in TEXTS])
    seen = set()
    for seed in range(60):
        text, facts = TEXTS[seed % 3]
        derived = derive_template(text, tuple(facts.items()))
        assert len(derived.spans) == 4
        planted = inject_errors(derived, tuple(facts.items()), pool, rate=0.5, restated=0.5, seed=seed)
        for span, surface, said, mark in zip(derived.spans, derived.surfaces, planted.surfaces, planted.marks, strict=True):
            assert (said == surface) == (mark is None)
            if mark in KINDS:
                assert relate_texts(said, span.value) == "different"
            if mark == "restated":
                assert relate_texts(said, span.value) in ("equal", "compatible")
        seen |= set(planted.marks)
    assert seen == {*KINDS, "restated", None}


@pytest.mark.parametrize("raw", ["1815-12-10", "165 cm", "Ada Lovelace", "1250"])
def test_restatements_say_the_same(raw):
    written = list(restatements(parse_value(raw), raw))
    assert written
    assert all(relate_texts(one, raw) in ("equal", "compatible") for one in written)


def test_what_the_base_does_not_explain_is_flagged_with_the_one_value_that_is_left():
    text, facts = TEXTS[0]
    flags = flag(text.replace("London", "Paris"), tuple(facts.items()))
    assert [(one.kind, one.correction) for one in flags] == [("string", "London")]
    assert flag(text, tuple(facts.items())) == []


def test_the_verb_counts_and_a_resumed_run_equals_a_whole_one(tmp_path):
    data = tmp_path / "texts.jsonl"
    rows = [{"text": text, "facts": facts} for text, facts in TEXTS * 4]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = InjectConfig(data=str(data), rate=0.5)
    whole = runs.start(tmp_path, "whole", config)
    metrics = inject(config, whole)
    assert metrics["injected"] > 10
    assert (metrics["localisation"], metrics["rectification"], metrics["false_edits"]) == (1.0, 1.0, 0)
    cut_off = runs.start(tmp_path, "cut-off", config)
    cut_off.add("1", {name: value for name, value in whole.rows["1"].items() if name != "key"})
    assert inject(config, runs.resume(tmp_path, "cut-off", config)) == metrics
    page = build_inject(list(whole.rows.values()), metrics)
    assert "100.0% were found" in page.verdict


def test_texts_without_facts_are_refused(tmp_path):
    data = tmp_path / "texts.jsonl"
    data.write_text('{"text": "Nothing.", "facts": {}}\n')
    config = InjectConfig(data=str(data))
    with pytest.raises(ConfigError, match="no slot"):
        inject(config, runs.start(tmp_path, "run", config))


def test_the_pool_never_draws_for_a_key_it_does_not_know():
    assert Pool([[("a", "1")]]).draw("swap", "b", random.Random(0)) is None
