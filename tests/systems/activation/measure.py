"""Figures that are not tests: `python tests/systems/activation/measure.py memory [MODEL]`.

memory: the peak of the process while 64 texts of 16 tokens leave their signatures, beside the model's own size.
"""

import sys
import tempfile
from pathlib import Path

from tenfold.systems.activation.data import Piece
from tenfold.systems.activation.opened import open_model
from tenfold.systems.activation.signature import SignatureFolder


def status(key: str) -> int:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) // 1024


def memory(name: str) -> None:
    opened = open_model(name)
    weights = sum(parameter.numel() * 4 for parameter in opened.model.parameters()) >> 20
    print(f"weights {weights} MiB; after loading {status('RssAnon')} MiB, highest so far {status('VmHWM')} MiB")
    pieces = [Piece(str(n), "x", tuple((n * 37 + place * 11) % 400 + 3 for place in range(16))) for n in range(64)]
    with tempfile.TemporaryDirectory() as folder:
        SignatureFolder(Path(folder), opened, "mean_max", "rowcol").of(pieces)
    print(f"after 64 texts {status('RssAnon')} MiB, highest {status('VmHWM')} MiB")


if __name__ == "__main__":
    {"memory": memory}[sys.argv[1]](sys.argv[2] if len(sys.argv) > 2 else "smollm2")
