"""The records of the problem set, and the JSONL files that hold them.

A `Problem` is one text with its label: `flaw` is None where the text is sound. Four of them make a block: c1 and c2
are sound (placebos), u1 and u2 are flawed; the pairs are u1-c1 and u2-c2. The certificate makes claims about the
*text*, which `checker.py` verifies without knowing how the text was made. Numbers are strings of exact rationals
("12", "5/2"); spans are (start, end) offsets into `question`; variables are lower-case words ("x1").

An expression is a variable, a rational, or a list of an operator and two expressions: ["*", "x1", ["+", "x2", "1/2"]].
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tenfold.core import jsonl
from tenfold.core.config import first_problem
from tenfold.core.errors import ConfigError
from tenfold.store import atomic

Category = Literal["inconsistent", "undefined", "units", "illogical", "assumption"]
CATEGORIES: tuple[Category, ...] = ("inconsistent", "undefined", "units", "illogical", "assumption")
CELLS = ("c1", "c2", "u1", "u2")
Verdict = Literal["unique", "inconsistent", "underdetermined", "violates", "dimension", "false_predicate"]
Span = tuple[int, int]
Expression = str | list[Any]


class Record(BaseModel):
    """Base of the records: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Fact(Record):
    """What one stretch of the text says: `var` has `value`, in `unit`.

    `value` is None where the text gives a letter instead of a number; then the fact only names the variable.
    """

    span: Span
    text: str
    var: str
    value: str | None
    unit: str | None = None


class Equation(Record):
    """`var` equals `expr`; its variables are facts' or other equations'."""

    var: str
    expr: Expression


class Constraint(Record):
    """What `var` must be: count, nonneg, percent, probability, dimension:D or predicate:P.

    `span` and `text` quote the words that demand it, where the text does and not the nature of the thing.
    """

    var: str
    type: str
    span: Span | None = None
    text: str | None = None


class Certificate(Record):
    """The proof of a label: what the text says, what follows, and the witness of the verdict.

    witness, by verdict: unique {value}; inconsistent {var, values: [a, b]}; underdetermined {free, assignments: [{var:
    value}, {var: value}]}; violates {var, type, value}; dimension {var, expected, got}; false_predicate {var, type, value}.
    """

    facts: tuple[Fact, ...]
    unused: tuple[Span, ...] = ()
    equations: tuple[Equation, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    ask: str
    verdict: Verdict
    witness: dict[str, Any]


class Flaw(Record):
    """What is wrong: the category, the words to blame, and a sentence that explains it."""

    kind: str
    spans: tuple[Span, ...] = ()
    text: str = ""


class Edit(Record):
    """Replace the words at `span` by `text`."""

    span: Span
    text: str


class Repair(Record):
    """Edits that make the text sound, and the answer that it then has."""

    edits: tuple[Edit, ...]
    answer: str

    def apply(self, question: str) -> str:
        """The repaired text."""
        for edit in sorted(self.edits, key=lambda edit: edit.span, reverse=True):
            question = question[: edit.span[0]] + edit.text + question[edit.span[1] :]
        return question


class Problem(Record):
    """One problem text with its label; `answer` is None where there is none."""

    id: str
    question: str
    answer: str | None = None
    flaw: Flaw | None = None
    category: str = ""
    block: str = ""
    cell: str = ""
    pair_id: str = ""
    tier: str = ""
    split: str = ""
    source: str = ""
    source_id: str = ""
    original_question: str | None = None
    original_answer: str | None = None
    repair: Repair | None = None
    certificate: Certificate | None = None
    licence: str = ""

    @property
    def sound(self) -> bool:
        """Whether the problem has an answer."""
        return self.flaw is None


def parse(row: Any, where: str) -> Problem:
    """One row as a problem; ConfigError says where, what we got and what is accepted."""
    if not isinstance(row, dict):
        raise ConfigError(f"{where} is {type(row).__name__}, not an object; give at least id and question")
    try:
        return Problem.model_validate(row)
    except ValidationError as error:
        raise ConfigError(f"{where}: {first_problem(error)}") from None


def read(path: Path) -> list[Problem]:
    """Reads a JSONL file of problems, whole or not at all.

    Raises:
        MissingArtifactError: there is no such file.
        ConfigError: a line is no problem, or an id occurs twice; the message gives the line's number.
    """
    problems: dict[str, Problem] = {}
    for number, row in numbered_rows(path):
        problem = parse(row, f"{path} line {number}")
        if problem.id in problems:
            raise ConfigError(f"{path} line {number}: id {problem.id!r} occurs twice; give every problem its own")
        problems[problem.id] = problem
    return list(problems.values())


def numbered_rows(path: Path) -> list[tuple[int, Any]]:
    """The rows of a JSONL file with their line numbers; blank lines are skipped but counted."""
    rows = list(jsonl.read(path))
    numbers = [number for number, line in enumerate(path.read_bytes().split(b"\n"), start=1) if line.strip()]
    return list(zip(numbers, rows, strict=True))


def write(path: Path, problems: Iterable[Problem]) -> None:
    """Writes problems as JSONL in one step; the same problems give the same bytes."""
    atomic.write_text(path, "".join(_line(problem) for problem in problems))


def _line(problem: Problem) -> str:
    return json.dumps(problem.model_dump(mode="json"), ensure_ascii=False) + "\n"


def by_block(problems: Iterable[Problem]) -> Mapping[str, dict[str, Problem]]:
    """Block -> cell -> problem, for the problems that belong to a block."""
    blocks: dict[str, dict[str, Problem]] = defaultdict(dict)
    for problem in problems:
        if problem.block:
            blocks[problem.block][problem.cell] = problem
    return blocks
