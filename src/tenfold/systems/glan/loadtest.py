"""The verb `loadtest`: how fast and how safely the pipeline drives an endpoint, measured on a stub one in another process.

Four runs over the same part of the bundled taxonomy, answered by templates:

    in process   no HTTP: what planning, ledger and parsing cost
    zero         HTTP without latency: requests a second that one core can drive
    clean        with latency: how busy the allowed requests are kept
    faulty       the same with injected faults: is anything lost, is anything asked again after its answer

The data of all four has to be the same to the last byte.
"""

import asyncio
import multiprocessing
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pydantic import Field

from tenfold.core.config import Config, parse
from tenfold.core.errors import ApparatusError
from tenfold.core.records import Metrics
from tenfold.core.registry import load_target
from tenfold.llm import stub_server
from tenfold.llm.chat import ChatModel, ChatRequest, assistant, user
from tenfold.llm.limits import Adaptive
from tenfold.llm.retries import Retrying
from tenfold.llm.stub_server import Asked, Faults, StubServer
from tenfold.store.artifacts import sha256
from tenfold.store.ledger import Ledger
from tenfold.store.runs import Run
from tenfold.systems.glan.asking import Asking
from tenfold.systems.glan.budget import Budget, BudgetConfig, Spending
from tenfold.systems.glan.pair_files import write_pairs
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import PlanConfig, Planner
from tenfold.systems.glan.reading import Reader
from tenfold.systems.glan.taxonomy import load_taxonomy
from tenfold.systems.glan.teachers import scripted_reply, scripted_teacher
from tenfold.systems.glan.tree import Discipline

PLAN = parse(PlanConfig, {"queries": 1, "subjects": 5, "questions": 10})
CALLS_PER_DISCIPLINE = 2 + PLAN.subjects * (2 + 2 * PLAN.questions)
TEACHER = "a stub teacher"
FAULTS = (stub_server.RATE_LIMIT, stub_server.SERVER, stub_server.HANG, stub_server.MALFORMED, stub_server.TRUNCATED)
ATTEMPTS = 8


class LoadConfig(Config):
    """Drive a stub endpoint on this machine, with latency and with faults, and measure what the pipeline does."""

    calls: int = Field(3_000, ge=1, le=15_000)
    """About how many calls each run makes."""
    concurrency: int = Field(32, ge=1)
    """Most requests in flight."""
    latency_ms: float = Field(200.0, ge=0)
    """How long the endpoint takes for each answer."""
    fault_share: float = Field(0.1, ge=0, lt=0.5)
    """Share of the requests that fail: 429, 500, silence, malformed and truncated bodies."""
    timeout_s: float = Field(2.0, gt=0)
    """When a silent request is given up."""


@dataclass(frozen=True)
class Driven:
    """What one run did."""

    seconds: float
    asked: int
    digest: str
    pairs: int


def loadtest(config: LoadConfig, run: Run) -> Metrics:
    """Runs all four; each is a row, so a killed test goes on behind the last whole one.

    Raises:
        ApparatusError: the data of two runs differs, or something was asked again after its answer.
    """
    num_disciplines = max(1, round(config.calls / CALLS_PER_DISCIPLINE))
    disciplines = load_taxonomy()[:num_disciplines]
    for name in ("in process", "zero", "clean", "faulty"):
        if name not in run.rows:
            run.add(name, _run(name, config, disciplines, run.folder))
    rows = run.rows
    digests = {rows[name]["sha256"] for name in ("in process", "zero", "clean", "faulty")}
    if len(digests) > 1:
        raise ApparatusError(f"the runs made {len(digests)} different data sets; see {run.folder}")
    repeated = max(row.get("answered_twice", 0) for row in rows.values())
    if repeated:
        raise ApparatusError(f"{repeated} requests were asked again after their answer; see {run.folder}")
    return {
        "calls": rows["clean"]["asked"],
        "pairs": rows["clean"]["pairs"],
        "concurrency": config.concurrency,
        "latency_ms": config.latency_ms,
        "in_process_per_second": rows["in process"]["per_second"],
        "requests_per_second": rows["zero"]["per_second"],
        "requests_per_cpu_second": rows["zero"]["per_cpu_second"],
        "busy": rows["clean"]["busy"],
        "busy_with_faults": rows["faulty"]["busy"],
        "faults": rows["faulty"]["faults"],
        "lost": rows["clean"]["pairs"] - rows["faulty"]["pairs"],
        "answered_twice": repeated,
        "seconds": {name: row["seconds"] for name, row in rows.items()},
        "faulty_over_clean": rows["faulty"]["seconds"] / rows["clean"]["seconds"],
        "identical": True,
        "peak_mib": max(row["peak_mib"] for row in rows.values()),
    }


