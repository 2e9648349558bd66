"""The script of docs/scale.md does what the page says, in two processes, on a tiny model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from tiny_chat import tiny_chat_model, tiny_tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch has no gloo")


def launched(folder: Path, script: str, *words: str) -> str:
    """Runs the page's script of that name as its `torchrun` does; what all processes print."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (text,) = [block for block in blocks if block.startswith(f"# {script} ")]
    (folder / script).write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, *words]
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_tune(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path / "base")
    model = tiny_chat_model(tokenizer)
    model.save_pretrained(tmp_path / "base")
    rows = [{"prompt": f"what follows {number} ?", "completion": f"{number + 1} follows"} for number in range(16)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    launched(tmp_path, "tune.py", "base", "rows.jsonl", "out")
    steps = (tmp_path / "out" / "steps.jsonl").read_text().splitlines()
    assert len(steps) == 8, "16 rows, twice, in batches of 2 in each of 2 processes"
    assert len((tmp_path / "out" / "stages.jsonl").read_text().splitlines()) == 3
    adapter = PeftModel.from_pretrained(model, str(tmp_path / "out" / "adapter-0"))
    assert adapter.peft_config["default"].base_model_name_or_path == "base"
