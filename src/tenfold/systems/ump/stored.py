"""Stored answers of other people's models, in the folder layout of MiP: tests, calibration and reports only.

    <folder>/[response/]<set>/<MiP or normal>/<model>/response.json     a list of objects
    <folder>/data/<set>.json                                            the problems, in the same order; may be absent

An answer is in `model_answer` or in the key that ends with `question)`; a label, where there is one, in `eval_result`:
0 says that something is missing, 1 matches the reference, 2 is something else.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.core.errors import ConfigError
from tenfold.store.artifacts import find_data
from tenfold.systems.ump.judges import Case

FLAWED_FOLDER, SOUND_FOLDER = "MiP", "normal"
LABEL_FLAGGED = 0
LABELS = (0, 1, 2)


@dataclass(frozen=True)
class StoredAnswer:
    """One answer of one model to one problem of one set."""

    set: str
    sound: bool
    model: str
    index: int
    """Place of the problem in its set."""
    question: str
    reference: str | None
    answer: str
    label: int | None
    """0, 1 or 2; None where there is no usable label."""
    all_tokens: int | None = None
    """Tokens of answer and reasoning together, where the file says so."""

    @property
    def key(self) -> str:
        return f"{self.set}/{SOUND_FOLDER if self.sound else FLAWED_FOLDER}/{self.model}/{self.index}"

    @property
    def flagged(self) -> bool:
        """Whether the labeller found that the answer says something is missing."""
        return self.label == LABEL_FLAGGED

    @property
    def case(self) -> Case:
        """The answer as the judge sees it."""
        return Case(self.answer, self.reference, self.question)


def read_stored(name: str) -> list[StoredAnswer]:
    """All answers under a folder (or the alias `mip`), in the order of sets, kinds and models.

    Raises:
        MissingArtifactError: there is no such folder.
        ConfigError: it holds no answers in this layout, or a file that is not a list of objects with answers.
    """
    folder = find_data(name)
    root = folder / "response" if (folder / "response").is_dir() else folder
    files = sorted(root.glob(f"*/{FLAWED_FOLDER}/*/response.json")) + sorted(root.glob(f"*/{SOUND_FOLDER}/*/response.json"))
    answers = [answer for file in sorted(files) for answer in _of_file(file, folder / "data")]
    if not answers:
        raise ConfigError(f"{folder} holds no <set>/<MiP or normal>/<model>/response.json; give a folder in MiP's layout")
    return answers


def _of_file(path: Path, data: Path) -> Iterator[StoredAnswer]:
    set_name, kind, model = path.parts[-4:-1]
    problems = _read_list(data / f"{set_name}.json") if (data / f"{set_name}.json").is_file() else []
    rows = _read_list(path)
    aligned = problems if len(problems) == len(rows) else [{}] * len(rows)
    for index, (row, problem) in enumerate(zip(rows, aligned, strict=True)):
        key = _answer_key(row, path, index)
        sound = kind == SOUND_FOLDER
        known = {**problem, **{name: value for name, value in row.items() if value is not None}}
        yield StoredAnswer(
            set=set_name,
            sound=sound,
            model=model,
            index=index,
            question=str(known.get("question" if sound else "insufficient_question") or ""),
            reference=_reference(known.get("answer")),
            answer=str(row[key] or ""),
            label=row["eval_result"] if row.get("eval_result") in LABELS else None,
            all_tokens=row.get(f"{key} all_token_count"),
        )


def _read_list(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not JSON ({error}); a list of objects is accepted") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path} is not a list of objects; give the answers of one model to one set")
    return rows


def _answer_key(row: dict[str, Any], path: Path, index: int) -> str:
    found = next((name for name in row if name == "model_answer" or name.endswith("question)")), None)
    if found is None:
        raise ConfigError(
            f"{path} row {index} holds no answer; it belongs in model_answer or a key that ends with question)"
        )
    return found


def _reference(answer: Any) -> str | None:
    return None if answer is None else str(answer).rpartition("####")[2].strip()
