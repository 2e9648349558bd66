"""The load test against a tiny server: it counts what happens, notices what is wrong, and resumes."""

import asyncio
import contextlib
import json

import httpx
import pytest

from serving_tiny import NAME, running
from tenfold.apps import recipes, wiring
from tenfold.apps.loadtest import loadtest, phases, servers
from tenfold.apps.loadtest.loadtest import LoadConfig
from tenfold.apps.loadtest.servers import OURS, Server
from tenfold.core.config import parse
from tenfold.core.errors import ApparatusError, ConfigError
from tenfold.store import runs

PROMPTS = ["what is the answer?", "the answer is A", "user:"]


@pytest.fixture(scope="module")
def tiny():
    with running(slow=True, max_waiting=64) as server:
        yield Server(OURS, server.url, NAME)


def besiege(server, expected, seconds=2.0):
    return asyncio.run(phases.siege(server, expected, num_clients=12, seconds=seconds, max_tokens=12, seed=1))


def test_a_sound_server_stands_the_siege(tiny):
    expected = asyncio.run(phases.lone_texts(tiny, PROMPTS, 12))
    found = besiege(tiny, expected)
    assert found["read"] > 10 and found["left"] > 0 and found["malformed"] > 0 and found["oversized"] > 0
    assert (found["mixed_up"], found["badly_refused"], found["lost"]) == (0, 0, 0)
    assert 0 < found["first_token_p50_s"] <= found["first_token_p95_s"] <= found["answer_p95_s"]


def test_a_text_that_is_not_the_lone_one_is_counted(tiny):
    found = besiege(tiny, dict.fromkeys(PROMPTS, "another text"))
    assert found["mixed_up"] >= found["read"] > 0


def test_a_server_that_is_gone_loses_what_it_is_asked():
    found = besiege(Server(OURS, "http://127.0.0.1:9", NAME), {"a": "b"}, seconds=1.0)
    assert found["lost"] > 0
    assert found["failures"]["lost: ConnectError"] == found["lost"]


def test_throughput_counts_the_tokens_of_the_text_that_was_read(tiny):
    found = asyncio.run(phases.throughput(tiny, PROMPTS, num_clients=3, seconds=0.5, max_tokens=12, count=len, mark="a"))
    assert found["answers"] > 0
    assert found["tokens_per_second"] == found["tokens"] / found["seconds"]


def test_memory_grows_from_the_second_fifth_to_the_last():
    assert phases.growth([1, 1, 100, 100, 5, 5, 5, 5, 110, 110]) == pytest.approx(0.1)
    assert phases.growth([1, 2]) is None


def test_a_run_resumes_and_has_a_report(tiny, tmp_path, monkeypatch, smollm2_folder):
    started = []

    @contextlib.contextmanager
    def already_running(name, *_):
        started.append(name)
        yield tiny

    monkeypatch.setattr(servers, "running", already_running)
    data = tmp_path / "prompts.jsonl"
    rows = [{"question_id": number, "category": "qa", "turns": [prompt]} for number, prompt in enumerate(PROMPTS)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = {"data": str(data), "peers": ["transformers"], "clients": [1, 2], "seconds": 0.2, "repeats": 1}
    config = parse(LoadConfig, settings | {"siege_seconds": 0.5, "siege_clients": 6})
    run = runs.start(tmp_path, "serve-loadtest", config)
    metrics = run.finish(loadtest.loadtest(config, run))
    assert started == ["tenfold", "transformers", "tenfold"]
    assert set(run.rows) == {"tenfold-1-0", "transformers-1-0", "tenfold-2-0", "transformers-2-0", "siege"}
    assert loadtest.loadtest(config, runs.resume(tmp_path, "serve-loadtest", config)) == metrics
    assert started == ["tenfold", "transformers", "tenfold"]
    verb = wiring.verb("serve.loadtest")
    assert "2 clients against 1" in verb.summary(metrics)
    assert "Streams mixed up" in recipes.write_report(run.folder, None).read_text()


@pytest.fixture
def smollm2_folder(monkeypatch):
    """A model's folder without a model: the tokenizer is the tiny one."""
    from tenfold.nn import models
    from tiny_tokenizer import tiny_tokenizer

    monkeypatch.setattr(models, "resolve", lambda name: name)
    monkeypatch.setattr(models, "load_tokenizer", lambda path: tiny_tokenizer())


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(servers, "command", lambda *_: ["false"])
    with pytest.raises(ApparatusError, match=r"ended with code 1; its output is in .*log"):
        with servers.running(OURS, NAME, "", tmp_path / "log"):
            raise AssertionError("it must not come this far")


def test_unknown_peers_are_refused():
    with pytest.raises(ConfigError, match="did you mean 'transformers'"):
        parse(LoadConfig, {"peers": "transformrs"})


def test_lines_of_a_stream():
    from tenfold.apps.loadtest.clients import _piece

    assert _piece('data: {"choices": [{"delta": {"content": "a"}}]}') == "a"
    assert _piece('data: {"choices": []}') == _piece("data: [DONE]") == _piece("") == ""
    with pytest.raises(httpx.RemoteProtocolError, match="full"):
        _piece('data: {"error": {"message": "full"}}')


def test_no_clients_are_refused():
    with pytest.raises(ConfigError, match=r"clients"):
        parse(LoadConfig, {"clients": [0, 8]})
