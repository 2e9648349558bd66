"""What all commands share: the flags that each has, and how JSON is printed."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

RUNS = Path("runs")
Json = Annotated[bool, Parameter(negative="", help="Print one JSON object as the last line of stdout, and nothing else.")]
Runs = Annotated[Path, Parameter(help="Folder of the run directories.")]


def print_json(value: Any) -> None:
    """One JSON object on one line of stdout."""
    print(json.dumps(value, ensure_ascii=False))
