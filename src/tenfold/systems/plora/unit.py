"""One unit of a comparison: a method under a seed at a rate, trained and measured in a process of its own.

    python -m tenfold.systems.plora.unit FOLDER        reads FOLDER/unit.json, leaves FOLDER/row.json

A process of its own, so that no method inherits memory, caches or random numbers from the one before. A unit that was
killed goes on from its checkpoint. It ends when the process that started it does.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from shutil import rmtree
from statistics import fmean
from threading import Thread
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from tenfold.core import jsonl
from tenfold.core.config import parse
from tenfold.core.errors import ApparatusError, TenfoldError, UserError
from tenfold.store import atomic
from tenfold.store.environment import ContentionMeter
from tenfold.systems.plora import telemetry
from tenfold.systems.plora.answering import exact_matches
from tenfold.systems.plora.export import live_pieces, total_pieces
from tenfold.systems.plora.material import Material, load_material, num_tokens
from tenfold.systems.plora.methods import device, load_base, load_tokenizer, model_of, training_of, unload_of
from tenfold.systems.plora.pairs import find_pairs, names
from tenfold.systems.plora.profiles import CompareConfig
from tenfold.systems.plora.unload import PeriodicUnload
from tenfold.train.adapters import LoraSettings, parameter_count, target_names
from tenfold.train.finetune import finetune
from tenfold.train.losses import RowLoss, mean_loss, row_losses
from tenfold.train.meters import StepMeter

BASE = "base"
FIXED_HEAP = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
"""Makes glibc give large blocks back at once. By default it keeps them by a rule that follows what was freed so far, and the
peak of one and the same training then differs more than methods do."""


@dataclass(frozen=True)
class Unit:
    """What is trained; `base` is the untrained model, whose rate is 0."""

    method: str
    rate: float = 0.0
    seed: int = 0

    @property
    def key(self) -> str:
        return BASE if self.method == BASE else f"{self.method}-{self.rate:g}-{self.seed}"


def measure(config: CompareConfig, unit: Unit, folder: Path) -> dict[str, Any]:
    """Trains and measures; the row holds the loss of every single measured row, so that rows can be paired later."""
    tokenizer = load_tokenizer(config.model)
    material = load_material(config, tokenizer)
    row: dict[str, Any] = asdict(unit) | {"rows": len(material.train)}
    if unit.method == BASE:
        model: nn.Module = load_base(config.model, config.dtype).to(device())  # pyright: ignore[reportArgumentType]
    else:
        model, learned = trained(config, unit, folder, material, tokenizer)
        row |= learned
    return row | losses_of(model, material) | exact_matches(model, tokenizer, material.questions)


def trained(
    config: CompareConfig, unit: Unit, folder: Path, material: Material, tokenizer: PreTrainedTokenizerBase
) -> tuple[nn.Module, dict[str, Any]]:
    """The model after training, and what the training was and cost."""
    num_rows = len(material.train)
    model = model_of(config, unit.method, unit.seed, num_rows).to(device())
    settings = unload_of(config, unit.method, unit.seed, num_rows)
    meter, contention = StepMeter(folder / "meter.jsonl"), ContentionMeter()
    unload = PeriodicUnload(settings, folder, watch=meter.sample) if settings else None
    callbacks = [meter] if unload is None else [unload, meter]
    training = training_of(config, unit.rate, unit.seed)
    steps = finetune(model, tokenizer, material.train, training, folder, callbacks=callbacks)
    cost, tokens = meter.cost(), num_tokens(material.train) * config.epochs
    stages = jsonl.recover(folder / "stages.jsonl")
    return model, {
        "trainable": parameter_count(model, trainable=True),
        "losses": [step["loss"] for step in steps],
        "unloads": [stage["step"] for stage in stages],
        "unload_seconds": sum(stage["seconds"] for stage in stages),
        "tokens": tokens,
        "tokens_per_second": tokens / cost.seconds,
        "rank": rank_of_update(config, model, unload),
        "contention": contention.read(),
    } | asdict(cost)


def losses_of(model: nn.Module, material: Material) -> dict[str, Any]:
    """Nats and tokens of each probe and dev row, and the mean loss of the fixed text."""
    probe, dev = row_losses(model, material.probe), row_losses(model, material.dev)
    return {"probe": _columns(probe), "dev": _columns(dev), "text_loss": mean_loss(row_losses(model, material.text))}


def rank_of_update(config: CompareConfig, model: nn.Module, unload: PeriodicUnload | None) -> float:
    """Mean over a spread of matrices of the singular values above 1e-3 of the largest."""
    values = _low_rank_updates(model, unload) if isinstance(model, PeftModel) else _full_updates(config, model)
    return fmean(telemetry.numerical_rank(each) for each in values)


def _low_rank_updates(model: nn.Module, unload: PeriodicUnload | None) -> list[Tensor]:
    pairs = telemetry.spread(find_pairs(model))
    live = live_pieces(pairs)
    pieces = total_pieces(unload.ledger, live, names(pairs)) if unload else live
    return [telemetry.singular_values(*piece) for piece in pieces.values()]


def _full_updates(config: CompareConfig, model: nn.Module) -> list[Tensor]:
    """Of the matrices that the other methods adapt."""
    base = load_base(config.model, "fp32")
    chosen = telemetry.spread(target_names(base, parse(LoraSettings, {"targets": config.targets})))
    now, before = dict(model.named_modules()), dict(base.named_modules())
    return [torch.linalg.svdvals(_weight(now[name]) - _weight(before[name])) for name in chosen]


def _weight(module: nn.Module) -> Tensor:
    return module.weight.detach().float().cpu()  # pyright: ignore


def _columns(losses: Sequence[RowLoss]) -> dict[str, list[float]]:
    return {"nats": [loss.total for loss in losses], "tokens": [loss.num_tokens for loss in losses]}


def run_apart(config: CompareConfig, unit: Unit, folder: Path) -> dict[str, Any]:
    """`measure` in a fresh process; a second call after a kill goes on where the first one was.

    Raises:
        UserError, ApparatusError: what the unit said, or that it was killed.
    """
    atomic.write_json(folder / "unit.json", {"config": config.model_dump(mode="json"), "unit": asdict(unit)})
    done, failed = folder / "row.json", folder / "failure.json"
    failed.unlink(missing_ok=True)
    if not done.exists():
        command = [sys.executable, "-m", "tenfold.systems.plora.unit", str(folder)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr, env=os.environ | FIXED_HEAP) as process:
            process.wait()
        _raise_failure(unit, process.returncode, failed)
    rmtree(folder / "checkpoints", ignore_errors=True)
    return json.loads(done.read_text(encoding="utf-8"))


def _raise_failure(unit: Unit, code: int, failed: Path) -> None:
    if code == 0:
        return
    failure: Mapping[str, Any] = json.loads(failed.read_text(encoding="utf-8")) if failed.exists() else {}
    kind = UserError if failure.get("exit_code") == UserError.exit_code else ApparatusError
    reason = failure.get("message") or f"its process ended with {code}; see above, and go on with --resume"
    raise kind(f"{unit.key}: {reason}")


def main(folder: Path) -> int:
    """What the process of a unit does."""
    task = json.loads((folder / "unit.json").read_text(encoding="utf-8"))
    try:
        row = measure(parse(CompareConfig, task["config"]), Unit(**task["unit"]), folder)
    except TenfoldError as error:
        atomic.write_json(folder / "failure.json", {"exit_code": error.exit_code, "message": str(error)})
        return error.exit_code
    atomic.write_json(folder / "row.json", row)
    return 0


def _end_with_parent() -> None:
    """The other end of stdin closes when the parent ends, however it ends."""
    os.read(sys.stdin.fileno(), 1)  # not by way of sys.stdin, whose lock would outlive this thread
    os._exit(1)


if __name__ == "__main__":
    Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(Path(sys.argv[1])))