def _run(name: str, config: LoadConfig, disciplines: Sequence[Discipline], folder: Path) -> dict[str, Any]:
    """One run from an empty ledger, as a row."""
    (folder / f"{name}.sqlite").unlink(missing_ok=True)
    if name == "in process":
        with _cpu_time() as spent:
            driven = _drive(scripted_teacher(), config.concurrency, disciplines, folder / name)
        return _row(driven, spent)
    latency_s = 0.0 if name == "zero" else config.latency_ms / 1000
    share = config.fault_share if name == "faulty" else 0.0
    with _server(latency_s, share) as (base_url, control):
        endpoint = load_target("tenfold.llm.endpoint:Endpoint")
        model = Retrying(
            Adaptive(endpoint("stub", base_url=base_url, api_key="none", timeout_s=config.timeout_s), config.concurrency),
            attempts=ATTEMPTS,
            first_wait_s=0.05,
        )
        with _cpu_time() as spent:
            driven = _drive(model, config.concurrency, disciplines, folder / name)
        control.send((config.concurrency, config.timeout_s))
        return _row(driven, spent) | control.recv()


def _drive(teacher: ChatModel, concurrency: int, disciplines: Sequence[Discipline], place: Path) -> Driven:
    """Grows the disciplines and writes the pairs."""
    planner = Planner(PLAN, TEACHER)
    with Ledger(place.with_suffix(".sqlite")) as ledger:
        started = time.perf_counter()
        asking = Asking(teacher, ledger, Budget(parse(BudgetConfig, {}), Spending()), concurrency=concurrency)
        asyncio.run(grow(planner, asking, disciplines))
        seconds = time.perf_counter() - started
        pairs = write_pairs(place.with_suffix(".jsonl"), Reader(planner, ledger).pairs(disciplines))
    return Driven(seconds, asking.num_asked, sha256(place.with_suffix(".jsonl")), pairs)


def _row(driven: Driven, spent: Mapping[str, float]) -> dict[str, Any]:
    return {
        "seconds": driven.seconds,
        "asked": driven.asked,
        "pairs": driven.pairs,
        "sha256": driven.digest,
        "per_second": driven.asked / driven.seconds,
        "per_cpu_second": driven.asked / spent["seconds"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


@contextmanager
def _cpu_time() -> Iterator[dict[str, float]]:
    """Processor seconds of this process within the block."""
    spent = {"seconds": -time.process_time()}
    yield spent
    spent["seconds"] += time.process_time()


@contextmanager
def _server(latency_s: float, fault_share: float) -> Iterator[tuple[str, Connection]]:
    """A stub endpoint in a process of its own: its address, and the line on which it tells what it saw."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, latency_s, fault_share), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        process.terminate()
        process.join()


def _serve(control: Connection, latency_s: float, fault_share: float) -> None:
    """In the server's process."""
    faults = Faults(fault_share, FAULTS) if fault_share else None
    with StubServer(answer=_scripted_answer, latency_s=latency_s, faults=faults) as server:
        control.send(server.base_url)
        concurrency, timeout_s = control.recv()
        control.send(_seen(server, concurrency, timeout_s))


def _seen(server: StubServer, concurrency: int, timeout_s: float) -> dict[str, Any]:
    return {
        "faults": dict(sorted(server.num_faults.items())),
        "answered_twice": sum(count - 1 for count in server.answered.values()),
        "requests": len(server.requests),
        "busy": share_busy(server.requests, concurrency, timeout_s),
    }


def share_busy(requests: Sequence[Asked], concurrency: int, timeout_s: float) -> float:
    """How much of the allowed concurrency was in use until the last new request came; a silent one counts until it is given
    up."""
    first, last = (edge(asked.started for asked in requests) for edge in (min, max))
    if first == last:
        return 1.0
    ends = (asked.started + timeout_s if asked.finished is None else asked.finished for asked in requests)
    used = sum(min(end, last) - asked.started for asked, end in zip(requests, ends, strict=True))
    return used / (concurrency * (last - first))


def _scripted_answer(asked: Asked) -> str:
    """The scripted teacher behind HTTP."""
    roles = {"user": user, "assistant": assistant}
    messages = tuple(roles[message["role"]](message["content"]) for message in asked.body["messages"])
    reply = scripted_reply(ChatRequest(messages, seed=asked.body["seed"]))
    return reply if isinstance(reply, str) else reply.text


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    faults = sum(metrics["faults"].values())
    return "\n".join(
        [
            f"{metrics['calls']} calls, {metrics['pairs']} pairs; all four runs made the same data to the last byte",
            f"in process {metrics['in_process_per_second']:,.0f} calls/s; over HTTP {metrics['requests_per_second']:,.0f} "
            f"requests/s, {metrics['requests_per_cpu_second']:,.0f} for each second of one core",
            f"at {metrics['latency_ms']:g} ms: {metrics['busy']:.1%} of {metrics['concurrency']} slots busy, "
            f"{metrics['busy_with_faults']:.1%} with {faults} faults, in {metrics['faulty_over_clean']:.2f} times the time",
            f"lost {metrics['lost']}, asked again after an answer {metrics['answered_twice']}",
        ]
    )
