"""From the rows of a benchmark run to its metrics and its summary: paired speed-ups with intervals, acceptance, identity.

A ratio is (baseline's seconds per token) / (our seconds per token) on one prompt; where both gave equally many tokens that
is the ratio of their times. End to end includes the prompt's pass; decode-only leaves it out.
"""

from collections.abc import Callable, Sequence
from typing import Any

from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.evals.statistics import geometric_mean, geometric_mean_ratio
from tenfold.store.environment import is_contended
from tenfold.systems.specdec.methods import OTHER_DRAFTER, OURS, PLAIN
from tenfold.systems.specdec.rounds import Round, acceptance_by_position, draft_precision, mean_accepted_tokens

Row = dict[str, Any]
PROMPT_LOOKUP = "transformers-pld"


def metrics(rows: Sequence[Row]) -> Metrics:
    """All metrics of a run, under the keys that the command line promises; failed prompts are counted, not averaged.

    Raises:
        UserError: not one prompt could be answered.
    """
    failures = [row for row in rows if "failure" in row]
    rows = [row for row in rows if "failure" not in row]
    if not rows:
        raise UserError(f"no prompt could be answered ({failures[0]['failure'] if failures else 'there was none'})")
    rounds = _rounds(rows)
    baselines = [name for name in rows[0]["methods"] if not _is_ours(name)]
    result: Metrics = {}
    for name in baselines:
        result |= _speedups(rows, name)
    return result | {
        "mean_accepted_tokens": mean_accepted_tokens(rounds),
        "identical_fraction": sum(row["identical"] for row in rows) / len(rows),
        "per_task": {task: _task(rows_of(rows, task), baselines) for task in tasks(rows)},
        "per_drafter": {name: _drafter(rows, name) for name in rows[0]["methods"] if _is_ours(name)},
        "prompts": len(rows),
        "failures": len(failures),
        "acceptance_by_position": acceptance_by_position(rounds),
        "draft_precision": draft_precision(rounds),
        "tokens_per_second": {name: _tokens_per_second(rows, name) for name in rows[0]["methods"]},
        "decode_tokens_per_second": {name: _tokens_per_second(rows, name, "decode_seconds") for name in rows[0]["methods"]},
        "same_text_as_ours": {name: _share_without_divergence(rows, name) for name in baselines},
        "largest_gap_at_divergence": {name: _largest_gap(rows, name) for name in baselines},
        "exactness": rows[0]["exactness"],
        "contention": _mean([row["contention"] for row in rows if row["contention"] is not None]),
        "contended_prompts": sum(is_contended(row["contention"]) for row in rows),
    }


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['prompts']} prompts, {metrics['mean_accepted_tokens']:.2f} tokens per pass, "
        f"{metrics['identical_fraction']:.1%} of the texts identical to plain decoding ({metrics['exactness']}-exact)"
    ]
    for name, speed in metrics["tokens_per_second"].items():
        key = f"speedup_vs_{name.replace('-', '_')}"
        ratio = (
            f"   ours is {metrics[key]:.2f}x (95 % {metrics[f'{key}_ci'][0]:.2f} to {metrics[f'{key}_ci'][1]:.2f})"
            if key in metrics
            else ""
        )
        lines.append(f"{name:>22} {speed:7.1f} tokens/s{ratio}")
    per_drafter = metrics.get("per_drafter", {})
    for name, record in per_drafter.items() if len(per_drafter) > 1 else ():
        low, high = record["speedup_vs_greedy_ci"]
        lines.append(
            f"{name:>22} is {record['speedup_vs_greedy']:.2f}x plain decoding ({low:.2f} to {high:.2f}), "
            f"{record['mean_accepted_tokens']:.2f} tokens per pass, {record['identical_fraction']:.0%} identical"
        )
    skipped = [f"{name:>22} skipped: {reason}" for name, reason in metrics.get("skipped_baselines", {}).items()]
    return "\n".join([*lines, *skipped, *_contention_warning(metrics)])


def tasks(rows: Sequence[Row]) -> list[str]:
    """The subtasks in the order of their first row."""
    return list(dict.fromkeys(row["subtask"] for row in rows))


def rows_of(rows: Sequence[Row], task: str) -> list[Row]:
    """The rows of one subtask."""
    return [row for row in rows if row["subtask"] == task]


