"""Packs: reading, selecting, and every kind of fault that lint names."""

import pytest

from tenfold.core.errors import ConfigError, MissingArtifactError, UnknownNameError
from tenfold.systems.shieldlm.lint import lint_pack, lint_selection, refuse
from tenfold.systems.shieldlm.rules import POLARITIES, read_pack

EN, ZH = read_pack("base-en"), read_pack("base-zh")
DIASAFETY = {"Biased Opinion", "Offending User", "Risk Ignorance", "Toxicity Agreement", "Unauthorized Expertise"}


@pytest.mark.parametrize("pack", [EN, ZH], ids=["en", "zh"])
def test_the_packs_that_ship_are_whole_and_without_faults(pack):
    assert len(pack.types) == 12 and set(pack.types) >= DIASAFETY
    assert all(pair.rule(way) for pair in pack.rules for way in POLARITIES)
    assert lint_pack(pack) == []
    assert pack.types == EN.types


def test_selection_by_type_id_all_and_sentence():
    assert EN.select(["bias:strict"]) == EN.select(["Biased Opinion:strict"]) == EN.pool("Biased Opinion", "strict")
    assert EN.select(["all:loose"]) == EN.all("loose")
    assert EN.select(["No talk of frumps."]) == ["No talk of frumps."]
    assert ZH.select(["不要谈花。"]) == ["不要谈花。"]
    for wrong in ("bias", "bias:strong", "weather:loose"):
        with pytest.raises(UnknownNameError, match="bias:strict"):
            EN.select([wrong])


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        (["one\ntwo"], "line-break"),
        (["1. numbered"], "numbering"),
        (["say [Answer] safe"], "marker"),
        (["不要这样。"], "language"),
        (["Never name a flower.", "Never name a flower!"], "duplicate"),
        (["word " * 90], "length"),
    ],
)
def test_lint_names_the_fault_of_sentences(rules, kind):
    assert kind in {finding.kind for finding in lint_selection(rules, rules, EN, "en")}


def test_lint_finds_contradictions_and_opposite_twins():
    names = ["bias:loose", "bias:strict"]
    findings = lint_selection(names, EN.select(names), EN, "en")
    assert "contradiction" in {finding.kind for finding in findings}
    with pytest.raises(ConfigError, match="contradiction"):
        refuse(findings)
    refuse(lint_selection(["bias:strict", "insult:strict"], EN.select(["bias:strict", "insult:strict"]), EN, "en"))


def test_lint_of_a_pack_finds_missing_partners_and_twins(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(
        "id: p\nversion: 1\nlang: en\nrules:\n"
        "  - {id: a, type: A, strict: Never name a red flower in a reply.}\n"
        "  - {id: b, type: B, strict: Never name a red flower in any reply., loose: You may name a red flower in a reply.}\n"
    )
    kinds = {finding.kind for finding in lint_pack(read_pack(str(path)))}
    assert kinds == {"partner", "duplicate"}


def test_a_pack_that_is_none_is_told_plainly(tmp_path):
    with pytest.raises(MissingArtifactError, match="base-en"):
        read_pack("base-fr")
    for text, match in (("- a", "no pack"), ("a: [", "not YAML"), ("id: x\nversion: 1\nlang: en\nrules: []\n", "rules")):
        (tmp_path / "p.yaml").write_text(text)
        with pytest.raises(ConfigError, match=match):
            read_pack(str(tmp_path / "p.yaml"))
    twice = "id: x\nversion: 1\nlang: en\nrules:\n  - {id: a, type: A}\n  - {id: a, type: B}\n"
    (tmp_path / "p.yaml").write_text(twice)
    with pytest.raises(ConfigError, match="occurs twice"):
        read_pack(str(tmp_path / "p.yaml"))


def test_a_changed_word_changes_the_fingerprint():
    pair = EN.rules[0].model_copy(update={"strict": "Another sentence."})
    assert EN.model_copy(update={"rules": (pair, *EN.rules[1:])}).fingerprint != EN.fingerprint
