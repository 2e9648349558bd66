"""The verb `generate` on a tiny model: streaming, checking, and the prompts it takes."""

import io
import json

import pytest

from tenfold.apps import cli
from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.store import runs
from tenfold.systems.specdec.generate_verb import GenerateConfig, generate


def settings(tiny_folder, **changes):
    return parse(GenerateConfig, {"model": str(tiny_folder), "prompt": "ab ab ab", "max_new_tokens": 16} | changes)


def test_the_stream_is_the_text_and_plain_decoding_agrees(tiny_folder, tmp_path):
    config = settings(tiny_folder, check="plain")
    run = runs.start(tmp_path, "specdec-generate", config)
    run.live = io.StringIO()
    metrics = generate(config, run)
    assert run.live.getvalue() == metrics["text"] + "\n"
    assert metrics["identical"] is True
    assert metrics["new_tokens"] == 16


def test_memory_is_accounted_for(tiny_folder, tmp_path):
    config = settings(tiny_folder)
    memory = generate(config, runs.start(tmp_path, "specdec-generate", config))["memory_mib"]
    assert memory["peak"] >= memory["program"] > 10
    assert memory["weights"] > 0
    assert memory["cache"] > 0
    assert memory["beyond"] == pytest.approx(
        memory["peak"] - memory["program"] - memory["weights"] - memory["cache"], abs=0.3
    )


def test_json_is_the_only_output(tiny_folder, tmp_path, capsys):
    words = ["--model", str(tiny_folder), "--prompt", "hello", "--max-new-tokens", "5", "--json", "--runs", str(tmp_path)]
    assert cli.exit_code(["specdec", "generate", *words]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["new_tokens"] == 5
    assert out.count("\n") == 1


def test_prompts_come_from_text_file_or_standard_input(tiny_folder, tmp_path, monkeypatch):
    path = tmp_path / "prompt.txt"
    path.write_text("from a file")
    monkeypatch.setattr("sys.stdin", io.StringIO("from standard input"))
    for changes, expected in (
        ({"prompt": None, "prompt_file": str(path)}, "from a file"),
        ({"prompt": "-"}, "from standard input"),
    ):
        config = settings(tiny_folder, max_new_tokens=1, **changes)
        run = runs.start(tmp_path / "runs", "specdec-generate", config)
        generate(config, run)
        assert run.rows["text"]["prompt"] == expected


def test_nothing_asked_for_gives_nothing(tiny_folder, tmp_path):
    config = settings(tiny_folder, max_new_tokens=0)
    assert generate(config, runs.start(tmp_path, "specdec-generate", config))["new_tokens"] == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "x" * 2000}, "positions"),
        ({"prompt": "", "chat": False}, "no BOS token"),
        ({"prompt": None}, "give either a prompt"),
    ],
)
def test_unusable_prompts_are_the_users_mistake(tiny_folder, tmp_path, changes, said):
    config = settings(tiny_folder, **changes)
    with pytest.raises(UserError, match=said):
        generate(config, runs.start(tmp_path, "specdec-generate", config))
