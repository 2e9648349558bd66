"""The run verb: a seeing model scores 100 %, a blind one exactly 25; killed runs repeat no call; what is refused."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from seeing import SCENES, answer, blind, right_place, seeing
from tenfold.core.errors import ApparatusError, ConfigError, UserError
from tenfold.llm.chat import ChatReply, ChatRequest, Image, ProviderError
from tenfold.llm.endpoint import Endpoint
from tenfold.llm.scripted import Scripted
from tenfold.llm.stub_server import StubServer
from tenfold.nn import vision
from tenfold.store import runs
from tenfold.systems.deepeval import opening, page, reporting, running
from tenfold.systems.deepeval.running import VERBS_RUN, RunConfig, run
from tiny_llava import build

Models = Callable[..., dict[str, Scripted]]


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    """Makes scripted models the ones that names stand for."""

    def offer(*offered: Scripted) -> dict[str, Scripted]:
        by_name = {model.name: model for model in offered}
        monkeypatch.setattr(opening, "open_model", lambda name, dtype="auto": by_name[name])
        monkeypatch.setattr(opening, "takes_images", lambda name: by_name[name].takes_images)
        monkeypatch.setattr(running, "load", lambda name, **of: SCENES)
        return by_name

    return offer


def config(**changes) -> RunConfig:
    return RunConfig(
        **{"models": "seer", "data": "scenes", "method": "letter", "arms": "image,none", "tasks": "meaning"} | changes
    )


def accuracy(metrics, arm: str, task: str = "meaning", model: str = "seer") -> float:
    return metrics["accuracy"][f"{model}/{task}/{arm}"]


@pytest.mark.parametrize("method", ["letter", "generate"])
def test_a_seeing_model_scores_all_and_a_blind_one_exactly_a_quarter(models, tmp_path, method):
    models(seeing(), blind())
    metrics = run(
        config(models="seer,blind", arms="image,none,wrong-image,blank", method=method), runs.start(tmp_path, "r", config())
    )
    assert accuracy(metrics, "image") == 1.0
    assert all(accuracy(metrics, arm) == 0.25 for arm in ("none", "blank"))
    assert accuracy(metrics, "wrong-image") <= 0.25
    assert all(accuracy(metrics, arm, model="blind") == 0.25 for arm in ("image", "none", "wrong-image", "blank"))
    vision = next(gain for gain in metrics["gains"] if (gain["model"], gain["gain"]) == ("seer", "vision"))
    assert (vision["difference"], vision["difference_ci"]) == (0.75, [0.75, 0.75])
    assert metrics["blind_readings_checked"] == 2 * 3 * 16


@pytest.mark.parametrize(("circular", "of_blind"), [("mean", 0.25), ("strict", 0.0), ("vote", 0.0)])
def test_rotations(models, tmp_path, circular, of_blind):
    """The blind model takes a fixed place, so its picks differ between rotations: no option is ever picked in all."""
    models(seeing(), Scripted("blind", lambda request: answer(request, 1), takes_images=True))
    metrics = run(config(models="seer,blind", circular=circular, prompts="1"), runs.start(tmp_path, "r", config()))
    assert accuracy(metrics, "image") == 1.0
    assert accuracy(metrics, "image", model="blind") == of_blind
    assert accuracy(metrics, "none", model="blind") == of_blind
    plain = run(config(models="seer,blind", prompts="1"), runs.start(tmp_path, "plain", config()))
    assert metrics["cost"]["seer"]["calls"] <= 4.1 * plain["cost"]["seer"]["calls"]


def test_identical_prompts_are_asked_once(models, tmp_path):
    model = models(seeing())["seer"]
    run(config(arms="none"), runs.start(tmp_path, "r", config()))
    assert len(model.requests) == 3 * 16 == len({request.digest for request in model.requests})


def test_a_killed_run_repeats_no_finished_call_and_ends_the_same(models, tmp_path):
    settings = config(tasks="title,meaning", prompts="1")
    whole = run(settings, runs.start(tmp_path, "whole", settings))
    cut = runs.start(tmp_path, "cut", settings)
    first = models(Scripted("seer", _killed_after(30), takes_images=True))["seer"]
    with pytest.raises(KeyboardInterrupt):
        run(settings, cut)
    done = {request.digest for request in first.requests[:30]}
    with (cut.folder / "results.jsonl").open("a") as file:
        file.write('{"key": "call/seer/torn')
    second = models(seeing())["seer"]
    resumed = runs.resume(tmp_path, "cut", settings)
    assert run(settings, resumed) == whole
    assert not done & {request.digest for request in second.requests}
    assert json.dumps(page.build(list(resumed.rows.values()), whole).facts)
    again = models(seeing())["seer"]
    size = (cut.folder / "results.jsonl").stat().st_size
    assert run(settings, runs.resume(tmp_path, "cut", settings)) == whole
    assert not again.requests
    assert (cut.folder / "results.jsonl").stat().st_size == size


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from seeing import SCENES, answer, right_place
from tenfold.llm.scripted import Scripted
from tenfold.store import runs
from tenfold.systems.deepeval import opening, running
calls = open({calls!r}, "a")
def script(request):
    calls.write(request.digest + chr(10))
    calls.flush()
    return answer(request, right_place(request) or 0)
opening.open_model = lambda name, dtype="auto": Scripted(name, script, takes_images=True, latency_s=0.02)
opening.takes_images = lambda name: True
running.load = lambda name, **of: SCENES
config = running.RunConfig(**{settings!r})
running.run(config, runs.start(Path({root!r}), "killed", config))
"""


