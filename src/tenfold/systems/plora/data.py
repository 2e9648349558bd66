"""Rows to fine-tune on: GSM8K where it lies on this machine, own-made arithmetic everywhere else, or a file of rows.

GSM8K (2110.14168, MIT): calculator marks `<<...>>` are taken out. Of the 7,473 training rows the last 500 are held
out as `dev`; the test rows are for final tables only.
"""

import random
import re
from pathlib import Path

from tenfold.core import jsonl
from tenfold.core.errors import ConfigError
from tenfold.store.artifacts import find_data
from tenfold.train.rows import Row, ask, read_rows

NUM_DEV = 500
CALCULATOR = re.compile(r"<<[^>]*>>")
NAMES = ("Ada", "Ben", "Chloe", "Dan", "Eva", "Femi", "Gita", "Hugo", "Ines", "Jun")
THINGS = ("apples", "books", "coins", "stamps", "shells", "pencils", "cards", "marbles")


def load_rows(name: str) -> tuple[list[Row], list[Row]]:
    """(rows to train on, rows held out) of `gsm8k`, `arithmetic` or a file of instruction rows.

    Raises:
        MissingArtifactError: no such file.
        ConfigError: a row that cannot be used, or too few of them.
    """
    if name == "arithmetic":
        rows = arithmetic(2_000, seed=0)
        return rows[:-NUM_DEV], rows[-NUM_DEV:]
    if name == "gsm8k":
        rows = gsm8k_rows(find_data("gsm8k-train"))
        return rows[:-NUM_DEV], rows[-NUM_DEV:]
    rows = read_rows(find_data(name))
    held_out = max(1, len(rows) // 10)
    if len(rows) < 2:
        raise ConfigError(f"{name} holds {len(rows)} row; at least 2 are needed, one to learn and one to measure on")
    return rows[:-held_out], rows[-held_out:]


def gsm8k_rows(path: Path) -> list[Row]:
    """Questions with their worked answers, without calculator marks."""
    return [
        Row(f"{path.stem}-{number}", ask(record["question"]), CALCULATOR.sub("", record["answer"]))
        for number, record in enumerate(jsonl.read(path))
    ]


def arithmetic(count: int, *, seed: int) -> list[Row]:
    """Two-step word problems of our own with worked answers in GSM8K's form."""
    generator = random.Random(seed)
    return [_problem(number, generator) for number in range(count)]


def final_number(answer: str) -> str | None:
    """What stands after `####`, without blanks and commas; None where nothing does."""
    found = re.search(r"####\s*(-?[\d,]*\.?\d+)", answer)
    return found.group(1).replace(",", "") if found else None


def _problem(number: int, generator: random.Random) -> Row:
    name, thing = generator.choice(NAMES), generator.choice(THINGS)
    start, more, times = generator.randint(2, 40), generator.randint(2, 40), generator.randint(2, 9)
    total, result = start + more, (start + more) * times
    question = (
        f"{name} has {start} {thing} and finds {more} more. A friend has {times} times as many {thing} as {name} has now. "
        f"How many {thing} does the friend have?"
    )
    steps = f"{name} now has {start} + {more} = {total} {thing}.\nThe friend has {total} * {times} = {result} {thing}."
    return Row(f"arithmetic-{number}", ask(question), f"{steps}\n#### {result}")
