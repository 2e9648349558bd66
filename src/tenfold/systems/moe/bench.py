"""The verb `bench`: our experts against Transformers' own implementations and against a dense model, same weights, same run.

All are timed in turn, round by round, so that a busy machine slows all of them; a speed-up is the geometric mean over
rounds of the ratio of times. The dense model has the activated width of the mixture, so the same FLOPs per token.
"""

import gc
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from tenfold.core.config import Config, Names
from tenfold.core.errors import ConfigError
from tenfold.core.records import Metrics
from tenfold.evals.statistics.ratios import geometric_mean, geometric_mean_ratio
from tenfold.store.environment import ContentionMeter
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.flops import Shape, training_flops
from tenfold.systems.moe.modeling import SORTED, DeepseekForCausalLM

PEERS = ("grouped_mm", "eager", "batched_mm")
DENSE = "dense"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WORK = ("training", "inference", "decoding")


class BenchConfig(Config):
    """Time training, inference and decoding of our experts beside Transformers' and a dense model."""

    width: int = Field(256, ge=8)
    """Model width d."""
    layers: int = Field(2, ge=1)
    """Decoder layers."""
    experts: int = Field(64, ge=1)
    """Routed experts."""
    chosen: int = Field(6, ge=1)
    """Routed experts of a token."""
    shared: int = Field(2, ge=0)
    """Shared experts."""
    expert_width: int = Field(128, ge=8)
    """Inner width of one expert."""
    vocabulary: int = Field(512, ge=2)
    """Small, so that the experts are most of the work."""
    batch_size: int = Field(8, ge=1)
    """Sequences in training and inference."""
    length: int = Field(256, ge=2)
    """Tokens of a sequence."""
    decoded: int = Field(16, ge=1)
    """Tokens decoded one by one."""
    dtypes: Names = ("fp32", "bf16")
    """Types of the weights: fp32, bf16."""
    peers: Names = PEERS
    """Transformers' implementations: grouped_mm, eager, batched_mm (decodes alone: it copies weights per token)."""
    rounds: int = Field(8, ge=2)
    """Each round times everything once."""
    device: str = "cpu"
    """cpu or cuda."""


def bench(config: BenchConfig, run: Run) -> Metrics:
    """Times what the run does not hold yet; each type of weights is one piece of work."""
    _check(config)
    todo = [dtype for dtype in config.dtypes if dtype not in run.rows]
    for dtype in track(todo, "Types of weights", done=len(config.dtypes) - len(todo)):
        run.add(dtype, _measure(config, DTYPES[dtype]))
    return summed(config, {dtype: run.rows[dtype] for dtype in config.dtypes})


def summed(config: BenchConfig, rows: Mapping[str, Mapping[str, Any]]) -> Metrics:
    """Speeds and ratios from the times of each round."""
    found: Metrics = {"types": {dtype: _ratios(config, row["seconds"]) for dtype, row in rows.items()}}
    training = [each["training"] for each in found["types"].values()]
    found["speedup_vs_transformers"] = _least(training, "speedup_grouped_mm")
    found["speedup_in_inference"] = _least([each["inference"] for each in found["types"].values()], "speedup_grouped_mm")
    decoding = [each["decoding"] for each in found["types"].values()]
    found["speedup_in_decoding"] = min(_least([each], key) or 0.0 for each in decoding for key in each if "speedup" in key)
    found["fraction_of_dense"] = _least(training, "fraction_of_dense")
    found["contention"] = max((row["contention"] or 0.0 for row in rows.values()), default=None)
    tokens = config.batch_size * config.length
    wide = (config.shared + config.chosen) * config.expert_width * 3 / (8 * config.width)
    shape = Shape(config.layers, config.width, config.vocabulary, config.length, wide)
    return found | {
        "tokens": tokens,
        "experts": config.experts,
        "chosen": config.chosen,
        "device": torch.cuda.get_device_name() if config.device == "cuda" else "cpu",
        "teraflops": {
            dtype: training_flops(shape) / config.length * each["training"]["tokens_per_second"][SORTED] / 1e12
            for dtype, each in found["types"].items()
        },
        "product_teraflops": {dtype: row["product_teraflops"] for dtype, row in rows.items()},
    }


def _check(config: BenchConfig) -> None:
    for given, known, what in ((config.dtypes, DTYPES, "dtypes"), (config.peers, PEERS, "peers")):
        if unknown := [name for name in given if name not in known]:
            raise ConfigError(f"{what}: {unknown[0]!r} is unknown; accepted are {', '.join(known)}")
    if not config.dtypes or "grouped_mm" not in config.peers:
        raise ConfigError("dtypes must name a type and peers must name grouped_mm, which all else is measured against")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is cuda, but there is none here; use cpu")


def _measure(config: BenchConfig, dtype: torch.dtype) -> dict[str, Any]:
    model, dense = _models(config, dtype)
    ids = torch.randint(config.vocabulary, (config.batch_size, config.length), generator=torch.Generator().manual_seed(0))
    ids = ids.to(config.device)
    jobs = _jobs(config, model, dense, ids)
    for job in jobs.values():
        job()
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    contention = ContentionMeter()
    for place in track(range(config.rounds), "Rounds"):
        names = list(jobs) if place % 2 == 0 else list(jobs)[::-1]
        for name in names:
            gc.collect()
            seconds[name].append(_timed(jobs[name]))
    nested: dict[str, dict[str, list[float]]] = {work: {} for work in WORK}
    for name, times in seconds.items():
        work, _, how = name.partition("/")
        nested[work][how] = times
    return {"seconds": nested, "contention": contention.read(), "product_teraflops": _product_speed(dtype, config.device)}


