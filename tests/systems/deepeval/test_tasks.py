"""The Inspect task: a seeing model scores 1, a blind one a quarter; logs are scored again without asking."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.scorer import SampleScore

from seeing import SCENES, answer, right_place, seeing
from tenfold.core.errors import ApparatusError, ConfigError
from tenfold.evals.inspect.backends import offer
from tenfold.evals.inspect.logs import read_log
from tenfold.evals.inspect.running import run_tasks
from tenfold.llm.chat import ChatReply
from tenfold.llm.scripted import Scripted
from tenfold.systems.deepeval import tasks

pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _scenes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tasks, "load", lambda name, **of: SCENES)
    yield
    gc.collect()  # Inspect's streams, while its warnings are ignored


def evaluate(model: Scripted, folder: Path, **settings) -> Path:
    task = tasks.deepeval(**{"data": "scenes", "prompts": 1, "limit_blocks": 2} | settings)
    return run_tasks([task], offer(model), folder / "logs", cache=folder / "cache")[0]


def results(log: Path) -> dict[str, float]:
    scores = read_eval_log(str(log), header_only=True).results
    assert scores
    return {name: metric.value for name, metric in scores.scores[0].metrics.items()}


def test_a_seeing_model_is_right_throughout(tmp_path):
    found = results(evaluate(seeing(), tmp_path))
    assert (found["accuracy"], found["block_accuracy"], found["format_failures"]) == (1.0, 1.0, 0.0)


def test_without_picture_exactly_a_quarter_and_each_prompt_asked_once(tmp_path):
    model = seeing()
    found = results(evaluate(model, tmp_path, arm="none", prompts="all"))
    assert (found["accuracy"], found["blind_check"]) == (0.25, 2 * 3)
    assert len(model.requests) == 2 * 3


def test_a_sample_holds_what_a_later_reading_needs(tmp_path):
    record = next(read_log(evaluate(seeing(), tmp_path)))
    assert {"options", "gold", "block", "facets", "item_sha256", "image_sha256"} <= set(record.metadata)
    assert record.target in "ABCD"


def test_a_log_is_scored_again_by_another_parser_without_asking(tmp_path):
    from inspect_ai import score

    model = Scripted("writer", lambda request: "A cartoon about time. The answer is (C).", takes_images=True)
    log = evaluate(model, tmp_path, method="generate", limit_blocks=1)
    asked = len(model.requests)
    assert {record.scores["deepeval_choice"].answer for record in read_log(log)} == {"C"}
    again = score(read_eval_log(str(log)), tasks.deepeval_choice(parser="official"), action="overwrite", display="none")
    assert {sample.scores["deepeval_choice"].answer for sample in again.samples or [] if sample.scores} == {"A"}
    assert len(model.requests) == asked


def test_an_unranked_letter_stays_unscored(tmp_path):
    def script(request):
        place = right_place(request)
        lost = place == 3
        return (
            ChatReply("", candidate_logprobs=(None,) * 4, candidate_tokens=(1,) * 4) if lost else answer(request, place or 0)
        )

    log = evaluate(Scripted("partly", script, takes_images=True), tmp_path, limit_blocks=1)
    marks = [record.scores["deepeval_choice"] for record in read_log(log)]
    assert [mark.value for mark in marks].count(None) == 1
    assert results(log)["accuracy"] == 1.0


def test_own_descriptions_are_asked_for_first(tmp_path):
    def script(request):
        if "Describe this cartoon" in request.messages[-1].text:
            return ChatReply("A figure.")
        return answer(request, right_place(request) or 0)

    model = Scripted("describer", script, takes_images=True)
    assert results(evaluate(model, tmp_path, arm="own", limit_blocks=1))["accuracy"] == 1.0
    assert sum("Description of the cartoon: A figure." in request.messages[-1].text for request in model.requests) == 4


def test_bare_texts_are_ranked(tmp_path):
    def script(request):
        assert request.answer_prefix.endswith("Title of the cartoon:")
        return answer(request, 1)

    found = results(
        evaluate(
            Scripted("ranker", script),
            tmp_path,
            task="title",
            arm="text-oracle",
            method="text",
            scoring="sum",
            limit_blocks=1,
        )
    )
    assert found["accuracy"] == 0.25


def test_a_text_model_under_a_picture_arm_names_the_text_arms(tmp_path):
    with pytest.raises(ApparatusError, match="choose a text arm"):
        evaluate(Scripted("reader", lambda request: "A"), tmp_path, limit_blocks=1)


def test_settings_are_checked_before_anything_runs():
    with pytest.raises(ConfigError, match="give one of"):
        tasks.deepeval(task="titel")
    with pytest.raises(ConfigError, match="shows a picture"):
        tasks.deepeval(method="text")


def test_a_block_told_apart_without_pictures_stops_the_scoring():
    from inspect_ai.scorer import Score

    def scored(item: int, pick: int) -> SampleScore:
        reading = {"prompt": 1, "state": "ok", "pick": pick, "shown": pick}
        row = {"arm": "none", "circular": "off", "item": str(item), "block": "b", "gold": item, "readings": [reading]}
        return SampleScore(score=Score(value=float(pick == item), metadata=row))

    check = tasks.blind_check()
    assert check([scored(item, 2) for item in range(4)]) == 1
    with pytest.raises(ApparatusError):
        check([scored(item, item) for item in range(4)])
