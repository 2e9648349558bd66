"""`tenfold loadtest`: throughput with few and many clients, beside another server in the same run; then a siege.

All servers are started at once and measured in turn, so that what disturbs the machine disturbs all of them. Tokens are
those of the received text under the model's own tokenizer, for every server alike.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from tenfold.apps.loadtest import phases, servers
from tenfold.apps.loadtest.servers import OURS, PEERS, Server
from tenfold.core.config import Config, Names
from tenfold.core.errors import UnknownNameError
from tenfold.core.records import Metrics
from tenfold.evals.statistics.ratios import geometric_mean_ratio
from tenfold.nn import models
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.specdec.data import load_questions

SIEGE = "siege"


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in PEERS:
            raise UnknownNameError("peer", name, PEERS)
    return names


class LoadConfig(Config):
    """Measure a server under load: tokens a second beside another server, and what holds when many clients besiege it."""

    model: str = "smollm2"
    """smollm2, a local folder, a .gguf file, or a hub id."""
    data: str = "demo"
    """Prompts: demo, specbench, or a file in its format."""
    peers: Annotated[Names, AfterValidator(_known)] = ("transformers",)
    """Servers to compare with: transformers, transformers-batched (with its continuous batching); none by an empty list."""
    clients: tuple[Annotated[int, Field(ge=1)], ...] = (1, 8)
    """Numbers of clients whose throughput is measured."""
    seconds: float = Field(20.0, gt=0)
    """Length of each measurement of throughput."""
    repeats: int = Field(3, ge=1)
    """How often each is measured, the servers in turn."""
    max_new_tokens: int = Field(128, ge=1)
    """Most tokens of an answer. Many clients gain from long answers: prompts cost each of them what they cost one."""
    siege_clients: int = Field(64, ge=1)
    """Clients of the siege: they read streams, leave in the middle, send malformed bodies and oversized prompts."""
    siege_seconds: float = Field(300.0, ge=0)
    """Length of the siege; 0 leaves it out."""
    flags: tuple[str, ...] = ()
    """Further words of our server's command line, such as --num-draft=3."""
    seed: int = 0
    """Seed of what the clients of the siege do."""


def loadtest(config: LoadConfig, run: Run) -> Metrics:
    """Measures what the run does not hold yet.

    Raises:
        ApparatusError: a server could not be started.
    """
    names = [OURS, *config.peers]
    measurements = [
        (f"{name}-{count}-{repeat}", name, count)
        for repeat in range(config.repeats)
        for count in config.clients
        for name in names
    ]
    todo = [each for each in measurements if each[0] not in run.rows]
    with ExitStack() as stack:
        if todo:
            up = {name: stack.enter_context(_server(name, config, run)) for name in names}
            _measure(todo, up, config, run)
    if config.siege_seconds and SIEGE not in run.rows:
        with _server(OURS, config, run) as ours:
            run.add(SIEGE, _besiege(ours, config))
    return _metrics(config, run, names)


def _server(name: str, config: LoadConfig, run: Run) -> Any:
    path = models.resolve(config.model)
    return servers.running(name, config.model, path, run.folder / f"{name}.log", config.flags)


def _prompts(config: LoadConfig) -> list[str]:
    return [question.turns[0] for question in load_questions(config.data)]


def _measure(todo: Sequence[tuple[str, str, int]], up: dict[str, Server], config: LoadConfig, run: Run) -> None:
    prompts, tokenizer = _prompts(config), models.load_tokenizer(models.resolve(config.model))
    for server in up.values():  # the first answer of a process pays for what is set up once
        asyncio.run(phases.lone_texts(server, prompts[:1], 4))
    for key, name, count in track(todo, "Throughput"):
        measured = phases.throughput(
            up[name],
            prompts,
            num_clients=count,
            seconds=config.seconds,
            max_tokens=config.max_new_tokens,
            mark=f"[{config.seed}/{key}]",
            count=lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),  # pyright: ignore
        )
        run.add(key, {"server": name, "clients": count, **asyncio.run(measured)})


def _besiege(server: Server, config: LoadConfig) -> dict[str, Any]:
    expected = asyncio.run(phases.lone_texts(server, _prompts(config), config.max_new_tokens))
    return asyncio.run(
        phases.siege(
            server,
            expected,
            num_clients=config.siege_clients,
            seconds=config.siege_seconds,
            max_tokens=config.max_new_tokens,
            seed=config.seed,
        )
    )


def _metrics(config: LoadConfig, run: Run, names: Sequence[str]) -> Metrics:
    rates = {
        (name, count): [run.rows[f"{name}-{count}-{repeat}"]["tokens_per_second"] for repeat in range(config.repeats)]
        for name in names
        for count in config.clients
    }
    few, many = min(config.clients), max(config.clients)
    siege = run.rows.get(SIEGE)
    return {
        "tokens_per_second": {
            name: {str(count): sum(rates[name, count]) / config.repeats for count in config.clients} for name in names
        },
        "many_against_few": {"clients": [many, few], **_ratio(rates[OURS, many], rates[OURS, few])},
        "against_peers": {
            name: {str(count): _ratio(rates[OURS, count], rates[name, count]) for count in config.clients}
            for name in config.peers
        },
        "siege": siege and {key: value for key, value in siege.items() if key not in ("key", "memory_mib")},
    }


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """The geometric mean over the repeats, with its 95 % interval."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    estimate = geometric_mean_ratio(ratios, ["repeats"] * len(ratios))
    return {"ratio": estimate.value, "interval": estimate.interval}


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = _siege_lines(metrics["siege"])
    for name, rates in metrics["tokens_per_second"].items():
        lines.append(f"{name:>22} " + ", ".join(f"{count} clients {rate:.1f} tokens/s" for count, rate in rates.items()))
    many, few = metrics["many_against_few"]["clients"]
    lines.append(f"{many} clients against {few}: {_told(metrics['many_against_few'])}")
    for name, ratios in metrics["against_peers"].items():
        lines += [f"against {name}, {count} clients: {_told(ratio)}" for count, ratio in ratios.items()]
    return "\n".join(lines)


def _siege_lines(siege: dict[str, Any] | None) -> list[str]:
    if siege is None:
        return []
    refused = siege["malformed"] + siege["oversized"]
    times = {key: _seconds(siege[f"{key}_s"]) for key in ("first_token_p50", "first_token_p95", "answer_p50", "answer_p95")}
    return [
        f"siege of {siege['seconds']:.0f} s: {siege['read']} streams read, {siege['mixed_up']} mixed up, "
        f"{siege['lost']} lost",
        f"{siege['left']} left in the middle; {refused} bad requests, {siege['badly_refused']} without a clear refusal",
        "; ".join(f"{name.replace('_', ' ')} {value}" for name, value in times.items()),
        f"memory of the server {_growth(siege['memory_growth'])}",
    ]


def _told(ratio: dict[str, Any]) -> str:
    low, high = ratio["interval"]
    return f"{ratio['ratio']:.2f}x (95 % {low:.2f} to {high:.2f})"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"


def _growth(value: float | None) -> str:
    return "unknown" if value is None else f"{value:+.1%}"