def test_kill_minus_nine_loses_no_finished_call(models, tmp_path):
    chosen = {
        "models": ["seer"],
        "data": "scenes",
        "method": "letter",
        "arms": ["image"],
        "tasks": ["meaning"],
        "prompts": "1",
    }
    calls = tmp_path / "calls"
    calls.touch()
    tests = str(Path(__file__).parents[2])
    code = KILLED.format(tests=tests, calls=str(calls), settings=chosen, root=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(calls.read_text().splitlines()) < 12 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    settings = RunConfig(**chosen)
    resumed = runs.resume(tmp_path, "killed", settings)
    finished = {row["digest"] for row in resumed.rows.values() if row.get("kind") == "call"}
    assert 10 <= len(finished) < 64
    model = models(seeing())["seer"]
    metrics = run(settings, resumed)
    asked = [request.digest for request in model.requests]
    assert not finished & set(asked)
    assert len(asked) == 64 - len(finished)
    assert metrics == run(settings, runs.start(tmp_path, "whole", settings))


def _open_endpoint(monkeypatch: pytest.MonkeyPatch, server: StubServer) -> None:
    endpoint = Endpoint("stub", base_url=server.base_url, api_key="k")
    monkeypatch.setattr(opening, "open_model", lambda name, dtype="auto": endpoint)
    monkeypatch.setattr(opening, "takes_images", lambda name: True)


def test_an_endpoint_sees_the_pictures_bytes_and_ranks_letters(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "load", lambda name, **of: SCENES)
    settings = config(models="openai:stub", limit_blocks=1, prompts="1", arms="image,blank")
    with StubServer(answer="A", logprobs={"A": -0.1, "B": -3.0, "C": -4.0, "D": -5.0}) as server:
        _open_endpoint(monkeypatch, server)
        metrics = run(settings, runs.start(tmp_path, "r", settings))
    assert metrics["accuracy"] == {"openai:stub/meaning/image": 0.25, "openai:stub/meaning/blank": 0.25}
    sent = {asked.images[0] for asked in server.requests}
    wanted = [SCENES.picture(item.image_id) for item in SCENES.of("meaning")[:4]]
    assert {picture.data for picture in wanted if picture} <= sent
    assert len(server.requests) == 4 + 1


def test_an_endpoint_that_lists_too_few_letters_is_unscored(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "load", lambda name, **of: SCENES)
    settings = config(models="openai:stub", limit_blocks=1, prompts="1", arms="image")
    with StubServer(answer="A", logprobs={"A": -0.1, "B": -3.0}) as server:
        _open_endpoint(monkeypatch, server)
        metrics = run(settings, runs.start(tmp_path, "r", settings))
    assert metrics["results"][0]["states"] == {"letter_unranked": 4}
    assert metrics["results"][0]["unscored"] == 4
    assert "unscored" in page.build([], metrics).verdict or "nothing to say" in page.build([], metrics).verdict


def test_one_changed_byte_asks_again_about_that_picture_only(models, tmp_path, monkeypatch):
    settings = config(arms="image", prompts="1")
    run(settings, runs.start(tmp_path, "r", settings))
    changed = SCENES.of("meaning")[5].image_id

    def picture(image_id: str) -> Image | None:
        found = SCENES.picture(image_id)
        return Image(found.data + b"0") if found and image_id == changed else found

    model = models(seeing())["seer"]
    monkeypatch.setattr(running, "load", lambda name, **of: replace(SCENES, picture=picture))
    run(settings, runs.resume(tmp_path, "r", settings))
    assert len(model.requests) == 1


def test_a_tiny_random_model_that_sees_runs_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "load", lambda name, **of: SCENES)
    monkeypatch.setattr(opening, "takes_images", vision.takes_images)
    monkeypatch.setattr(opening, "open_model", vision.open_model)
    folder = str(build(tmp_path / "llava"))
    metrics = run(config(models=folder, prompts="1", limit_blocks=8), runs.start(tmp_path, "r", config()))
    image, none = metrics["results"]
    assert image["accuracy_ci"][0] <= 0.25 <= image["accuracy_ci"][1]
    assert none["accuracy"] == 0.25
    assert metrics["cost"][folder]["calls"] == 8 * 5


