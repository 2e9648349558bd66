"""When to unload: after which optimizer steps a stage ends.

Stages lie inside an epoch. A rest shorter than the interval is folded into the stage before it, so that each epoch's
end is an unload, and every stage is at least as long as the interval and less than twice as long; where an epoch is
shorter than that, it is one stage.
"""

from tenfold.core.errors import ConfigError


def unload_steps(total: int, per_epoch: int, interval: int) -> tuple[int, ...]:
    """The optimizer steps (from 1) after which to unload. The very last step is none: the live pair is the last piece.

    Args:
        total: optimizer steps of the whole run.
        per_epoch: optimizer steps of one epoch.
        interval: optimizer steps of a stage.

    Raises:
        ConfigError: the interval is below 1.
    """
    if interval < 1:
        raise ConfigError(f"interval is {interval}; give the number of optimizer steps in a stage, 1 or more")
    steps: list[int] = []
    for start in range(0, total, per_epoch):
        end = min(start + per_epoch, total)
        stages = max(1, (end - start) // interval)
        steps += [start + interval * number for number in range(1, stages)] + [end]
    return tuple(step for step in steps if step < total)
