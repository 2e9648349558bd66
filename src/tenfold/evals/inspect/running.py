"""Runs tasks from a verb: quietly, with progress on stderr and nothing on stdout, and so that it can be continued.

What continues a run is the cache of answers (`generating`): after a kill the tasks run again, every completed call is
answered from the cache, and the scores are the same. A failed call fails its sample, which stays unscored in the log,
and not the run.

Inspect keeps state in several places of the user's home. Here logs go where the caller says, what Inspect prints goes
beside them, answers go to Tenfold's cache folder, and its control socket and its buffer of events stay off.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.core.errors import ApparatusError
from tenfold.evals.inspect.logs import read_log, why
from tenfold.store.artifacts import cache_folder

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.log import EvalLog
    from inspect_ai.model import Model

PRINTED = "inspect.txt"
TRACE = "trace.log"


def run_tasks(
    tasks: Sequence["Task"],
    model: "str | Model",
    log_dir: Path,
    *,
    roles: "Mapping[str, str | Model] | None" = None,
    limit: int | None = None,
    label: str = "Samples",
    cache: Path | None = None,
    max_retries: int = 1,
    **settings: Any,
) -> list[Path]:
    """Runs the tasks one after the other on one model; returns their logs in the same order. Not inside an event loop.

    Args:
        tasks: made by the homes' task functions.
        model: `tenfold/<name>`, another Inspect model, or one that is open.
        log_dir: where the logs go, usually a folder of the run directory.
        roles: models for other roles, such as `grader`.
        limit: samples of each task; None takes all.
        cache: where answers are kept; None is the folder `inspect` in Tenfold's cache.
        max_retries: how often Inspect asks again after a failure that may pass.
        settings: further settings of generation, by Inspect's names (`max_tokens`, `temperature`, `seed` ...).

    Raises:
        KeyboardInterrupt: interrupted from the keyboard; the same call continues the run.
        ApparatusError: a task could not be run, or every sample of it failed.
    """
    from inspect_ai import eval as run_eval  # takes more than a second, hence not before a task runs

    from tenfold.evals.inspect.progress import showing

    log_dir.mkdir(parents=True, exist_ok=True)
    _remove_unfinished(log_dir)
    with (
        showing(label, sum(_num_samples(task, limit) for task in tasks)),
        _quiet(log_dir, cache or cache_folder() / "inspect"),
    ):
        logs = run_eval(
            list(tasks),
            model=model,
            model_roles=dict(roles) if roles else None,
            log_dir=str(log_dir),
            limit=limit,
            display="none",
            log_level="error",
            log_realtime=False,
            log_header_only=True,
            ctl_server=False,
            fail_on_error=False,
            max_retries=max_retries,
            **settings,
        )
    for log in logs:
        _check(log)
    if len(logs) < len(tasks):  # Inspect swallows the interrupt and leaves out what it stopped
        raise KeyboardInterrupt
    return [_path(log) for log in logs]


def _check(log: "EvalLog") -> None:
    if log.status == "cancelled":
        raise KeyboardInterrupt
    if log.status != "success":
        reason = why(log.error) if log.error else log.status
        raise ApparatusError(f"the task {log.eval.task} could not be run: {reason}; see {_path(log)}")
    if log.results is None or not log.results.completed_samples:
        errors = [record.error for record in read_log(_path(log))]
        if errors and all(errors):
            raise ApparatusError(f"every sample of {log.eval.task} failed, the first with: {errors[0]}; see {_path(log)}")


@contextlib.contextmanager
def _quiet(log_dir: Path, cache: Path) -> Iterator[None]:
    """Keeps Inspect off stdout and out of the user's home for the length of the block."""
    environment = {
        "INSPECT_CACHE_DIR": str(cache.absolute()),
        "XDG_DATA_HOME": str(cache.absolute() / "data"),
        # Inspect compresses this file at the end and deletes it: it must be a plain file of ours, never a device
        "INSPECT_TRACE_FILE": str((log_dir / TRACE).absolute()),
        "INSPECT_TRACE_LEVEL": "ERROR",
        "INSPECT_PY_LOGGER_FORMAT": "plain",  # its other formats print warnings on stdout, also after the run
    }
    hook = sys.excepthook  # Inspect sets its own
    with contextlib.ExitStack() as stack:
        printed = stack.enter_context((log_dir / PRINTED).open("a", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(_environment(environment))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", DeprecationWarning)  # between Inspect and its own libraries
        try:
            yield
        finally:
            sys.excepthook = hook


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _remove_unfinished(log_dir: Path) -> None:
    """Removes the logs of an attempt that was killed; its answers are in the cache."""
    from inspect_ai.log import read_eval_log

    for path in log_dir.glob("*.eval"):
        try:
            finished = read_eval_log(path, header_only=True).status == "success"
        except Exception:  # whatever a torn file makes a reader raise
            finished = False
        if not finished:
            path.unlink()


def _num_samples(task: "Task", limit: int | None) -> int:
    total = len(task.dataset)
    return (total if limit is None else min(limit, total)) * (task.epochs or 1)


def _path(log: "EvalLog") -> Path:
    return Path(log.location.removeprefix("file://"))
