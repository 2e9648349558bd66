"""Does the probe see what a model was trained on? smollm2 tuned on training rows of GSM8K, and on test rows.

    python tests/systems/glan/contaminate.py FOLDER [N]    N rows of each; 400 take an hour of one core, and 64 a quarter

After a kill the same line goes on.

Prints one JSON object: D% with its interval for the model as it is, and after either tuning.
"""

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

from tenfold.store.artifacts import find_data

NUM_ROWS = int(sys.argv[2]) if len(sys.argv) > 2 else 400
SIDES = {"train": "gsm8k-train", "test": "gsm8k"}


def rows_of(side: str, folder: Path) -> Path:
    """The first rows of a side as a file; a fixed choice, so that probe and training see the same."""
    path = folder / f"{side}.jsonl"
    with find_data(SIDES[side]).open(encoding="utf-8") as lines:
        path.write_text("".join(islice(lines, NUM_ROWS)), encoding="utf-8")
    return path


def lesson_of(path: Path) -> Path:
    """The same rows as a trainer reads them, without calculator marks."""
    from tenfold.systems.glan.probe import CALCULATOR

    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lesson = path.with_name(f"lesson-{path.name}")
    rows += rows[: NUM_ROWS // 9 + 1]  # `plora train` holds a tenth of a file out; so all rows are learned
    pairs = ({"instruction": row["question"], "output": CALCULATOR.sub("", row["answer"])} for row in rows)
    lesson.write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    return lesson


def tenfold(folder: Path, *words: str) -> dict:
    """A verb's metrics; finished runs are read again, others go on."""
    command = [str(Path(sys.executable).with_name("tenfold")), *words, "--json"]
    done = subprocess.run([*command, "--resume"], cwd=folder, stdout=subprocess.PIPE, text=True)
    if done.returncode == 2:  # there is nothing yet to go on with
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(folder: Path) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    files = {side: rows_of(side, folder) for side in SIDES}
    found = {}
    for taught in (None, "test", "train"):
        model = "smollm2"
        if taught:
            training = ["--training.epochs", "4", "--training.batch-size", "4", "--training.learning-rate", "3e-3"]
            settings = ["--merge", "--max-length", "256", "--held-out-rows", "8", "--lora.rank", "16", "--lora.alpha", "16"]
            unload = ["--unload.interval", "10000", "--unload.allow-single-stage", "--training.save-every", "20"]
            data = ["--data", str(lesson_of(files[taught]))]
            tenfold(folder, "plora", "train", *data, *training, *settings, *unload)
            model = str(newest(folder / "runs" / "plora-train", data[1]) / "merged")
        sides = [word for side in SIDES for word in (f"--{side}", str(files[side]))]
        metrics = tenfold(folder, "glan", "probe", "--model", model, *sides, "--max-length", "256")
        found[f"taught {taught}" if taught else "untaught"] = metrics
        print(json.dumps({taught or "untaught": metrics}), file=sys.stderr, flush=True)
    return found


def newest(runs: Path, data: str) -> Path:
    """The newest run on this data."""
    return max(run for run in runs.iterdir() if data in (run / "config.toml").read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]).resolve())))
