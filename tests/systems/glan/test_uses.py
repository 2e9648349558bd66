"""What is done with the data: pages, a held-out test, grades, the probe of losses, the load test."""

import json

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import ApparatusError, UserError
from tenfold.llm.chat import ProviderError
from tenfold.llm.scripted import Scripted
from tenfold.llm.stub_server import Asked
from tenfold.nn import opening
from tenfold.store import runs
from tenfold.systems.glan import judging, loadtest, probe, testset, viewer
from tenfold.systems.glan.generating import GenerateConfig, generate
from tenfold.systems.glan.pair_files import read_pairs, write_pairs
from tenfold.train.rows import read_rows
from tiny_chat import tiny_chat_model, tiny_tokenizer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A finished run of `generate` with reserved draws and defects."""
    root = tmp_path_factory.mktemp("data")
    settings = {
        "disciplines": ("Algebra", "Baking"),
        "teacher": "scripted:defects",
        "subjects": 3,
        "queries": 2,
        "held_out": 2,
    }
    config = parse(GenerateConfig, settings)
    run = runs.start(root, "glan-generate", config)
    run.finish(generate(config, run))
    return run.folder


def opened(tmp_path, verb, config_type, **settings):
    return runs.start(tmp_path, f"glan-{verb}", parse(config_type, settings))


def test_every_pair_and_every_reason_is_in_the_pages(tmp_path, data):
    run = opened(tmp_path, "view", viewer.ViewConfig, run_of=str(data))
    metrics = viewer.view(run.config, run)
    shown = [row for script in sorted((run.folder / "view").glob("d*.js")) for row in received(script)]
    pairs = {pair.id: pair for pair in read_pairs(data / "pairs.jsonl")}
    assert metrics["pairs"] == len(shown) == len(pairs)
    assert {row["id"]: row["instruction"] for row in shown} == {key: pair.instruction for key, pair in pairs.items()}
    assert sum(row["gate"] is not None for row in shown) == metrics["rejected"] > 0
    page = (run.folder / "view" / "index.html").read_text()
    assert (
        "Algebra" in page
        and "% of concepts" in page
        and "% of 3-word runs differ" in page
        and "index.html" in viewer.describe(metrics)
    )


def received(script):
    return json.loads(script.read_text().partition(", ")[2].removesuffix(");\n"))


def test_a_teachers_text_is_never_markup(tmp_path, data):
    evil = "</script><script>alert(1)</script><!-- \u2028 & {{ 7 * 7 }}"
    folder = tmp_path / "glan-generate" / "evil"
    folder.mkdir(parents=True)
    pairs = list(read_pairs(data / "pairs.jsonl"))[:2]
    changed = [type(pair)(**pair.row | {"instruction": evil, "discipline": evil, "lineage": pair.lineage}) for pair in pairs]
    write_pairs(folder / "pairs.jsonl", changed)
    (folder / "rejected.jsonl").write_text("")
    (folder / "config.toml").write_text("")
    run = opened(tmp_path, "view", viewer.ViewConfig, run_of=str(folder))
    viewer.view(run.config, run)
    script = (run.folder / "view" / "d000.js").read_text()
    assert "<" not in script and "\u2028" not in script
    assert received(run.folder / "view" / "d000.js")[0]["instruction"] == evil
    page = (run.folder / "view" / "index.html").read_text()
    assert "alert(1)</script>" not in page and "{{ 7 * 7 }}" in page


def test_a_run_without_pairs_cannot_be_viewed(tmp_path):
    folder = tmp_path / "glan-generate" / "empty"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("")
    run = opened(tmp_path, "view", viewer.ViewConfig, run_of=str(folder))
    with pytest.raises(UserError, match=r"pairs\.jsonl"):
        viewer.view(run.config, run)


def test_the_test_set_shares_no_question_with_training_and_trainers_read_it(tmp_path, data):
    run = opened(tmp_path, "testset", testset.TestsetConfig, data=str(data / "pairs.jsonl"), per_discipline=3)
    metrics = testset.testset(run.config, run)
    rows = read_rows(run.folder / metrics["file"])
    train = {pair.instruction for pair in read_pairs(data / "pairs.jsonl") if pair.split == "train"}
    assert metrics["questions"] == len(rows) <= 6 and metrics["disciplines"] == 2
    assert not train & {row.prompt[0]["content"] for row in rows}
    items = [json.loads(line) for line in (run.folder / metrics["file"]).read_text().splitlines()]
    first = [item["subject"] for item in items if item["discipline"] == "Algebra"]
    assert len(set(first)) == len(first), "one question of each subject before a second one of any"
    assert "held out" in testset.describe(metrics)


def test_without_reserved_draws_there_is_no_test_set(tmp_path, data):
    path = tmp_path / "train.jsonl"
    write_pairs(path, (pair for pair in read_pairs(data / "pairs.jsonl") if pair.split == "train"))
    run = opened(tmp_path, "testset", testset.TestsetConfig, data=str(path))
    with pytest.raises(UserError, match="held-out"):
        testset.testset(run.config, run)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"first": 7, "second": 4}', (7, 4)),
        ('Sure: {"second": 4, "first": 10}.', (10, 4)),
        ("7 and 4", (7, 4)),
        ("7", None),
        ("7 4 2", None),
        ("0 and 4", None),
        ("11 and 4", None),
        ("7.5 and 4", None),
        ('{"first": 7.5, "second": 4}', None),
        ("", None),
    ],
)
def test_grades_are_read_or_not_and_never_guessed(text, expected):
    assert judging.grades(text) == expected


def graded(tmp_path, monkeypatch, verdict, **settings):
    """`good` answers well and `bad` badly; `verdict` grades the two answers as they stand."""
    asked = []

    def answer(name):
        def reply(request):
            asked.append((name, request.digest))
            if name == "grader":
                text = request.messages[0].text
                first, second = text.partition("First answer: ")[2].split("\n\nSecond answer: ")
                return verdict(first, second.partition("\n\nReply")[0])
            return f"a {name} answer"

        return Scripted(name, reply)

    monkeypatch.setattr(opening, "open_model", answer)
    path = tmp_path / "test.jsonl"
    path.write_text("".join(json.dumps({"id": n, "question": f"q{n}", "discipline": f"d{n % 2}"}) + "\n" for n in range(6)))
    given = {"testset": str(path), "models": "bad,good", "judge": "grader"} | settings
    run = opened(tmp_path, "judge", judging.JudgeConfig, **given)
    return judging.judge(run.config, run), run, asked


def fair(first, second):
    return json.dumps({"first": 8 if "good" in first else 3, "second": 8 if "good" in second else 3})


def test_a_fair_judge_finds_the_better_model_and_no_order_bias(tmp_path, monkeypatch):
    metrics, run, asked = graded(tmp_path, monkeypatch, fair)
    assert metrics["gap"]["value"] == 5.0 and metrics["order_bias"]["value"] == 0.0 and metrics["graded"] == 6
    assert metrics["mean_grades"] == {"bad": 3.0, "good": 8.0}
    assert "good less bad: +5.00" in judging.describe(metrics)
    assert judging.build_page([], metrics).verdict.startswith("Good answers better")
    before = len(asked)
    assert judging.judge(run.config, run) == metrics and len(asked) == before, "a resumed run repeats no call"


def test_a_judge_that_likes_the_first_place_says_nothing_of_the_models(tmp_path, monkeypatch):
    metrics, _, _ = graded(tmp_path, monkeypatch, lambda first, second: "9 5")
    assert metrics["gap"]["value"] == 0.0 and metrics["order_bias"]["value"] == 4.0


def test_what_cannot_be_read_counts_for_nobody(tmp_path, monkeypatch):
    metrics, _, _ = graded(tmp_path, monkeypatch, lambda first, second: fair(first, second) if "good" in first else "hm")
    assert metrics["unreadable"] == 6 and metrics["gap"]["value"] == 5.0 and metrics["order_bias"] is None
    with pytest.raises(ApparatusError, match="no verdict"):
        graded(tmp_path, monkeypatch, lambda first, second: "hm")


def test_wrong_settings_of_a_judge(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="two to compare"):
        graded(tmp_path, monkeypatch, fair, models="good,good")
    path = tmp_path / "odd.jsonl"
    path.write_text('{"id": 1}\n')
    with pytest.raises(UserError, match="line 1 has no question"):
        graded(tmp_path, monkeypatch, fair, testset=str(path))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = tiny_tokenizer()
    tiny_chat_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def probed(tmp_path, tiny):
    for side, answers in (("train", "1 2"), ("test", "3 4")):
        rows = [{"question": f"what follows {n} ?", "answer": f"{answers} {n}"} for n in range(12)]
        (tmp_path / f"{side}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {side: str(tmp_path / f"{side}.jsonl") for side in ("train", "test")}
    run = opened(tmp_path, "probe", probe.ProbeConfig, model=str(tiny), n=8, **files)
    return probe.probe(run.config, run), run


def test_the_probe_measures_both_sides_and_goes_on_where_it_was(tmp_path, tiny):
    metrics, run = probed(tmp_path, tiny)
    assert metrics["n"] == {"test": 8, "train": 8}
    assert metrics["gap"]["value"] == pytest.approx(metrics["loss_test"] - metrics["loss_train"])
    assert metrics["gap"]["low"] <= metrics["gap"]["value"] <= metrics["gap"]["high"]
    assert probe.probe(run.config, run) == metrics
    assert metrics["verdict"] in probe.describe(metrics)
    assert probe.build_page(list(run.rows.values()), metrics).exhibits


def test_seen_rows_show_and_equal_rows_do_not(tmp_path):
    run = opened(tmp_path, "probe", probe.ProbeConfig)
    import numpy as np

    draw = np.random.default_rng(0)
    sums = {
        side: np.stack([draw.normal(centre, 3, 200), np.full(200, 10.0)], axis=1)
        for side, centre in (("test", 22), ("train", 20))
    }
    assert probe._metrics(run.config, sums)["verdict"] == "training rows look seen"
    assert probe._metrics(run.config, {"test": sums["train"], "train": sums["test"]})["verdict"] == "test rows look seen"
    assert probe._metrics(run.config, {"test": sums["test"], "train": sums["test"]})["verdict"] == "no sign of either"


def test_wrong_benchmarks_are_refused(tmp_path):
    for settings in ({"benchmark": "gms8k"}, {"train": "a.jsonl"}):
        run = opened(tmp_path, "probe", probe.ProbeConfig, **settings)
        with pytest.raises(UserError, match="train and test"):
            probe.probe(run.config, run)


def test_the_load_test_loses_nothing_under_faults(tmp_path):
    run = opened(tmp_path, "loadtest", loadtest.LoadConfig, calls=100, latency_ms=5.0, fault_share=0.3, timeout_s=2.0)
    metrics = loadtest.loadtest(run.config, run)
    assert metrics["identical"] and metrics["lost"] == metrics["answered_twice"] == 0
    assert sum(metrics["faults"].values()) > 10 and metrics["calls"] == 112
    assert "to the last byte" in loadtest.describe(metrics)
    assert loadtest.loadtest(run.config, run) == metrics


def test_busy_share_by_hand():
    def asked(started, finished):
        return Asked("", {}, {}, started, finished=finished)

    assert loadtest.share_busy([asked(0, 1), asked(1, 2), asked(2, 3)], 1, 9) == 1.0
    assert loadtest.share_busy([asked(0, 1), asked(1, 2), asked(2, 3)], 2, 9) == 0.5
    assert loadtest.share_busy([asked(0, None), asked(2, 3)], 1, 1.0) == 0.5


def test_other_failures_of_the_judge_are_not_the_models(tmp_path, monkeypatch):
    def down(first, second):
        raise ProviderError("server", "down")

    with pytest.raises(ApparatusError):
        graded(tmp_path, monkeypatch, down)
