"""What is on this machine: packages, models, data, processor, accelerator, and how fast a decoding step can be.

Reports what it finds, also when nothing is there; it fails on nothing but its own mistakes.
"""

import os
from pathlib import Path
from typing import Any

import torch

from tenfold.nn import kernel_choice, models, rows_library
from tenfold.store import artifacts, environment

EXTRA_PACKAGES = ("accelerate", "gguf", "cyclopts", "plotly", "rich")


def examine(*, verify: bool = False) -> dict[str, Any]:
    """All findings as plain JSON values; `verify` also checks the converted model's checksum."""
    return {
        **environment.describe(),
        "other_packages": {name: environment.installed(name) for name in EXTRA_PACKAGES},
        "models": {alias: _model(wheel, verify=verify) for alias, wheel in artifacts.WHEEL_MODELS.items()},
        "data_folder": str(artifacts.data_folder()),
        "data": {name: (artifacts.data_folder() / path).exists() for name, path in artifacts.DATA_SETS.items()},
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "kernel": kernel_choice.choice().kernel,
        "compiled_kernels": rows_library.why_not() or "ready",
        "linear_ms": kernel_choice.measure(),
        "openai_key": "OPENAI_API_KEY" in os.environ,
    }


def describe(findings: dict[str, Any]) -> str:
    """The findings for a person."""
    packages = findings["packages"] | findings["other_packages"]
    missing = [name for name, version in packages.items() if version is None]
    lines = [
        f"tenfold {findings['tenfold']}, Python {findings['python']}, {findings['platform']}",
        f"processor  {findings['processor']}, {findings['cores']} cores, "
        f"{findings['threads']} threads, {findings['cpu_capability']}",
        f"GPU        {findings['gpu'] or 'none found; everything runs on the processor'}",
        "packages   " + ", ".join(f"{name} {version}" for name, version in packages.items() if version),
    ]
    lines += [f"missing    {name}: pip install {name}" for name in missing]
    lines += [f"model      {alias}: {_model_line(found)}" for alias, found in findings["models"].items()]
    lines += [_data_line(findings)]
    lines.append(f"compiled   {findings['compiled_kernels']}")
    matrices = f"{kernel_choice.NUM_MATRICES} matrices of {kernel_choice.SHAPE}"
    lines.append(f"kernel     {findings['kernel']}; milliseconds for {matrices}, by rows:")
    lines += [
        f"           {name:<12} " + "  ".join(f"{rows}: {ms:.1f}" for rows, ms in speeds.items())
        for name, speeds in findings["linear_ms"].items()
    ]
    return "\n".join(lines)


def _model(wheel: artifacts.WheelModel, *, verify: bool) -> dict[str, Any]:
    gguf = wheel.find()
    folder = models.conversion_folder(gguf, wheel.alias) if gguf else None
    is_converted = folder is not None and folder.exists()
    return {
        "title": wheel.title,
        "licence": wheel.licence,
        "wheel": environment.installed(wheel.wheel),
        "gguf": str(gguf) if gguf else None,
        "converted": str(folder) if is_converted else None,
        "checksum_ok": models.verify_checksums(folder) if verify and is_converted and folder else None,
        "how_to_get": None if gguf else wheel.how_to_get,
    }


def _model_line(found: dict[str, Any]) -> str:
    if found["gguf"] is None:
        return f"not found; get it with: {found['how_to_get']}"
    checksum = {None: "", True: ", checksum right", False: ", CHECKSUM WRONG: delete that folder and it is converted again"}[
        found["checksum_ok"]
    ]
    if found["converted"] is None:
        return f"{found['title']} ({found['licence']}), to be converted at its first use (half a minute)"
    return f"{found['title']} ({found['licence']}), ready in {found['converted']}{checksum}"


def _data_line(findings: dict[str, Any]) -> str:
    found = [name for name, is_here in findings["data"].items() if is_here]
    where = f"data       {findings['data_folder']}: "
    if not Path(findings["data_folder"]).is_dir():
        return f"{where}no such folder; set TENFOLD_DATA if you have the data sets (the demo needs none)"
    return where + (", ".join(found) or "none of the known data sets")
