"""What a result was measured on: processor, cores, memory, versions, and whether other programs were at work meanwhile."""

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tenfold

PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "numpy", "pydantic")


def describe() -> dict[str, Any]:
    """The environment as plain JSON values: versions, processor, cores, commit."""
    return {
        "tenfold": tenfold.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "packages": {name: installed(name) for name in PACKAGES},
    }


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def processor() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the checkout that the package runs from, or None outside a checkout."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def peak_memory() -> int:
    """The most bytes of memory that this process has occupied so far, shared libraries and mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


MOST_CONTENTION = 0.15
"""Share of the machine that other programs may use before a timing is no longer valid."""


def is_contended(share: float | None) -> bool:
    """Whether timings taken while others used `share` of the machine are invalid; an unknown share is taken for fine."""
    return share is not None and share > MOST_CONTENTION


class ContentionMeter:
    """Measures the share of the machine that *other* processes used between construction and `read`.

    Reads /proc/stat (Linux); elsewhere `read` returns None. Timings taken while the share is high are invalid.
    """

    def __init__(self) -> None:
        self.start = self._sample()

    def read(self) -> float | None:
        """Share of all cores' time, 0 to 1, that went to other processes or was stolen by the host."""
        end = self._sample()
        if self.start is None or end is None:
            return None
        total, busy, own = (after - before for after, before in zip(end, self.start, strict=True))
        return max(0.0, min(1.0, (busy - own) / total)) if total > 0 else 0.0

    @staticmethod
    def _sample() -> tuple[float, float, float] | None:
        stat = Path("/proc/stat")
        if not stat.exists():
            return None
        user, nice, system, idle, iowait, irq, softirq, steal = map(float, stat.read_text().split()[1:9])
        busy = user + nice + system + irq + softirq + steal
        times = os.times()
        ticks = os.sysconf("SC_CLK_TCK")
        return busy + idle + iowait, busy, (times.user + times.system + times.children_user + times.children_system) * ticks
