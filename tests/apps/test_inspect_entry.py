"""`inspect` finds provider and models by the entry point, and nothing loads torch before a model is asked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tenfold.store.artifacts import cache_folder

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate


@task
def capital():
    samples = [Sample(input="The capital of France is", target="Paris")]
    return Task(samples, solver=generate(max_tokens=12), scorer=includes())
"""


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HOME": str(folder),
        "TENFOLD_CACHE": str(cache_folder()),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300)


def test_nothing_loads_torch_before_a_model_is_asked(tmp_path):
    code = (
        "import sys, tenfold.apps.inspect_entry as entry\n"
        "assert 'torch' not in sys.modules\n"
        "assert entry.resolve('openai:any').connections == 10 and entry.resolve('smollm2').connections == 1\n"
        "from inspect_ai.model import get_model\n"
        "model = get_model('tenfold/smollm2')\n"
        "assert 'torch' not in sys.modules, 'a model is opened before it is asked'\n"
        "print(model.api.max_connections(), model)"
    )
    done = run(sys.executable, "-c", code, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "tenfold/smollm2"]


@pytest.mark.model
def test_command_line_of_inspect_runs_the_default_model(tmp_path):
    pytest.importorskip("tenfold.nn.chat")
    inspect = str(Path(sys.executable).with_name("inspect"))
    (tmp_path / "capital.py").write_text(TASK)
    options = ["--model", "tenfold/smollm2", "--display", "plain", "--log-dir", "logs", "--no-log-realtime"]
    done = run(inspect, "eval", "capital.py", *options, folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (log,) = (tmp_path / "logs").glob("*.eval")
    dump = run(inspect, "log", "dump", str(log), folder=tmp_path)
    content = json.loads(dump.stdout)
    assert content["status"] == "success"
    (sample,) = content["samples"]
    assert sample["output"]["metadata"]["fingerprint"]
    assert sample["output"]["usage"]["output_tokens"] <= 12
    assert sample["output"]["completion"]
