"""Running tasks: nothing on stdout, no state outside the given folders, no completed call made twice after a kill."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from inspect_ai.log import EvalError

from evals.inspect.little_task import NUM_SAMPLES, counted, little
from tenfold.core.errors import ApparatusError, MissingArtifactError
from tenfold.evals.inspect.backends import offer
from tenfold.evals.inspect.logs import read_log, why
from tenfold.evals.inspect.running import _quiet, run_tasks

PROGRAM = Path(__file__).with_name("little_task.py")


def start(folder: Path, home: Path, seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "HOME": str(home), "INSPECT_CACHE_DIR": "", "OMP_NUM_THREADS": "1"}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    command = [sys.executable, str(PROGRAM), str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def wait_for_calls(folder: Path, number: int) -> None:
    deadline = time.monotonic() + 300
    while not (folder / "calls").exists() or len((folder / "calls").read_text().splitlines()) < number:
        assert time.monotonic() < deadline, "the program made too few calls within five minutes"
        time.sleep(0.02)


def test_stopped_run_repeats_no_completed_call_and_ends_with_equal_scores(tmp_path):
    """Interrupted from the keyboard, then killed, then run to its end."""
    folder, home = tmp_path / "run", tmp_path / "home"
    home.mkdir()
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run_tasks([little()], offer(counted(folder, 0.0, interrupted_after=5)), folder / "logs", cache=folder / "cache")
    assert len((folder / "calls").read_text().splitlines()) == 5
    program = start(folder, home, 0.1)
    wait_for_calls(folder, 12)
    program.kill()
    program.communicate(timeout=300)
    assert 12 <= len((folder / "calls").read_text().splitlines()) < NUM_SAMPLES
    last = start(folder, home, 0.0)
    stdout, stderr = last.communicate(timeout=300)
    assert last.returncode == 0, stderr
    calls = Counter((folder / "calls").read_text().splitlines())
    assert len(calls) == NUM_SAMPLES
    # one answer may have been complete at the model and not yet kept when the process was killed
    assert sum(count - 1 for count in calls.values()) <= 1
    expected = [[str(number), None if number == 3 else len(answer(number).split())] for number in range(NUM_SAMPLES)]
    assert json.loads(stdout) == expected  # and nothing else is on stdout
    assert "Samples" in stderr
    assert list(home.iterdir()) == []
    assert len(list((folder / "logs").glob("*.eval"))) == 1


def answer(number: int) -> str:
    text = f"question {number}"
    return f"{text} answered " + "word " * (len(text) % 5)


def test_log_as_records(tmp_path):
    model = offer(counted(tmp_path, 0.0))
    (path,) = run_tasks([little(5)], model, tmp_path / "logs", cache=tmp_path / "cache")
    records = list(read_log(path))
    assert [record.id for record in records] == ["0", "1", "2", "3", "4"]
    record = records[2]
    assert record.answer == answer(2)
    assert record.answers == (answer(2),)
    assert record.metadata["block"] == 0
    assert record.reasoning == "hm"
    assert (record.usage.prompt_tokens, record.usage.completion_tokens, record.usage.reasoning_tokens) == (7, 5, 2)
    assert record.stop_reason == "stop"
    assert record.output == {"fingerprint": "scripted:counted"}
    assert record.seconds is not None
    assert record.error is None
    assert record.scores["words"].value == len(answer(2).split())
    left_open = records[3].scores["words"]
    assert (left_open.value, left_open.reason, left_open.metadata["stage"]) == (None, "judge_failed", "model")


def test_failed_call_is_the_apparatus_failure_of_its_sample(tmp_path, monkeypatch):
    model = offer(counted(tmp_path, 0.0))
    tasks = [little(3)]
    tasks[0].dataset[1].input = "refused"
    (path,) = run_tasks(tasks, model, tmp_path / "logs", cache=tmp_path / "cache")
    records = list(read_log(path))
    assert [record.error for record in records] == [None, "rejected: the key is wrong", None]
    assert records[1].scores == {}
    assert records[1].stop_reason == "error"


def test_task_whose_every_sample_fails_is_one_clear_error(tmp_path):
    model = offer(counted(tmp_path, 0.0))
    with pytest.raises(ApparatusError, match=r"every sample of .*little failed, the first with: rejected: the key is wrong"):
        run_tasks([little(2, "refused")], model, tmp_path / "logs", cache=tmp_path / "cache")


def test_quiet_run_leaves_the_process_as_it_was(tmp_path, capsys):
    hook, environment = sys.excepthook, dict(os.environ)
    run_tasks([little(2)], offer(counted(tmp_path, 0.0)), tmp_path / "logs", cache=tmp_path / "cache", limit=1)
    assert capsys.readouterr().out == ""
    assert sys.excepthook is hook
    assert {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"} == {
        name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"
    }


def test_inspects_trace_is_a_plain_file_in_the_log_folder(tmp_path):
    """Inspect deletes that file when it ends: a device, or a file that is not ours, must never stand there."""
    with _quiet(tmp_path, tmp_path / "cache"):
        trace = Path(os.environ["INSPECT_TRACE_FILE"])
        assert trace.parent == tmp_path
        assert not trace.exists() or trace.is_file()


@pytest.mark.parametrize(
    ("traceback", "said"),
    [
        (
            "Traceback:\n  File x\nmodule.Error: count\n  Input is no number\n    see the page\n",
            "count Input is no number see the page",
        ),
        ("ValueError: " + "long " * 200, "long " * 60),
        ("", "short"),
    ],
)
def test_reason_of_a_failure_in_one_line(traceback, said):
    assert why(EvalError(message="short", traceback=traceback, traceback_ansi="")) == said


def test_missing_log(tmp_path):
    with pytest.raises(MissingArtifactError, match=r"no log .*give the path of an \.eval file"):
        list(read_log(tmp_path / "none.eval"))


def test_evals_are_imported_without_inspect_and_torch():
    code = (
        "import sys, tenfold.evals, tenfold.evals.inspect, tenfold.evals.inspect.running, tenfold.evals.inspect.logs\n"
        "import tenfold.evals.inspect.backends, tenfold.evals.judges\n"
        "assert not {'inspect_ai', 'torch', 'sklearn', 'transformers'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