@pytest.fixture(autouse=True)
def _seer(models) -> None:
    models(seeing())


def _killed_after(calls: int) -> Callable[[ChatRequest], ChatReply]:
    made = []

    def script(request: ChatRequest) -> ChatReply:
        made.append(request)
        if len(made) > calls:
            raise KeyboardInterrupt
        return answer(request, right_place(request) or 0)

    return script


def test_failed_calls_are_unscored_and_asked_again_on_resume(models, tmp_path):
    settings = config(arms="image", prompts="1")
    lost = SCENES.of("meaning")[0]
    picture = SCENES.picture(lost.image_id)

    def flaky(request: ChatRequest) -> ChatReply:
        if picture and request.images[0].sha256 == picture.sha256:
            raise ProviderError("server", "down")
        return answer(request, right_place(request) or 0)

    models(Scripted("seer", flaky, takes_images=True))
    metrics = run(settings, runs.start(tmp_path, "r", settings))
    result = metrics["results"][0]
    assert (result["n"], result["unscored"], result["accuracy"], result["states"]["apparatus"]) == (63, 1, 1.0, 1)
    model = models(seeing())["seer"]
    metrics = run(settings, runs.resume(tmp_path, "r", settings))
    assert (metrics["results"][0]["n"], len(model.requests)) == (64, 1)


def test_an_endpoint_that_is_down_gives_no_result(models, tmp_path):
    def down(request: ChatRequest) -> ChatReply:
        raise ProviderError("connection", "refused")

    models(Scripted("seer", down, takes_images=True))
    with pytest.raises(ApparatusError, match="no call to 'seer' succeeded"):
        run(config(), runs.start(tmp_path, "r", config()))


