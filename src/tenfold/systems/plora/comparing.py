"""The verb `compare`: LoRA, PeriodicLoRA, ReLoRA, a wide LoRA and full fine-tuning in one table.

Every training is a unit in a process of its own, recorded as a row of the run: a killed comparison goes on with
--resume, the finished units are not repeated, and the one that was cut off goes on from its checkpoint.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenfold.core.records import Metrics
from tenfold.store.runs import Run
from tenfold.systems.plora.ability import mean_loss
from tenfold.systems.plora.material import data_name
from tenfold.systems.plora.methods import interval_of, num_stages
from tenfold.systems.plora.outcome import outcome
from tenfold.systems.plora.profiles import CompareConfig
from tenfold.systems.plora.unit import BASE, Unit, run_apart

Measure = Callable[[CompareConfig, Unit, Path], dict[str, Any]]


def compare(config: CompareConfig, run: Run, *, measure: Measure = run_apart) -> Metrics:
    """Trains and measures every unit, then puts the methods beside each other.

    Args:
        measure: (settings, unit, folder) -> row; by default in a fresh process.
    """
    if config.minutes and not run.rows:
        print(f"about {config.minutes:g} minutes on two quiet cores; after a kill --resume goes on", file=sys.stderr)
    base = _row(run, config, Unit(BASE), measure)
    tried = {method: _try_rates(run, config, method, measure) for method in config.methods}
    rates = {method: min(losses, key=losses.__getitem__) for method, losses in tried.items()}
    chosen = {
        method: [_row(run, config, Unit(method, rates[method], seed), measure) for seed in config.seeds]
        for method in config.methods
    }
    num_rows = base["rows"]
    return {
        "model": config.model,
        "data": data_name(config),
        "profile": config.profile,
        "rank_of_a_pair": config.rank,
        "stages": num_stages(config, num_rows),
        "interval": interval_of(config, num_rows),
        "dev_loss_by_rate": {
            method: {f"{rate:g}": loss for rate, loss in losses.items()} for method, losses in tried.items()
        },
    } | outcome(base, chosen)


def _try_rates(run: Run, config: CompareConfig, method: str, measure: Measure) -> dict[float, float]:
    """The dev loss at each rate under the first seed."""
    units = [Unit(method, rate, config.seeds[0]) for rate in config.rates(method)]
    rows = [_row(run, config, unit, measure) for unit in units]
    return {row["rate"]: mean_loss([row["dev"]["nats"]], row["dev"]["tokens"]) for row in rows}


def _row(run: Run, config: CompareConfig, unit: Unit, measure: Measure) -> dict[str, Any]:
    """The row of a unit, measured unless the run holds it already."""
    if unit.key not in run.rows:
        print(f"unit {len(run.rows) + 1} of {config.num_units + 1}: {unit.key}", file=sys.stderr)
        folder = run.folder / "units" / unit.key
        folder.mkdir(parents=True, exist_ok=True)
        run.add(unit.key, measure(config, unit, folder))
        run.log(f"unit {unit.key}")
    return run.rows[unit.key]


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"{metrics['model']} on {metrics['rows']} rows of {metrics['data']}: {metrics['steps']} steps, "
        f"{metrics['stages']} stages of rank {metrics['rank_of_a_pair']}; untrained dev loss {metrics['base']['dev']:.4f}",
        f"{'':<32}{'probe loss':>11}{'dev loss':>10}{'LA probe':>10}{'LA dev':>8}{'rank':>7}{'s/step':>8}{'MB':>7}",
        *(_line(line) for line in metrics["methods"]),
    ]
    return "\n".join(lines)


def _line(line: dict[str, Any]) -> str:
    memory = line["peak_device_bytes"] or line["peak_anonymous_bytes"]
    abilities = [line["learning_ability"][name] for name in ("train_probe", "dev")]
    return (
        f"{line['title']:<32}{line['train_probe_loss']:>11.4f}{line['dev_loss']:>10.4f}"
        f"{_value(abilities[0]):>10}{_value(abilities[1]):>8}{line['rank']:>7.1f}{line['seconds_per_step']:>8.2f}"
        f"{'-' if memory is None else f'{memory / 1e6:.0f}':>7}"
    )


def _value(ability: dict[str, Any] | None) -> str:
    return "n/a" if ability is None else f"{ability['value']:.2f}"
