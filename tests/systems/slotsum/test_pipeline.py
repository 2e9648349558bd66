"""Tiny random models through the whole method: pointers are valid, prompts are shared, everything is escaped and resumes."""

import json

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.llm.scripted import Scripted
from tenfold.nn import models
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.nn.reuse import Reusing
from tenfold.nn.sampling import GenerationSettings
from tenfold.store import runs
from tenfold.systems.slotsum import evaluating, filling, running, training
from tenfold.systems.slotsum.copying import CopyConstraint, read_source, trimmed
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.entities import load_entities
from tenfold.systems.slotsum.explaining import ExplainConfig
from tenfold.systems.slotsum.explaining import explain as explain_verb
from tenfold.systems.slotsum.fill import ChatFiller, Filled, LocalFiller
from tenfold.systems.slotsum.generate import ChatGenerator, LocalGenerator, NoTemplateError
from tenfold.systems.slotsum.grammar import token_trie
from tenfold.systems.slotsum.knowledge import InfoboxKB
from tenfold.systems.slotsum.leaks import policy, violations
from tenfold.systems.slotsum.metrics import score_facts
from tenfold.systems.slotsum.page import build_eval, build_run
from tenfold.systems.slotsum.provenance import Evidence
from tenfold.systems.slotsum.rectify import Prediction, Rules
from tenfold.systems.slotsum.summarize import Method, summarize
from tenfold.systems.slotsum.templates import Slot
from tiny_tokenizer import tiny_tokenizer

DOCUMENTS = [
    Document("a", "Marta Ellingsen (12 April 1931 - 2 November 2004) was born in Hamnvik. She drew maps."),
    Document("b", "Some papers say that Ellingsen was born in 1933 in Tromvik [[title]]."),
]
INFOBOX = {"birth date": "1931-04-12", "birth place": "Hamnvik"}


