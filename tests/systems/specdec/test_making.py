"""Drafters by name with options, and the verbs that build what some of them need."""

import json

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.nn import models
from tenfold.nn.sampling import GenerationSettings
from tenfold.store import runs
from tenfold.systems.specdec import building
from tenfold.systems.specdec.certify import ARMS, CertifyConfig, certify
from tenfold.systems.specdec.drafters import DRAFTERS, TARGET_DRAFTERS, making

GREEDY = GenerationSettings.model_validate({})


@pytest.fixture(scope="module")
def loaded(tiny_folder):
    return models.load(str(tiny_folder))


@pytest.mark.parametrize("label", ARMS)
def test_every_certified_arm_can_be_made(loaded, label):
    name, options = ARMS[label]
    assert making.make(name, options, loaded, GREEDY).propose([1, 2, 1, 2, 1], 3) is not None


def test_every_drafter_without_needs_of_its_own_is_certified():
    assert {*DRAFTERS, *TARGET_DRAFTERS} - {name for name, _ in ARMS.values()} == {"model", "medusa", "eagle"}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("ngrm", (), "did you mean 'ngram'"),
        ("ngram", ("max_ngrm=3",), "max_ngrm"),
        ("ngram", ("max_ngram=0",), "max_ngram"),
        ("ngram", ("max_ngram",), "key=value"),
        ("early_exit", ("depth=3",), "unknown setting 'depth'"),
        ("medusa", (), "head is missing"),
        ("suffix", ("index=nowhere.npz",), "nowhere.npz"),
    ],
)
def test_wrong_names_and_options_are_the_users_mistake(loaded, name, options, said):
    with pytest.raises(UserError, match=said):
        making.make(name, options, loaded, GREEDY)


def test_an_index_built_by_the_verb_drafts(loaded, tiny_folder, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("the quick brown fox jumps over the lazy dog " * 20)
    table = {"sources": [str(corpus)], "out": str(tmp_path / "i.npz"), "licence": "CC0", "model": str(tiny_folder)}
    config = parse(building.IndexConfig, table)
    metrics = building.index(config, runs.start(tmp_path / "runs", "specdec-index", config))
    assert "CC0" in building.describe_index(metrics)
    drafter = making.make("suffix", (f"index={metrics['index']}",), loaded, GREEDY)
    context = models.text_ids(loaded.tokenizer, "quick brown")
    assert loaded.tokenizer.decode(list(drafter.propose(context, 4).tokens)) == " fox"


def test_a_head_trained_by_the_verb_drafts(loaded, tiny_folder, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"question": f"count to {n}"}) for n in range(4)))
    table = {"prompts": str(prompts), "out": str(tmp_path / "head"), "model": str(tiny_folder), "kind": "medusa"}
    config = parse(building.TrainHeadVerbConfig, table | {"num_steps": 3, "max_new_tokens": 8, "head_size": 64})
    metrics = building.train(config, runs.start(tmp_path / "runs", "specdec-train-head", config))
    assert "held-back" in building.describe_head(metrics)
    assert making.make("medusa", (f"head={tmp_path / 'head'}",), loaded, GREEDY).name == "medusa"


def test_the_certificate_covers_every_arm_and_dtype(tiny_folder, tmp_path, monkeypatch):
    from tenfold.systems.specdec import certify as module

    sampling = {"max_total_variation": 0.0, "laws": 1, "mutants_killed": ["M1"], "code_digest": "x"}
    monkeypatch.setattr(module, "_sampling_row", lambda: sampling)
    config = parse(
        CertifyConfig,
        {"model": str(tiny_folder), "limit_per_task": 1, "max_new_tokens": 6, "data": str(questions(tmp_path))},
    )
    metrics = certify(config, runs.start(tmp_path / "runs", "specdec-certify", config))
    assert metrics["greedy_identical"] == metrics["greedy_total"] == 2 * len(ARMS)
    assert {"max_total_variation", "mutants_killed", "mutants_total"} <= metrics.keys()
    assert "identical to plain decoding" in module.summary(metrics)


def questions(folder):
    path = folder / "questions.jsonl"
    path.write_text(json.dumps({"question_id": 1, "category": "qa", "turns": ["ab ab ab?"]}))
    return path


def test_prompts_are_read_from_every_accepted_key_and_from_turns(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a"}\n{"question": "b"}\n{"question_id": 1, "category": "qa", "turns": ["c", "d"]}\n')
    assert building.read_prompts(path) == ["a", "b", "c"]


@pytest.mark.parametrize("row", ['{"answer": "a"}', '{"turns": []}', "[1]", '{"prompt": 3}'])
def test_rows_without_a_prompt_are_refused(tmp_path, row):
    path = tmp_path / "prompts.jsonl"
    path.write_text(row)
    with pytest.raises(UserError, match="has no prompt"):
        building.read_prompts(path)
