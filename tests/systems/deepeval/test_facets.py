"""Facets: tags from files and from a model, kept apart; agreement; the table of a run's answers."""

import json
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import pytest

from tenfold.core.errors import ApparatusError, ConfigError, UserError
from tenfold.llm.chat import ChatReply, ChatRequest, ProviderError
from tenfold.llm.scripted import Scripted
from tenfold.store import runs
from tenfold.systems.deepeval import facets
from tenfold.systems.deepeval.items import Annotation, write_jsonl
from tenfold.systems.deepeval.tagging import prompt_sha256, request
from tenfold.systems.deepeval.tags import Tag, agreement, present, read_tags

NUM = 24
FACETS = ("funny", "sad")


def annotations(folder: Path) -> str:
    notes = [Annotation(f"p{n}", f"A {'clown' if n % 2 else 'widow'} number {n}.", f"T{n}", f"M{n}") for n in range(NUM)]
    write_jsonl(folder / "notes.jsonl", notes)
    return str(folder / "notes.jsonl")


def judge(request: ChatRequest) -> ChatReply:
    """Sure that clowns are funny; undecided whether anything is sad; the second letter is no."""
    text = request.messages[0].text
    yes = (0.9 if "clown" in text else 0.1) if "funny" in text else 0.5
    return ChatReply("", candidate_logprobs=(log(yes), log(1 - yes)), candidate_tokens=(1, 1))


def tabled(
    folder: Path, answer: Callable[[ChatRequest], ChatReply] = judge, **settings: Any
) -> tuple[dict[str, Any], runs.Run]:
    config = facets.FacetsConfig(data=annotations(folder), facets=FACETS, **settings)
    run = runs.resume_or_start(folder / "runs", "facets", config)
    return facets.facets(config, run, model=Scripted("judge", answer)), run


def test_tags_are_read_from_csv_and_json_lines(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").write_text("image_id,facet,source,confidence\np1, funny, anna, 0.9\np1,sad,,\np2,sad,ben,0.2\n")
    expected = [Tag("p1", "funny", "anna", 0.9), Tag("p1", "sad"), Tag("p2", "sad", "ben", 0.2)]
    assert read_tags(tmp_path / "tags.csv", FACETS) == expected
    (tmp_path / "tags.jsonl").write_text("".join(json.dumps(tag.as_json()) + "\n" for tag in expected))
    assert read_tags(tmp_path / "tags.jsonl", FACETS) == expected
    assert present(expected) == {"p1": {"funny", "sad"}, "p2": frozenset()}


@pytest.mark.parametrize(
    ("line", "reason"),
    [("p1,blue,,", "line 3: facet 'blue' is unknown"), ("p1,sad,,2", "confidence is '2'"), (",sad,,", "image_id is ''")],
)
def test_a_bad_tag_is_named_with_its_line(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "tags.csv").write_text(f"image_id,facet,source,confidence\np0,sad,,\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read_tags(tmp_path / "tags.csv", FACETS)
    assert reason in str(caught.value)


def test_a_model_judges_every_facet_and_signs_its_tags(tmp_path: Path) -> None:
    metrics, run = tabled(tmp_path, model="judge")
    assert metrics["counts"] == {"model": {"funny": NUM // 2, "sad": NUM, "pictures": NUM}}
    assert len(run.rows) == 2 * NUM and metrics["prompt_sha256"] == prompt_sha256()
    row = run.rows["p1/funny"]
    assert row["confidence"] == pytest.approx(0.9) and row["model"] == "judge" and row["source"].startswith("model:judge#")
    text = request(Annotation("p", "{} braces {}", "t", "m"), "funny").messages[0].text
    assert "{} braces {}" in text and "Is the cartoon funny?" in text


def test_failed_judgements_are_left_out_and_asked_again(tmp_path: Path) -> None:
    def sometimes(request: ChatRequest) -> ChatReply:
        if "number 3." in request.messages[0].text:
            raise ProviderError("timeout", "slow")
        return judge(request)

    metrics, run = tabled(tmp_path, sometimes, model="judge")
    assert metrics["counts"]["model"]["pictures"] == NUM - 1 and "timeout: slow" in (run.folder / "log.txt").read_text()
    again, _ = tabled(tmp_path, judge, model="judge")
    assert again["counts"]["model"]["pictures"] == NUM

    def never(request: ChatRequest) -> ChatReply:
        return ChatReply("", candidate_logprobs=(None, -1.0))

    with pytest.raises(ApparatusError, match="not ranked"):
        tabled(tmp_path, never, model="judge", limit=2)


def test_kappa_is_given_where_both_sources_tagged() -> None:
    users = [Tag(f"p{n}", facet) for n in range(8) for facet in FACETS if facet == "sad" or n < 4]
    same = agreement(users, users, FACETS)
    assert same["funny"] == {"n": 8, "kappa": pytest.approx(1.0)}
    assert agreement(users, [Tag("other", "sad")], FACETS) == {}


def test_a_runs_answers_are_broken_down_with_no_number_below_twenty(tmp_path: Path) -> None:
    (tmp_path / "tags.jsonl").write_text(
        "".join(json.dumps(Tag(f"p{n}", "funny" if n < 21 else "sad").as_json()) + "\n" for n in range(NUM))
    )
    answers = runs.start(tmp_path / "runs", "run", facets.FacetsConfig())
    for n in range(NUM):
        reading = {"prompt": 1, "state": "ok", "pick": 0 if n % 3 else 1, "shown": 0, "rule": "letter"}
        row = {"kind": "answer", "model": "m", "task": "title", "arm": "image", "item": f"title-p{n}", "image_id": f"p{n}"}
        answers.add(f"answer/{n}", {**row, "block": f"b{n // 4}", "gold": 0, "facets": [], "readings": [reading]})
    metrics, _ = tabled(tmp_path, tags=str(tmp_path / "tags.jsonl"), answers=str(answers.folder))
    (table,) = metrics["tables"]["user"]
    funny, sad = table["facets"]
    assert funny["n"] == 21 and funny["accuracy"] == pytest.approx(14 / 21)
    assert sad == {"facet": "sad", "n": 3}
    assert "too few for a number" in facets.summary(metrics)


def test_nothing_to_do_and_unknown_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --tags FILE, --model NAME"):
        tabled(tmp_path)
    (tmp_path / "tags.jsonl").write_text(json.dumps(Tag("nobody", "sad").as_json()))
    with pytest.raises(ConfigError, match="'nobody'"):
        tabled(tmp_path, tags=str(tmp_path / "tags.jsonl"))
