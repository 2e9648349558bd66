"""Fine-tuning learns, stops and goes on to the same bits; torn checkpoints are never used."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from tenfold.train.adapters import LoraSettings, add_lora
from tenfold.train.checkpoints import newest_whole
from tenfold.train.encoding import encode_all
from tenfold.train.finetune import FinetuneConfig, finetune, num_steps
from tenfold.train.losses import mean_loss, row_losses
from tenfold.train.rows import Row, ask
from tiny_chat import tiny_chat_model, tiny_tokenizer

CONFIG = FinetuneConfig(max_steps=12, batch_size=2, learning_rate=1e-2, save_every=5, schedule="cosine", warmup_steps=2)


def a_task():
    tokenizer = tiny_tokenizer()
    rows = [Row(str(n), ask(f"what follows {n} ?"), f"{n + 1} follows") for n in range(8)]
    model = add_lora(tiny_chat_model(tokenizer), LoraSettings(rank=4, dropout=0.1), seed=0)
    return model, tokenizer, encode_all(rows, tokenizer, 64)


def test_training_lowers_the_loss(tmp_path):
    model, tokenizer, rows = a_task()
    before = mean_loss(row_losses(model, rows))
    steps = finetune(model, tokenizer, rows, CONFIG, tmp_path)
    assert [step["step"] for step in steps] == list(range(1, 13))
    assert mean_loss(row_losses(model, rows)) < before - 0.1


def test_resumed_losses_are_the_same_bits(tmp_path):
    model, tokenizer, rows = a_task()
    whole = finetune(model, tokenizer, rows, CONFIG, tmp_path / "whole")
    weights = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "checkpoint-12")  # as if killed after step 10 was saved
    fresh, tokenizer, rows = a_task()
    resumed = finetune(fresh, tokenizer, rows, CONFIG, tmp_path / "cut")
    assert [step["loss"] for step in resumed] == [step["loss"] for step in whole]
    assert all(torch.equal(p, weights[name]) for name, p in fresh.named_parameters() if p.requires_grad)


def test_a_finished_run_trains_no_further(tmp_path):
    model, tokenizer, rows = a_task()
    config = CONFIG.model_copy(update={"max_steps": 10})  # 4 steps an epoch, so that it ends inside one
    whole = finetune(model, tokenizer, rows, config, tmp_path)
    fresh, tokenizer, rows = a_task()
    assert finetune(fresh, tokenizer, rows, config, tmp_path) == whole
    for mine, theirs in zip(fresh.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_torn_checkpoint_is_removed(tmp_path):
    for step, marked in ((5, True), (10, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if marked:
            (tmp_path / f"checkpoint-{step}" / "whole").touch()
    assert newest_whole(tmp_path) == tmp_path / "checkpoint-5"
    assert not (tmp_path / "checkpoint-10").exists()
    assert newest_whole(tmp_path / "nothing") is None


def test_killed_run_continues(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, sys.argv[2])
        import os, signal
        from pathlib import Path
        from transformers import TrainerCallback
        from test_finetune import CONFIG, a_task
        from tenfold.train.finetune import finetune

        class Kill(TrainerCallback):
            def on_step_end(self, args, state, control, **_):
                if state.global_step == 8:
                    os.kill(os.getpid(), signal.SIGKILL)

        model, tokenizer, rows = a_task()
        finetune(model, tokenizer, rows, CONFIG, Path(sys.argv[1]), callbacks=[Kill()])
        """
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", script, str(tmp_path / "killed"), Path(__file__).parent], env=environment)
    assert child.returncode == -signal.SIGKILL
    model, tokenizer, rows = a_task()
    resumed = finetune(model, tokenizer, rows, CONFIG, tmp_path / "killed")
    other, tokenizer, rows = a_task()
    whole = finetune(other, tokenizer, rows, CONFIG, tmp_path / "whole")
    assert [step["loss"] for step in resumed] == [step["loss"] for step in whole]
    lines = (tmp_path / "killed" / "steps.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 13))


@pytest.mark.parametrize(
    ("rows", "epochs", "batch", "accumulate", "steps"), [(10, 1, 4, 1, 3), (10, 2, 4, 2, 4), (3, 0.5, 8, 1, 1)]
)
def test_number_of_steps(rows, epochs, batch, accumulate, steps):
    assert num_steps(rows, FinetuneConfig(epochs=epochs, batch_size=batch, accumulate=accumulate)) == steps