@pytest.fixture(scope="module")
def tiny():
    """A random Llama that writes in all 256 bytes."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    state = {name: weight.float() * 4 for name, weight in LlamaForCausalLM(config).state_dict().items()}
    engine = LeanLlama(config, state)
    engine.seeks_exactness = False
    return LoadedModel("tiny", "", "fp32", engine, tokenizer, frozenset({tokenizer.eos_token_id}))


def slots(*keys):
    return [Slot(key) for key in keys]


@pytest.mark.parametrize("mode", ["copy", "rank"])
def test_every_answer_has_places_that_say_it(tiny, mode):
    filled = LocalFiller(tiny, mode=mode, max_new_tokens=12).fill(
        "Marta Ellingsen", slots("title", "birth date", "job"), DOCUMENTS
    )
    evidence = Evidence(DOCUMENTS)
    for prediction in filled.predictions:
        if prediction.value is not None:
            assert prediction.evidence
            assert all(evidence.is_valid(span, prediction.value) for span in prediction.evidence)
            assert any(prediction.value in document.text for document in DOCUMENTS)
    assert filled.predictions[0].value == "Marta Ellingsen"


def test_shared_prompts_give_the_answers_of_separate_ones(tiny):
    keys = ["birth date", "birth place", "occupation", "spouse", "known for", "award"]
    filler = LocalFiller(tiny, max_new_tokens=10)
    together = filler.fill("Marta Ellingsen", slots(*keys), DOCUMENTS * 1)
    apart = [
        LocalFiller(tiny, max_new_tokens=10).fill("Marta Ellingsen", slots(key), DOCUMENTS).predictions[0] for key in keys
    ]
    assert list(together.predictions) == apart
    assert together.encoded_tokens < together.separate_tokens


def test_logits_after_a_shared_prompt_are_those_of_a_fresh_one(tiny):
    shared = Reusing(tiny.engine)
    prompts = [[5, 6, 7, 8, 9, 10, 11, 12], [5, 6, 7, 8, 9, 20, 21]]
    logits = []
    for prompt in prompts:
        shared.reset()
        logits.append(shared.prefill([prompt])[0])
    assert shared.num_reused == 5
    tiny.engine.reset()
    assert torch.allclose(tiny.engine.prefill([prompts[1]])[0], logits[1], atol=1e-4)


def test_copying_allows_just_the_strings_of_the_documents(tiny):
    texts = ["born in Hamnvik", "北京 is"]
    source = read_source(texts)
    trie = token_trie(tiny.tokenizer, tiny.eos_ids)
    words = {text[a:b] for text in [*texts, "unknown"] for a in range(len(text)) for b in range(a + 1, len(text) + 1)}
    allowed_answers = {one for one in words if _at_words(one, [*texts, "unknown"])}
    for seed in range(40):
        constraint = CopyConstraint(source, trie, tiny.eos_ids, len(tiny.tokenizer))
        generator = torch.Generator().manual_seed(seed)
        data = b""
        while not constraint.finished and len(data) < 30:
            logits = constraint.mask(torch.zeros(len(tiny.tokenizer)))
            if not torch.isfinite(logits).any():
                break
            token = int(torch.multinomial(logits.softmax(-1), 1, generator=generator))
            constraint.accept(token)
            data += b"" if token in tiny.eos_ids else trie.texts[token]
        if constraint.finished:
            assert data.decode() in allowed_answers
        assert any(data in text.encode() for text in [*texts, "unknown"])


def _at_words(answer, texts):
    def ends(text, place):
        first, second = text[place - 1 : place], text[place : place + 1]
        return not (first.isalnum() and second.isalnum() and first.isascii() and second.isascii())

    return answer == answer.strip() and any(
        text.startswith(answer, place) and ends(text, place) and ends(text, place + len(answer))
        for text in texts
        for place in range(len(text))
    )


def test_an_answer_may_end_where_the_document_ends(tiny):
    source = read_source(["在北京。"])
    constraint = CopyConstraint(source, token_trie(tiny.tokenizer, tiny.eos_ids), tiny.eos_ids, len(tiny.tokenizer))
    for byte in "京。".encode():
        constraint.accept(next(n for n, text in enumerate(constraint.trie.texts) if text == bytes([byte])))
    assert constraint.may_end
    assert trimmed("京。", source) == "京"


def test_a_last_word_that_was_cut_off_goes():
    source = read_source(["born in Hamnvik"])
    assert trimmed("born in Hamn", source) == "born in"
    assert trimmed("orn", source) == ""


def test_the_whole_method_keeps_its_promises(tiny):
    method = Method(
        LocalGenerator(tiny, level="values", settings=GenerationSettings(max_new_tokens=64)), LocalFiller(tiny), Rules()
    )
    summary = summarize("Marta Ellingsen", DOCUMENTS, method, knowledge=InfoboxKB({"Marta Ellingsen": INFOBOX}))
    rules = policy("values", ["title", *INFOBOX], [*INFOBOX.values(), "Marta Ellingsen"])
    written = method.generator.generate(
        "Marta Ellingsen", ["title", *INFOBOX], values=[*INFOBOX.values(), "Marta Ellingsen"]
    )
    assert violations(written.template, rules) == []
    assert written.guarantee_by == "decode"
    if summary.written.is_listing:
        assert str(summary.written.template).startswith("[[title]]. Birth date: [[birth date]]. ")
    assert json.loads(json.dumps(summary.row))["title"] == "Marta Ellingsen"
    with pytest.raises(ConfigError, match="no keys"):
        summarize("Nobody", DOCUMENTS, method)


def test_a_budget_too_small_to_close_a_slot_is_refused(tiny):
    generator = LocalGenerator(tiny, settings=GenerationSettings(max_new_tokens=8))
    with pytest.raises(ConfigError, match="kept to close"):
        generator.generate("Ada", ["birth place"])


def test_an_endpoints_template_is_repaired_or_refused():
    answers = ["no slot here", "[[title", "Born in 1815 in London, [[title]] was [[age]]."]
    model = Scripted("s", answers)
    written = ChatGenerator(model).generate("Ada", ["title"], values=["London"])
    assert str(written.template) == "Born in [[?number]] in [[?value]], [[title]] was [[?value]]."
    assert (written.attempts, written.guarantee_by) == (3, "repair")
    assert len(written.repaired) == 3
    with pytest.raises(NoTemplateError, match="3 attempts"):
        ChatGenerator(Scripted("s", ["a", "b", "c"])).generate("Ada", ["title"])


def test_an_endpoints_answers_are_looked_for_in_the_documents():
    filled = ChatFiller(Scripted("s", ["Hamnvik.", "a poet"])).fill(
        "Marta Ellingsen", slots("birth place", "job"), DOCUMENTS
    )
    assert [bool(one.evidence) for one in filled.predictions] == [True, False]


class Reader:
    """Reads the right value where a document says it, for every second slot."""

    def __init__(self):
        self.boxes = {entity.title: entity.infobox for entity in load_entities("entities")}

    def fill(self, title, slots, documents):
        evidence = Evidence(documents)
        found = [evidence.find(str(self.boxes[title].get(slot.key, title))) for slot in slots]
        read = [spans if number % 2 else [] for number, spans in enumerate(found)]
        return Filled(tuple(Prediction(evidence.text(one[0]) if one else None, tuple(one)) for one in read), 1, 2)


def test_our_own_entities_run_with_golden_templates_and_explain(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "open_filler", lambda name, mode: Reader())
    config = running.RunConfig(templates="golden", model="tiny")
    whole = runs.start(tmp_path, "slotsum-run", config)
    metrics = running.run_all(config, whole)
    assert metrics["entities"] == 12
    assert metrics["valid_pointers"]
    assert metrics["sourced"] == 1.0
    assert min(metrics["kept"], metrics["filled"]) > 20
    for entity in load_entities("entities"):
        row = whole.rows[entity.key]
        said = score_facts(row["text"], entity.documents, [("title", entity.title), *entity.infobox.items()])
        assert said.counts["hallucinated"] + said.counts["contradicted"] == 0
    assert len(list((whole.folder / "explanations").glob("*.html"))) == 12
    assert "have a source" in build_run(list(whole.rows.values()), metrics).verdict
    shown = ExplainConfig(run=whole.folder.name, key="zh1")
    page = runs.start(tmp_path, "slotsum-explain", shown)
    explain_verb(shown, page)
    assert "林若水" in (page.folder / "explanation.html").read_text(encoding="utf-8")
    cut_off = runs.start(tmp_path, "cut-off", config)
    cut_off.add("en1", {name: value for name, value in whole.rows["en1"].items() if name != "key"})
    assert running.run_all(config, runs.resume(tmp_path, "cut-off", config)) == metrics


def test_a_title_of_ones_own(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(running, "open_filler", lambda name, mode: LocalFiller(tiny, max_new_tokens=8))
    monkeypatch.setattr(
        running, "writer", lambda config, lang: LocalGenerator(tiny, settings=GenerationSettings(max_new_tokens=60))
    )
    (tmp_path / "a.txt").write_text(DOCUMENTS[0].text)
    (tmp_path / "kb.json").write_text(json.dumps({"Marta Ellingsen": INFOBOX}))
    config = running.RunConfig(title="Marta Ellingsen", docs=(str(tmp_path),), kb=str(tmp_path / "kb.json"))
    assert running.run_all(config, runs.start(tmp_path, "r", config))["entities"] == 1
    lost = running.RunConfig(title="Marta", docs=(str(tmp_path / "nowhere"),))
    with pytest.raises(MissingArtifactError, match="nowhere"):
        running.run_all(lost, runs.start(tmp_path, "r", lost))


def test_generate_and_fill_verbs(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(filling, "open_filler", lambda name, mode: LocalFiller(tiny, max_new_tokens=6))
    monkeypatch.setattr(
        running, "writer", lambda config, lang: LocalGenerator(tiny, settings=GenerationSettings(max_new_tokens=60))
    )
    config = running.GenerateConfig(limit=2)
    assert running.generate(config, runs.start(tmp_path, "g", config))["entities"] == 2
    asked = filling.FillConfig(limit=2)
    metrics = filling.fill(asked, runs.start(tmp_path, "f", asked))
    assert metrics["valid_pointers"] == metrics["pointers"]
    assert metrics["supported"] == metrics["filled"]


def shares_of_words(texts, references):
    """Stands for a learned measure."""
    pairs = zip(texts, references, strict=True)
    return [len(set(text.split()) & set(wanted.split())) / len(set(wanted.split())) for text, wanted in pairs]


def own_texts(tmp_path):
    data = tmp_path / "texts.jsonl"
    rows = [
        {
            "entry": f"e{n}",
            "category": "c",
            "text": text,
            "facts": {"title": f"Town {n}", "country": f"Land {n}", "area": f"{n}5 km"},
        }
        for n in range(1, 7)
        for text in (f"Town {n} lies in Land {n} and measures {n}5 km.", f"Land {n} holds Town {n} of {n}5 km.")
    ]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(data)


def test_eval_compares_all_arms_and_resumes(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(evaluating.models, "load", lambda name: tiny)
    config = evaluating.EvalConfig(
        data=own_texts(tmp_path),
        limit=3,
        plain="tiny",
        kv="tiny",
        rewriter="tiny",
        max_new_tokens=60,
        tuned=True,
        likeness=f"{__name__}:shares_of_words",
        questions=True,
    )
    whole = runs.start(tmp_path, "whole", config)
    metrics = evaluating.evaluate(config, whole)
    assert {"plain", "KV", "rewriter", "oracle", "slots verify 1", "slots keep 0.2"} <= set(metrics["arms"])
    assert metrics["arms"]["oracle"]["false_facts"] == 0
    assert metrics["arms"]["oracle"]["missing"] == 0
    assert metrics["arms"]["oracle"]["likeness"] > 0.5
    assert 0 <= metrics["arms"]["oracle"]["questions"] <= 1
    assert metrics["valid_pointers"] in (1.0, None)
    assert len(metrics["curve"]["verify"]) == 4
    assert build_eval(list(whole.rows.values()), metrics).exhibits
    cut_off = runs.start(tmp_path, "cut-off", config)
    first = next(iter(whole.rows))
    cut_off.add(first, {name: value for name, value in whole.rows[first].items() if name != "key"})
    assert evaluating.evaluate(config, runs.resume(tmp_path, "cut-off", config)) == metrics
    wrong = evaluating.EvalConfig(data=config.data, strategies=("nosuch",))
    with pytest.raises(ConfigError, match="nosuch"):
        evaluating.evaluate(wrong, runs.start(tmp_path, "w", wrong))


@pytest.mark.parametrize("task", ["template", "template-docs", "fill", "plain", "K", "KV", "rewriter"])
def test_rows_of_every_task(tmp_path, task):
    config = training.TrainConfig(task=task, data=own_texts(tmp_path), held_out_rows=2, limit_rows=3)
    rows, held_out = training.draw_rows(config)
    assert rows and held_out
    assert all(row.completion.strip() for row in rows)
    if task.startswith("template"):
        assert all("[[title]]" in row.completion for row in rows)


def test_a_changed_setting_of_training_leaves_the_others_as_they_are():
    config = parse(training.TrainConfig, {"tune": {"training": {"batch_size": 2}}})
    assert (config.tune.lora.rank, config.tune.training.batch_size, config.tune.training.schedule) == (16, 2, "cosine")


def test_training_leaves_a_model_that_is_read_again(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=2048, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    steps = {"training": {"max_steps": 2, "batch_size": 1, "accumulate": 1}, "lora": {"rank": 2}}
    table = {"model": str(tmp_path / "base"), "data": own_texts(tmp_path), "held_out_rows": 2, "limit_rows": 3}
    settings = parse(training.TrainConfig, {**table, "max_length": 2000, "tune": steps})
    run = runs.start(tmp_path, "train", settings)
    metrics = training.train(settings, run)
    assert (metrics["steps"], metrics["rows"], metrics["left_out"]) == (2, 3, 0)
    assert (run.folder / "adapter" / "adapter_config.json").exists()
    assert models.load(str(run.folder / "merged")).engine.vocab_size == len(tokenizer)
    assert training.train(settings, runs.resume(tmp_path, "train", settings)) == metrics
    short = parse(training.TrainConfig, {**table, "max_length": 32, "tune": steps})
    with pytest.raises(ConfigError, match="none of"):
        training.train(short, runs.start(tmp_path, "short", short))
