"""Whatever comes instead of a good request gets a clear 4xx in OpenAI's form, and the server goes on."""

import socket

import httpx
import openai
import pytest

from serving_tiny import NAME, running
from tenfold.apps.server.gate import read_keys
from tenfold.core.errors import ConfigError, MissingArtifactError

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 400, "JSON"),
        (b"{", 400, "JSON"),
        (b"[]", 400, "dictionary"),
        (b'"text"', 400, "dictionary"),
        (b'{"model": "\xff"}', 400, "no UTF-8: byte 11 is 0xff"),
        ('{"model": "tiny"}'.encode("utf-16"), 400, "no UTF-8"),
        (b"[" * 100_000, 400, ""),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "\\ud800"}]}', 400, "content"),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "seed": ' + b"9" * 5000 + b"}", 400, ""),
        (b'{"model": "tiny", "messages": [{"role": "user", "content": "a"}], "temperature": NaN}', 400, "temperature"),
        (b'{"model": "tiny", "messages": [{"role": "judge", "content": "a"}]}', 400, "role"),
        (b'{"model": "tiny", "messages": "hello"}', 400, "messages"),
        (b" " * (5 * 2**20), 413, "larger than"),
    ],
)
def test_malformed_bodies(server, body, status, said):
    reply = httpx.post(server.url + CHAT, content=body, headers=JSON)
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert said in error["message"] and error["type"] == "invalid_request_error"


def test_other_media_types_addresses_and_methods(server):
    assert httpx.post(server.url + CHAT, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    missing, wrong = httpx.get(server.url + "/v1/nothing"), httpx.get(server.url + CHAT)
    assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


def test_a_body_without_a_length_is_measured_while_it_comes(server):
    reply = httpx.post(server.url + CHAT, content=(b" " * 2**16 for _ in range(100)), headers=JSON)
    assert reply.status_code == 413


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(server):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{{".encode()
        )
    assert httpx.get(server.url + "/health").json()["status"] == "ok"


def test_keys_are_wanted_where_there_are_some():
    with running(keys=["right", "also"]) as guarded:
        assert [model.id for model in guarded.client(api_key="also").models.list()] == [NAME]
        for key in ("wrong", "righ", "rightt"):
            with pytest.raises(openai.AuthenticationError, match="API key"):
                guarded.client(api_key=key).models.list()
        assert httpx.get(guarded.url + "/v1/models").headers["www-authenticate"] == "Bearer"
        assert httpx.get(guarded.url + "/health").status_code == 200


def test_files_of_keys(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\n one \n\ntwo\n")
    assert read_keys(file) == ["one", "two"]
    assert read_keys(None) == []
    file.write_text("# none\n")
    with pytest.raises(ConfigError, match="no API key"):
        read_keys(file)
    with pytest.raises(MissingArtifactError, match="no file"):
        read_keys(tmp_path / "nowhere")


def test_metrics_count_what_happened(server):
    server.client().completions.create(model=NAME, prompt="the answer", max_tokens=8, temperature=0)
    text = httpx.get(server.url + "/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["tenfold_new_tokens_total"]) >= 1
    assert float(values['tenfold_replies_total{route="/v1/completions",status="200"}']) >= 1
    assert float(values["tenfold_first_token_seconds_count"]) >= 1
    assert float(values["tenfold_running"]) == 0
