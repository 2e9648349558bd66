"""Growing on many machines: disciplines are dealt out to Ray tasks, each with a ledger of its own, which are merged.

A worker starts from what the main ledger knows, so nothing that was answered is asked again, and its own ledger lies in
`shards/` until it is merged: a killed run goes on from both. Limits are dealt out in equal shares. The cluster is that of
RAY_ADDRESS, whose machines must all see the run's folder, or one of our own on this machine. Without Ray, give each
machine `--shard i/n` and merge the ledgers with `tenfold glan merge`: the data is the same to the last byte.
"""

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from tenfold.core.errors import ConfigError, UserError
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.budget import BudgetConfig, Spending
from tenfold.systems.glan.merging import merge_file

Item = TypeVar("Item")
Shard = tuple[int, int]
"""Which of how many."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Ray accepts no less than 75 MiB, and only the tasks' small results go through it."""


def parse_shard(text: str) -> Shard:
    """`2/4`: the second of four.

    Raises:
        ConfigError: it is no such pair.
    """
    first, slash, second = text.partition("/")
    if not slash or not first.isdecimal() or not second.isdecimal() or not 1 <= int(first) <= int(second):
        raise ConfigError(f"shard is {text!r}; write it as i/n, for example 2/4 for the second of four")
    return int(first), int(second)


def dealt(items: Sequence[Item], shard: Shard) -> list[Item]:
    """What falls to a shard; the shards together hold everything once."""
    number, count = shard
    return list(items[number - 1 :: count])


def shares(config: BudgetConfig, spent: Spending, count: int) -> dict[str, Any]:
    """The limits of each of `count` workers, whose ledgers begin with what is spent: together the whole ones."""
    limits = {"max_calls": (config.max_calls, spent.calls), "max_tokens": (config.max_tokens, spent.tokens)}
    shared: dict[str, Any] = {
        name: None if limit is None else before + max(0, limit - before) // count for name, (limit, before) in limits.items()
    }
    usd, before = config.max_usd, spent.usd(config)
    return shared | {"max_usd": None if usd is None or before is None else before + max(0.0, usd - before) / count}


def grow_on_ray(work: Callable[[Shard, Path], Any], count: int, main: Ledger, folder: Path) -> list[Any]:
    """Runs `work(shard, ledger file)` as `count` Ray tasks, merges each ledger into `main` as soon as it is there.

    Raises:
        UserError: Ray is not installed.
    """
    ray = _ray()
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(**_cluster(count), log_to_driver=False, logging_level="ERROR")
    try:
        task = ray.remote(num_cpus=1)(_as_task)
        files = {number: folder / "shards" / f"{number}.sqlite" for number in range(1, count + 1)}
        open_tasks = {
            task.remote(work, (number, count), str(main.path.resolve()), str(file.resolve())): number
            for number, file in files.items()
        }
        results: dict[int, Any] = {}
        while open_tasks:
            (ready,), _ = ray.wait(list(open_tasks), num_returns=1)
            number = open_tasks.pop(ready)
            results[number] = ray.get(ready)
            merge_file(files[number], main)
        return [results[number] for number in sorted(results)]
    finally:
        if started_here:
            ray.shutdown()


def _cluster(count: int) -> dict[str, Any]:
    """Settings of `ray.init`: the cluster that RAY_ADDRESS names, which has its own limits, else one for this run alone."""
    if address := os.environ.get("RAY_ADDRESS"):
        return {"address": address}
    own = {"num_cpus": count, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    return {"address": "local", **own}


def _as_task(work: Callable[[Shard, Path], Any], shard: Shard, main: str, own: str) -> Any:
    """In the worker: its ledger learns what is known, then the work is done."""
    with Ledger(Path(own)) as ledger:
        merge_file(Path(main), ledger)
    return work(shard, Path(own))


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError:
        raise UserError("workers need Ray, which is not installed; install 'tenfold[scale]', or use --shard i/n") from None
