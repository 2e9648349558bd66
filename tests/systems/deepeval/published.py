"""A small release in the form of the published files, for tests."""

import json
from collections.abc import Callable
from pathlib import Path

from tenfold.systems.deepeval import released
from tenfold.systems.deepeval.items import LETTERS

NUM = 8
FIELDS = {"description": "Description", "title": "Title", "meaning": "Deep_Semantics"}
NAMES = ["dog", "cat", "owl", "fox", "bee", "ant", "elk", "cow"]
Change = Callable[[dict], None]


def write_release(folder: Path, change: Change | None = None, *, only: str = "title") -> Path:
    """A small release in the published form; `change` edits the rows of one task."""
    notes = [
        {"Image_ID": f"Img{n}", "Url": "https://example.org/a.jpg", **{f: f"{f} of the {NAMES[n]}" for f in FIELDS.values()}}
        for n in range(NUM)
    ]
    write_lines(folder / released.ANNOTATIONS, notes)
    for task, name in released.QUESTIONS.items():
        rows = [question(notes, n, FIELDS[task]) for n in reversed(range(NUM))]
        for row in rows:
            if change and task == only:
                change(row)
        write_lines(folder / name, rows)
    return folder


def question(notes: list[dict], n: int, field: str) -> dict:
    texts = [notes[(n + step) % NUM][field] for step in range(4)]
    order = [(place + n) % 4 for place in range(4)]
    options = {letter: texts[place] for letter, place in zip(LETTERS, order, strict=True)}
    prompts = {f"Prompt_{number}": f"{number}: {{}} {{}} {{}} {{}}" for number in (1, 2, 3)}
    return {"Image_ID": f"Img{n}", "Url": "u", "Options": options, "Answer": LETTERS[order.index(0)], **prompts}


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
