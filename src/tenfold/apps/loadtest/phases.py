"""The two things that are measured: how many tokens come with so many clients, and what holds under a siege."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tenfold.apps.loadtest.clients import Asker, Streamed
from tenfold.apps.loadtest.servers import Server

TIMEOUT_S = 600.0
OVERSIZED = (100_000, 1_000_000, 6_000_000)
"""Characters of prompts that cannot fit: too many tokens, too many characters, too many bytes."""
REFUSALS = (400, 413)


@asynccontextmanager
async def asking(server: Server, max_tokens: int) -> AsyncIterator[Asker]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=TIMEOUT_S, limits=limits) as client:
        yield Asker(client, server, max_tokens)


async def throughput(
    server: Server,
    prompts: Sequence[str],
    *,
    num_clients: int,
    seconds: float,
    max_tokens: int,
    count: Callable[[str], int],
    mark: str,
) -> dict[str, Any]:
    """Tokens a second that `num_clients` clients read who ask again and again; what is unfinished at the end counts too.

    `mark` and a number begin every prompt, so that no two are alike and none is answered from what was computed before.
    """
    texts: list[Streamed] = []

    async def one(asker: Asker, number: int, end: float) -> None:
        place = number
        while time.perf_counter() < end:
            prompt = f"{mark} {place}: {prompts[place % len(prompts)]}"
            texts.append(await asker.stream(prompt, leaves=lambda _: time.perf_counter() >= end))
            place += num_clients

    async with asking(server, max_tokens) as asker:
        start = time.perf_counter()
        await asyncio.gather(*(one(asker, number, start + seconds) for number in range(num_clients)))
        elapsed = time.perf_counter() - start
    tokens = sum(count(each.text) for each in texts)
    firsts = sorted(each.first_s for each in texts if each.first_s is not None)
    return {
        "tokens": tokens,
        "seconds": elapsed,
        "tokens_per_second": tokens / elapsed,
        "answers": sum(each.is_whole for each in texts),
        "first_token_p50_s": quantile(firsts, 0.5),
    }


async def lone_texts(server: Server, prompts: Sequence[str], max_tokens: int) -> dict[str, str]:
    """The text of each prompt, asked one after the other: what a stream among many has to equal."""
    async with asking(server, max_tokens) as asker:
        return {prompt: (await asker.stream(prompt)).text for prompt in prompts}


async def siege(
    server: Server, expected: Mapping[str, str], *, num_clients: int, seconds: float, max_tokens: int, seed: int
) -> dict[str, Any]:
    """Clients that read, leave in the middle, or send nonsense, all at once, while the server's memory is watched."""
    counts: Counter[str] = Counter()
    whole: list[Streamed] = []
    memory: list[tuple[float, float]] = []
    prompts, start = list(expected), time.perf_counter()

    async def one(asker: Asker, number: int) -> None:
        chance = random.Random(f"{seed} {number}")
        while time.perf_counter() < start + seconds:
            try:
                await act(asker, chance)
            except httpx.HTTPError as failure:
                counts["lost"] += 1
                counts[f"lost: {type(failure).__name__}"] += 1

    async def act(asker: Asker, chance: random.Random) -> None:
        kind, prompt = chance.random(), chance.choice(prompts)
        if kind < 0.70:
            streamed = await asker.stream(prompt)
            whole.append(streamed)
            counts["read"] += 1
            counts["mixed_up"] += streamed.text != expected[prompt]
        elif kind < 0.85:
            after = chance.randint(1, 12)
            streamed = await asker.stream(prompt, leaves=lambda num_pieces: num_pieces >= after)
            counts["left"] += not streamed.is_whole
            counts["mixed_up"] += not expected[prompt].startswith(streamed.text)
        elif kind < 0.95:
            counts["malformed"] += 1
            counts["badly_refused"] += await asker.malformed(chance.randrange(100)) not in REFUSALS
        else:
            counts["oversized"] += 1
            counts["badly_refused"] += await asker.oversized(prompt, chance.choice(OVERSIZED)) not in REFUSALS

    async def watch() -> None:
        while True:
            if (now := server.memory_mib()) is not None:
                memory.append((time.perf_counter() - start, now))
            await asyncio.sleep(1)

    async with asking(server, max_tokens) as asker:
        watching = asyncio.create_task(watch())
        clients = [asyncio.create_task(one(asker, number)) for number in range(num_clients)]
        over, late = await asyncio.wait(clients, timeout=seconds)
        for task in (*late, watching):
            task.cancel()
        await asyncio.gather(*late, watching, return_exceptions=True)
        for task in over:
            task.result()
    return {
        "seconds": time.perf_counter() - start,
        **{name: counts[name] for name in ("read", "left", "malformed", "oversized", "mixed_up", "badly_refused", "lost")},
        "failures": {name: number for name, number in counts.items() if name.startswith("lost: ")},
        **latencies(whole),
        "memory_mib": [[round(at, 1), round(mib, 1)] for at, mib in memory],
        "memory_growth": growth([mib for _, mib in memory]),
    }


def latencies(whole: Sequence[Streamed]) -> dict[str, float | None]:
    """Medians and 95 % points, in seconds, of whole streams."""
    firsts = sorted(each.first_s for each in whole if each.first_s is not None)
    totals = sorted(each.total_s for each in whole)
    return {
        f"{name}_p{percent}_s": quantile(values, percent / 100)
        for name, values in (("first_token", firsts), ("answer", totals))
        for percent in (50, 95)
    }


def growth(memory: Sequence[float]) -> float | None:
    """The mean of the last fifth against that of the second fifth, less 1: the first fifth fills caches."""
    fifth = len(memory) // 5
    if not fifth:
        return None
    second, last = memory[fifth : 2 * fifth], memory[-fifth:]
    return sum(last) / sum(second) - 1


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the ordered values lie; None of none."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None