def test_own_descriptions_are_made_once_from_the_picture_alone(models, tmp_path):
    def script(request: ChatRequest) -> ChatReply:
        text = request.messages[-1].text
        if "Describe this cartoon" in text:
            assert all(option not in text for item in SCENES.items for option in item.options)
            return ChatReply(f"It shows {request.images[0].sha256}.")
        return answer(request, right_place(request) or 0)

    model = models(Scripted("seer", script, takes_images=True))["seer"]
    metrics = run(
        config(arms="image,own,oracle,text-own", tasks="title,meaning", prompts="1"), runs.start(tmp_path, "r", config())
    )
    asked = [request for request in model.requests if "Describe this cartoon" in request.messages[-1].text]
    assert len(asked) == 64
    own = [request for request in model.requests if "It shows" in request.messages[-1].text]
    assert len(own) == 4 * 64
    assert accuracy(metrics, "own") == 1.0
    assert {gain["gain"] for gain in metrics["gains"]} == {"oracle description", "own description"}


def test_a_text_model_is_refused_pictures_with_the_arms_that_it_can_take(models, tmp_path):
    models(Scripted("seer", ["A"]))
    with pytest.raises(UserError, match="choose a text arm") as caught:
        run(config(), runs.start(tmp_path, "r", config()))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": "titel"}, "give one of description, title, meaning"),
        ({"prompts": "4"}, "some of 1, 2, 3"),
        ({"method": "text"}, "shows a picture"),
        ({"method": "text", "arms": "none", "models": "openai:x"}, "needs a local model"),
        ({"arms": ""}, "nothing to run"),
        ({"arms": "oracle", "tasks": "description"}, "the answer of the description task"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(tmp_path, changes, message):
    settings = config(**changes)
    with pytest.raises(ConfigError, match=message):
        run(settings, runs.start(tmp_path, "r", settings))


def test_a_leak_in_a_blind_arm_is_an_apparatus_error(models, tmp_path, monkeypatch):
    """A model whose answer changes from call to call would be told apart, if equal questions were asked twice."""
    from tenfold.systems.deepeval import arms

    original = arms.question
    monkeypatch.setattr("tenfold.systems.deepeval.asking.question", lambda item, *rest: original(item, *rest) + item.id)
    models(blind("seer"))
    with pytest.raises(ApparatusError, match="other than 25 %"):
        run(config(), runs.start(tmp_path, "r", config()))


def test_report_compares_models_of_several_runs(models, tmp_path):
    models(seeing(), blind())
    folders = []
    for name in ("seer", "blind"):
        settings = config(models=name)
        done = runs.start(tmp_path, "deepeval-run", settings)
        done.finish(run(settings, done))
        folders.append(done.folder)
    settings = reporting.ReportConfig(runs=tuple(map(str, folders)))
    metrics = reporting.report(settings, runs.start(tmp_path, "deepeval-report", settings))
    pair = next(pair for pair in metrics["models_compared"] if pair["arm"] == "image")
    assert (pair["models"], pair["difference"]) == (["seer", "blind"], 0.75)
    assert pair["p_holm"] < 0.01
    assert "seer less blind" in reporting.summary(metrics)
    assert page.build_comparison([], metrics).exhibits
    twice = reporting.ReportConfig(runs=(str(folders[0]), folders[1].name))
    assert reporting.report(twice, runs.start(tmp_path, "deepeval-report", twice))["models_compared"]


def test_report_needs_runs_with_answers(tmp_path):
    empty = runs.start(tmp_path, "other", config())
    settings = reporting.ReportConfig(runs=(str(empty.folder),))
    with pytest.raises(UserError, match="holds no answers"):
        reporting.report(settings, runs.start(tmp_path, "deepeval-report", settings))


def test_verbs_are_complete(models, tmp_path):
    models(seeing())
    verb = VERBS_RUN["run"]
    metrics = verb.run(config(arms="image,none"), runs.start(tmp_path, "r", config()))
    text = verb.summary(metrics)
    assert "seer meaning image" in text and "100.0 %" in text
    assert Path(tmp_path).exists()
