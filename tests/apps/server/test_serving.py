"""`tenfold serve` as a process: it says where it is, ends gracefully on a signal, and refuses in one line."""

import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from serving_tiny import tiny_loaded
from tenfold.apps import cli

PROGRAM = "import sys; from tenfold.apps.cli import main; main(sys.argv[1:])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The tiny model as a folder of Transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    loaded = tiny_loaded(batch_size=1)
    config = LlamaConfig(
        vocab_size=len(loaded.tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        eos_token_id=1,
    )
    torch.manual_seed(5)
    LlamaForCausalLM(config).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


def test_a_signal_lets_answers_under_way_finish(folder):
    words = ["serve", "--model", str(folder), "--name", "tiny", "--port", "0", "--rows", "2", "--max-context", "2048"]
    with subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            told = process.stdout.readline()
            url = re.search(r"http://\S+/v1", told)[0]
            assert told.startswith("tiny at ")
            body = {"model": "tiny", "prompt": "the answer", "max_tokens": 600, "temperature": 0, "stream": True}
            with httpx.stream("POST", f"{url}/completions", json=body, timeout=60) as reply:
                lines = reply.iter_lines()
                next(lines)
                process.send_signal(signal.SIGTERM)
                rest = [line for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "PORT"], "cannot listen on 127.0.0.1:"),
        (["--prot", "1"], "--port"),
        (["--rows", "0"], "rows is '0'"),
        (["--api-keys", "nowhere"], "no file 'nowhere'"),
        (["--model", "./nowhere", "--port", "0"], "no model folder './nowhere'"),
        (["--model", "FOLDER", "--port", "0", "--drafter", "ngrm"], "did you mean 'ngram'"),
    ],
)
def test_mistakes_are_one_line_and_code_2(capsys, folder, words, said):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        known = {"PORT": str(taken.getsockname()[1]), "FOLDER": str(folder)}
        code = cli.exit_code(["serve", *(known.get(word, word) for word in words)])
    error = capsys.readouterr().err
    assert code == 2
    assert said in error and error.count("\n") == 1


def test_help_needs_no_model(capsys):
    assert cli.exit_code(["serve", "--help"]) == 0
    assert "--max-waiting" in capsys.readouterr().out
    assert cli.exit_code(["ui", "--help"]) == 0
    assert "--runs" in capsys.readouterr().out


def test_missing_packages_are_told_with_the_command_that_brings_them(capsys, monkeypatch):
    from tenfold.apps import serving_commands

    monkeypatch.setattr(serving_commands, "NEEDED", ("fastapi", "no_such_package"))
    assert cli.exit_code(["ui"]) == 2
    assert "needs no_such_package; install them with: pip install 'tenfold[ui]'" in capsys.readouterr().err