def ratios(rows: Sequence[Row], baseline: str, clock: str = "seconds", *, method: str = OURS) -> list[float]:
    """Per prompt: the baseline's seconds per token over the method's. Prompt lookup: its better n-gram per subtask."""
    if baseline != PROMPT_LOOKUP or f"{PROMPT_LOOKUP}3" not in rows[0]["methods"]:
        return [_per_token(row, baseline, clock) / _per_token(row, method, clock) for row in rows]
    best = {task: _better_lookup(rows_of(rows, task), clock) for task in tasks(rows)}
    return [_per_token(row, best[row["subtask"]], clock) / _per_token(row, OURS, clock) for row in rows]


def _better_lookup(rows: Sequence[Row], clock: str) -> str:
    speed: Callable[[str], float] = lambda name: geometric_mean([_per_token(row, name, clock) for row in rows])  # noqa: E731
    return min((PROMPT_LOOKUP, f"{PROMPT_LOOKUP}3"), key=speed)


def _speedups(rows: Sequence[Row], baseline: str) -> Metrics:
    key = "speedup_vs_" + baseline.replace("-", "_")
    strata = [row["subtask"] for row in rows]
    whole = geometric_mean_ratio(ratios(rows, baseline), strata)
    decode = geometric_mean_ratio(ratios(rows, baseline, "decode_seconds"), strata)
    prefill = [_prefill(row, baseline) / _prefill(row, OURS) for row in rows]
    return {
        key: whole.value,
        f"{key}_ci": whole.interval,
        f"{key}_decode": decode.value,
        f"{key}_decode_ci": decode.interval,
        f"{key}_prefill": geometric_mean(prefill),
    }


def _is_ours(method: str) -> bool:
    return method == OURS or method.startswith(OTHER_DRAFTER)


def _drafter(rows: Sequence[Row], method: str) -> Metrics:
    """One of our drafters beside plain decoding."""
    speedup = geometric_mean_ratio(ratios(rows, PLAIN, method=method), [row["subtask"] for row in rows])
    return {
        "speedup_vs_greedy": speedup.value,
        "speedup_vs_greedy_ci": speedup.interval,
        "mean_accepted_tokens": _mean_accepted(rows, method),
        "identical_fraction": _share_without_divergence(rows, method),
        "per_task": {
            task: {
                "speedup_vs_greedy": geometric_mean(ratios(rows_of(rows, task), PLAIN, method=method)),
                "mean_accepted_tokens": _mean_accepted(rows_of(rows, task), method),
            }
            for task in tasks(rows)
        },
    }


def _task(rows: Sequence[Row], baselines: Sequence[str]) -> Metrics:
    result: Metrics = {"prompts": len(rows), "mean_accepted_tokens": mean_accepted_tokens(_rounds(rows))}
    for name in baselines:
        result |= _speedups(rows, name)
    return result


def _prefill(row: Row, method: str) -> float:
    return max(row["methods"][method]["prefill_seconds"], 1e-9)


def _per_token(row: Row, method: str, clock: str) -> float:
    """Seconds per token; without decoding (a single token) the decode clock has nothing to time and counts as whole time."""
    record = row["methods"][method]
    seconds = record[clock] if record["new_tokens"] > 1 else record["seconds"]
    return max(seconds, 1e-9) / max(record["new_tokens"], 1)


def _tokens_per_second(rows: Sequence[Row], method: str, clock: str = "seconds") -> float:
    records = [row["methods"][method] for row in rows]
    return sum(record["new_tokens"] for record in records) / max(sum(record[clock] for record in records), 1e-9)


def _share_without_divergence(rows: Sequence[Row], method: str) -> float:
    return sum(row["divergence"][method] is None for row in rows) / len(rows)


def _largest_gap(rows: Sequence[Row], method: str) -> float | None:
    gaps = [row["divergence"][method]["gap"] for row in rows if row["divergence"][method]]
    return max(gaps, default=None)


def _rounds(rows: Sequence[Row]) -> list[Round]:
    return [Round("", drafted, accepted, emitted, 0.0, 0.0) for row in rows for drafted, accepted, emitted in row["rounds"]]


def _mean_accepted(rows: Sequence[Row], method: str) -> float:
    """Emitted tokens per target pass over all rows."""
    records = [row["methods"][method] for row in rows]
    emitted = sum(record["rounds"] * record["mean_accepted_tokens"] for record in records)
    return emitted / max(sum(record["rounds"] for record in records), 1)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _contention_warning(metrics: Metrics) -> list[str]:
    share, contended = metrics["contention"], metrics.get("contended_prompts", 0)
    if is_contended(share):
        return [f"other programs used {share:.0%} of the machine: these times are not valid, run again on a quiet one"]
    return [f"{contended} of {metrics['prompts']} prompts were timed beside other programs"] if contended else []