def _models(config: BenchConfig, dtype: torch.dtype) -> tuple[DeepseekForCausalLM, DeepseekForCausalLM]:
    shared = {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": max(1, config.width // 64),
        "first_k_dense_replace": 0,
        "max_position_embeddings": config.length + config.decoded,
        "bos_token_id": 0,
        "eos_token_id": None,
    }
    mixture = {
        "n_routed_experts": config.experts,
        "num_experts_per_tok": config.chosen,
        "n_shared_experts": config.shared or None,
        "moe_intermediate_size": config.expert_width,
    }
    dense = {"n_routed_experts": None, "intermediate_size": (config.shared + config.chosen) * config.expert_width}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = [DeepseekForCausalLM(DeepseekConfig(**shared, **own)) for own in (mixture, dense)]
    both = [model.to(dtype=dtype, device=config.device).train() for model in found]  # pyright: ignore
    return both[0], both[1]


def _jobs(
    config: BenchConfig, model: DeepseekForCausalLM, dense: DeepseekForCausalLM, ids: Tensor
) -> dict[str, Callable[[], None]]:
    """Everything that is timed, as `work/implementation`."""
    jobs: dict[str, Callable[[], None]] = {}
    for how in (SORTED, *config.peers, DENSE):
        backend, target = (None, dense) if how == DENSE else (how, model)
        if how != "batched_mm":
            jobs[f"training/{how}"] = lambda target=target, backend=backend: _train(target, backend, ids)
            jobs[f"inference/{how}"] = lambda target=target, backend=backend: _infer(target, backend, ids)
        jobs[f"decoding/{how}"] = lambda target=target, backend=backend: _decode(target, backend, ids, config.decoded)
    return jobs


def _set(model: DeepseekForCausalLM, backend: str | None) -> None:
    if backend is not None:
        model.set_experts_implementation(backend)


def _train(model: DeepseekForCausalLM, backend: str | None, ids: Tensor) -> None:
    _set(model, backend)
    model.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    assert loss is not None
    loss.backward()


@torch.no_grad()
def _infer(model: DeepseekForCausalLM, backend: str | None, ids: Tensor) -> None:
    _set(model, backend)
    model(input_ids=ids, use_cache=False)


@torch.no_grad()
def _decode(model: DeepseekForCausalLM, backend: str | None, ids: Tensor, count: int) -> None:
    """Greedy, one sequence, from a prompt of 8 tokens."""
    _set(model, backend)
    found = model(input_ids=ids[:1, :8], use_cache=True)
    for _ in range(count):
        token = found.logits[:, -1:].argmax(-1)
        found = model(input_ids=token, past_key_values=found.past_key_values, use_cache=True)


def _timed(job: Callable[[], Any]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = perf_counter()
    job()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - start


def _product_speed(dtype: torch.dtype, device: str) -> float:
    """TFLOP/s of one large matrix product here: what utilisation is measured against."""
    size = 8192 if device == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    times = [_timed(lambda: left @ right) for _ in range(6)]
    return 2 * size**3 / min(times[1:]) / 1e12


def _ratios(config: BenchConfig, seconds: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    tokens = {"training": config.batch_size * config.length, "decoding": config.decoded}
    tokens["inference"] = tokens["training"]
    found: dict[str, Any] = {}
    for work, times in seconds.items():
        ours = times[SORTED]
        row: dict[str, Any] = {
            "tokens_per_second": {how: tokens[work] / geometric_mean(each) for how, each in times.items()}
        }
        for how, each in times.items():
            if how != SORTED:
                ratio = geometric_mean_ratio([b / a for a, b in zip(ours, each, strict=True)], ["round"] * len(each))
                key = "fraction_of_dense" if how == DENSE else f"speedup_{how}"
                row[key] = {"value": ratio.value, "ci": ratio.interval}
        found[work] = row
    return found


def _least(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The smallest of a ratio over the types of weights: what holds for all of them."""
    values = [row[key]["value"] for row in rows if key in row]
    return min(values) if values else None


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = []
    for dtype, works in metrics["types"].items():
        for work, row in works.items():
            speeds = row["tokens_per_second"]
            ratios = ", ".join(
                f"{key.removeprefix('speedup_')} {each['value']:.2f}x ({each['ci'][0]:.2f} to {each['ci'][1]:.2f})"
                for key, each in row.items()
                if key != "tokens_per_second"
            )
            lines.append(f"{dtype} {work:10} {speeds[SORTED]:9.0f} tokens/s; beside {ratios}")
        part = metrics["teraflops"][dtype] / metrics["product_teraflops"][dtype]
        lines.append(f"{dtype} training uses {part:.0%} of what one large matrix product reaches here")
    if metrics["contention"]:
        lines.append(f"other programs took {metrics['contention']:.0%} of the machine")
    return "\n".join(lines)
