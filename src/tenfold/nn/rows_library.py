"""`rows.c` as a library: compiled once on this machine with its own C compiler, kept in the cache, loaded by ctypes.

It needs an x86 processor with AVX512-BF16 and a C compiler. Where one is missing, `why_not` says so and the engine uses
torch's kernels. The library shares torch's OpenMP runtime: with a runtime of its own, its threads and torch's would
wait for work on the same cores.
"""

import ctypes
import hashlib
import shutil
import subprocess
from ctypes import POINTER, Structure, c_float, c_int, c_long, c_void_p
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from tenfold.store import atomic
from tenfold.store.artifacts import cache_folder

COMPILERS = ("cc", "gcc", "clang")
NEEDED = {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "fma"}
"""Processor features, as /proc/cpuinfo spells them."""
FLAGS = (
    *("-O3", "-std=gnu11", "-shared", "-fPIC", "-fopenmp", "-ffp-contract=off", "-Wno-unknown-pragmas"),
    *(f"-m{feature.replace('_', '')}" for feature in sorted(NEEDED)),
)
SECONDS_TO_COMPILE = 120


class Matrix(Structure):
    """A packed matrix, as in rows.c."""

    _fields_ = (("panels", c_void_p), ("bias", c_void_p), ("inputs", c_long), ("outputs", c_long))


class Layer(Structure):
    """A decoder layer, as in rows.c."""

    _fields_ = (
        *(("attention_norm", c_void_p), ("mlp_norm", c_void_p)),
        *((name, Matrix) for name in ("qkv", "output", "gate_up", "down")),
    )


class Shape(Structure):
    """The sizes of a model, as in rows.c."""

    _fields_ = (
        *((name, c_long) for name in ("width", "heads", "kv_heads", "head_width")),
        *(("eps", c_float), ("threads", c_int)),
    )


class Pass(Structure):
    """What the layers of a pass share, as in rows.c."""

    _fields_ = (
        ("batch", c_long),
        *((name, c_void_p) for name in ("rows", "starts", "lengths", "rotation", "sees", "visible")),
        *(("visible_stride", c_long), ("cache", c_void_p)),
        *((name, c_long) for name in ("layer_stride", "part_stride", "head_stride")),
    )


@cache
def why_not() -> str | None:
    """Why the library cannot be used here; None if it can."""
    if missing := NEEDED - _features():
        return f"the processor lacks {', '.join(sorted(missing))}"
    if _compiler() is None:
        return f"there is no C compiler ({', '.join(COMPILERS)})"
    if _openmp() is None:
        return "torch has no OpenMP runtime of its own"
    try:
        load()
    except (OSError, subprocess.SubprocessError) as error:
        return f"rows.c could not be compiled ({str(error).strip().splitlines()[-1][:160]})"
    return None


@cache
def load() -> ctypes.CDLL:
    """The library, compiled if this machine has not done so yet.

    Raises:
        OSError, SubprocessError: it cannot be compiled or loaded; ask `why_not` first.
    """
    library = ctypes.CDLL(str(_built() / "rows.so"))
    library.rows_linear.argtypes = [POINTER(Matrix), c_void_p, c_void_p, c_long, c_int]
    library.rows_layers.argtypes = [POINTER(Layer), POINTER(Shape), POINTER(Pass), c_long, c_long, c_void_p]
    library.rows_linear.restype = library.rows_layers.restype = None
    return library


def _built() -> Path:
    source = files("tenfold.nn").joinpath("rows.c").read_text(encoding="utf-8")
    recipe = "\n".join([source, *FLAGS, str(_compiler()), str(_openmp())])
    name = f"rows-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    return atomic.build_folder(cache_folder() / "kernels" / name, lambda folder: _compile(source, folder))


def _compile(source: str, folder: Path) -> None:
    """Compiles and links in two steps, since `-fopenmp` at the second would bring the compiler's own runtime."""
    (folder / "rows.c").write_text(source, encoding="utf-8")
    steps = (
        [*FLAGS, "-c", "rows.c", "-o", "rows.o"],
        ["-shared", "rows.o", "-o", "rows.so", str(_openmp()), "-lm"],
    )
    for step in steps:
        done = subprocess.run(
            [str(_compiler()), *step], cwd=folder, capture_output=True, text=True, timeout=SECONDS_TO_COMPILE, check=False
        )
        if done.returncode:
            raise OSError(done.stderr or f"the compiler ended with {done.returncode}")


def _compiler() -> str | None:
    return next((path for name in COMPILERS if (path := shutil.which(name))), None)


@cache
def _openmp() -> Path | None:
    """torch's own OpenMP runtime, where this process has it loaded."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    home = Path(torch.__file__).resolve().parent  # the maps name files by their real paths
    loaded = {Path(line.split(maxsplit=5)[-1]) for line in lines if "libgomp" in line}
    return next((path for path in sorted(loaded) if path.is_relative_to(home.parent)), None)


def _features() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
