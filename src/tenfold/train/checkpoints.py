"""What every resumable training run shares: whole checkpoints, the log of steps, the progress bar. Callbacks for Trainer.

Checkpoints lie in one folder, each with a mark that is written last and says that it is whole.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerState
from transformers.utils import logging as transformers_logging

from tenfold.core import jsonl

WHOLE = "whole"
"""A file of this name is written last into a checkpoint."""

KEPT_CHECKPOINTS = 2

RENAMED = "renamed.safetensors"
"""Weights that a checkpoint's own files hold under other names than the model, or not at all."""


def newest_whole(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end, or None; torn ones are removed."""
    found = sorted(checkpoints.glob("checkpoint-*"), key=steps_of)
    for torn in (path for path in found if not (path / WHOLE).exists()):
        shutil.rmtree(torn)
    return next((path for path in reversed(found) if path.exists()), None)


def steps_of(checkpoint: Path | None) -> int:
    """The optimizer steps that a checkpoint has behind it; none has 0."""
    return int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0


def restore(trainer: Trainer, checkpoint: Path) -> None:
    """The model and the callbacks as they were at the end; `train` would do one step more where it ends inside an epoch."""
    trainer.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    trainer._load_from_checkpoint(str(checkpoint))
    load_renamed(cast(nn.Module, trainer.model), checkpoint)
    trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)


class StepLog(TrainerCallback):
    """Keeps one row per optimizer step, in memory and in a JSONL file; steps after the checkpoint are forgotten."""

    def __init__(self, path: Path, num_done: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.steps: list[dict[str, Any]] = jsonl.recover(path)[:num_done]
        path.write_text("".join(json.dumps(step) + "\n" for step in self.steps), encoding="utf-8")

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs and state.is_world_process_zero:
            step = {"step": state.global_step} | {
                key: logs.get(key) for key in ("loss", "learning_rate", "grad_norm", "epoch")
            }
            self.steps.append(step)
            jsonl.append(self.path, step)


class CheckpointMarks(TrainerCallback):
    """Marks each checkpoint as whole once it is written, then removes all but the newest ones.

    Trainer's own limit deletes the old checkpoints before the new one is known to be whole.
    """

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir)
        (folder / f"checkpoint-{state.global_step}" / WHOLE).touch()
        found = sorted(folder.glob("checkpoint-*"), key=steps_of)
        for old in found[:-KEPT_CHECKPOINTS]:
            shutil.rmtree(old)


class RenamedWeights(TrainerCallback):
    """Keeps with each checkpoint what Trainer would lose of it; give it before `CheckpointMarks`.

    Trainer saves by the names of files, one matrix per expert, and loads by the names of the model, one tensor for all
    experts: without a word, fused experts would start anew. Adapters are saved and loaded by the same names.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not isinstance(self.model, PreTrainedModel) or not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        known = {*getattr(self.model, "all_tied_weights_keys", {})}
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "pt") as file:
                known |= set(file.keys())
        lost = {name: each.contiguous() for name, each in self.model.state_dict().items() if name not in known}
        if lost:
            save_file(lost, folder / RENAMED)


def load_renamed(model: nn.Module, checkpoint: Path) -> None:
    """Puts the weights that Trainer would lose where they belong; call it before Trainer resumes."""
    if (checkpoint / RENAMED).is_file():
        model.load_state_dict(load_file(checkpoint / RENAMED), strict=False)


class StepCounter(TrainerCallback):
    """Moves the progress bar."""

    def __init__(self, advance: Any) -> None:
        self.advance = advance

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.advance(state.global_step)


@contextmanager
def quiet_trainer() -> Iterator[None]:
    """Keeps the trainer's own bars and notices off the terminal: progress is ours."""
    import datasets

    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
        datasets.enable_progress_bars()
