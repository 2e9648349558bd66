"""A taxonomy that is voted on or proposed by a model; batch files that give what asking one by one gives."""

import json

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import ApparatusError, UserError
from tenfold.llm.chat import ChatRequest, ProviderError, assistant, user
from tenfold.llm.scripted import Scripted
from tenfold.store import runs
from tenfold.systems.glan import generating, surveying
from tenfold.systems.glan.generating import GenerateConfig, generate
from tenfold.systems.glan.outcome import describe
from tenfold.systems.glan.page import build
from tenfold.systems.glan.proposing import united
from tenfold.systems.glan.surveying import TaxonomyConfig, survey
from tenfold.systems.glan.taxonomy import load_taxonomy
from tenfold.systems.glan.teachers import scripted_reply, scripted_teacher


def surveyed(tmp_path, **settings):
    config = parse(TaxonomyConfig, settings)
    run = runs.start(tmp_path, "glan-taxonomy", config)
    return survey(config, run), run


def vote(tmp_path, annotator, *removed):
    path = tmp_path / f"{annotator}.json"
    path.write_text(json.dumps({"annotator": annotator, "remove": removed}))
    return path


def tallied(tmp_path, *votes, **settings):
    return surveyed(tmp_path, action="tally", votes=",".join(map(str, votes)), **settings)


def test_the_form_holds_every_node_and_escapes_it(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('[[field]]\nname = "A <b>"\n[field.branches]\n"B" = ["C: x", "D"]\n')
    metrics, run = surveyed(tmp_path, action="vote-sheet", taxonomy=str(own))
    page = (run.folder / "votes.html").read_text()
    assert metrics["disciplines"] == 2
    assert page.count('type="checkbox"') == 4 and "A &lt;b&gt; &gt; B &gt; C" in page


def test_a_majority_removes_with_all_below_and_a_tie_keeps(tmp_path):
    bundled = load_taxonomy()
    field, discipline = bundled[0].field, bundled[-1].path
    votes = [vote(tmp_path, "ann", field, discipline), vote(tmp_path, "bo", field), vote(tmp_path, "cy", discipline)]
    metrics, run = tallied(tmp_path, *votes, vote(tmp_path, "di"))
    assert metrics["removed"] == 0, "two of four is a tie"
    metrics, run = tallied(tmp_path, *votes)
    kept = load_taxonomy(str(run.folder / "taxonomy.toml"))
    assert kept == tuple(d for d in bundled if d.field != field and d.path != discipline)
    assert metrics["removed"] == len(bundled) - len(kept) and metrics["against"][field] == 2
    assert "removed by vote" in surveying.describe(metrics)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is no vote"),
        ('{"annotator": "x"}', "is no vote"),
        ('{"annotator": "x", "remove": ["Nowhere"]}', "Nowhere"),
    ],
)
def test_votes_that_cannot_be_counted(tmp_path, text, said):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        tallied(tmp_path, path)


def test_other_wrong_votes(tmp_path):
    with pytest.raises(UserError, match="no votes"):
        surveyed(tmp_path, action="tally")
    with pytest.raises(UserError, match="second vote"):
        first = vote(tmp_path, "ann")
        (tmp_path / "again.json").write_text(first.read_text())
        tallied(tmp_path, first, tmp_path / "again.json")
    everything = [discipline.field for discipline in load_taxonomy()]
    with pytest.raises(UserError, match="remove everything"):
        tallied(tmp_path, vote(tmp_path, "ann", *everything))


def test_lines_of_several_replies_are_united():
    texts = ["1. Science > Physics > Optics\n- science > physics > optics\nHere you are:", "Crafts > Wood > Joinery\n> > x"]
    proposal = united(texts)
    assert [d.path for d in proposal.disciplines] == ["Science > Physics > Optics", "Crafts > Wood > Joinery"]
    assert proposal.unread_lines == 2


def test_a_model_builds_a_taxonomy_that_generate_can_use(tmp_path, monkeypatch):
    def answer(request):
        if "library" in request.messages[0].text:
            raise ProviderError("server", "down")
        return "Science > Physics > Optics\nCrafts > Wood > Joinery"

    monkeypatch.setattr(surveying, "open_teacher", lambda name, concurrency: Scripted(name, answer))
    metrics, _run = surveyed(tmp_path, action="build", teacher="anybody", queries=2)
    assert metrics["disciplines"] == 2 and metrics["branches"] == 2
    assert [d.name for d in load_taxonomy(metrics["file"])] == ["Optics", "Joinery"]
    monkeypatch.setattr(surveying, "open_teacher", lambda name, concurrency: Scripted(name, lambda _: "I would rather not"))
    with pytest.raises(UserError, match="no discipline"):
        surveyed(tmp_path, action="build", teacher="anybody")

    def down(request):
        raise ProviderError("server", "down")

    monkeypatch.setattr(surveying, "open_teacher", lambda name, concurrency: Scripted(name, down))
    with pytest.raises(ApparatusError, match="no request"):
        surveyed(tmp_path, action="build", teacher="anybody")


SETTINGS = {"disciplines": ("Algebra",), "subjects": 2, "queries": 2, "questions": 3, "turns": 2}


def generated(tmp_path, monkeypatch, **settings):
    teacher = scripted_teacher()
    monkeypatch.setattr(generating, "open_teacher", lambda name, concurrency=1: teacher)
    config = parse(GenerateConfig, {"teacher": "openai:somebody", **SETTINGS, **settings})
    run = runs.start(tmp_path, "glan-generate", config)
    return generate(config, run), run.folder


def provider(batch, results, fail=lambda number: False):
    """A provider that works through a batch file."""
    lines = []
    for number, line in enumerate(batch.read_text().splitlines()):
        row = json.loads(line)
        assert row["method"] == "POST" and row["body"]["model"] == "somebody"
        roles = {"user": user, "assistant": assistant}
        messages = tuple(roles[message["role"]](message["content"]) for message in row["body"]["messages"])
        reply = scripted_reply(ChatRequest(messages, seed=row["body"]["seed"]))
        body = {"choices": [{"message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}]}
        answer = {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}, "error": None}
        if fail(number):
            answer |= {"response": {"status_code": 500, "body": {}}}
        lines.append(json.dumps(answer))
    results.write_text("\n".join(reversed(lines)) + "\n")


def test_batches_give_what_asking_gives(tmp_path, monkeypatch):
    whole, folder = generated(tmp_path, monkeypatch)
    ledger, results = tmp_path / "batched.sqlite", []
    for step in range(12):
        batch = tmp_path / f"{step}.jsonl"
        taken = (str(results[-1]),) if results else ()
        metrics, _run = generated(tmp_path, monkeypatch, ledger=str(ledger), batch_in=taken, batch_out=str(batch))
        assert "calls in" in describe(metrics) and build([], metrics).facts == {
            k: str(v) for k, v in metrics["kinds"].items()
        }
        if not metrics["batch"]:
            break
        results.append(tmp_path / f"{step}-results.jsonl")
        provider(batch, results[-1], fail=lambda number, step=step: step == 1 and number == 0)
    assert "complete" in describe(metrics)
    again, batched = generated(tmp_path, monkeypatch, ledger=str(ledger))
    assert again["asked"] == 0 and again["calls"] == whole["calls"]
    assert (batched / "pairs.jsonl").read_bytes() == (folder / "pairs.jsonl").read_bytes()


def test_files_that_are_no_results(tmp_path, monkeypatch):
    path = tmp_path / "odd.jsonl"
    for text in ('{"custom_id": "what:1"}', "[]", '{"id": 1}'):
        path.write_text(text + "\n")
        with pytest.raises(UserError, match="line 1"):
            generated(tmp_path, monkeypatch, batch_in=(str(path),))
