"""Which plan loses least? Blends of signals compete on text of their own, first on little of it, the better half on more.

Uniform and every pure signal are always among the candidates, so the search can fall back on them. The text decides only
here: it is neither calibration text nor text that a result is reported on.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tenfold.systems.activation.allocate import Plan, allocate, uniform

PURE_STRENGTHS = (0.05, 0.1)
STRENGTHS = (0.02, 0.15)
KEPT = 3
"""One in so many candidates goes on to the next round."""

Measure = Callable[[Plan, int], float]
"""(plan, round from 0) -> loss; a later round measures on more text."""


def candidates(
    sparsity: float, signals: Mapping[str, Sequence[float]], sizes: Sequence[int], count: int, *, seed: int
) -> list[Plan]:
    """`count` plans: uniform, each signal alone, and seeded blends for the rest."""
    found = [uniform(sparsity, len(sizes))]
    for strength in PURE_STRENGTHS:
        for name in signals:
            found.append(allocate(f"{name} {strength}", sparsity, {name: 1.0}, signals, strength, sizes))
    generator = np.random.default_rng(seed)
    while len(found) < count:
        blend = dict(zip(signals, generator.normal(size=len(signals)).round(3).tolist(), strict=True))
        strength = round(float(np.exp(generator.uniform(*np.log(STRENGTHS)))), 4)
        found.append(allocate(f"blend {len(found)}", sparsity, blend, signals, strength, sizes))
    return found[: max(count, 1)]


def halve(plans: Sequence[Plan], measure: Measure, rounds: int) -> Plan:
    """The best plan: every round keeps the best third, and the first plan, and measures them on more text."""
    alive = list(plans)
    for number in range(rounds):
        losses = {plan.name: measure(plan, number) for plan in alive}
        ranked = sorted(alive, key=lambda plan: losses[plan.name])
        kept = ranked[: max(1, -(-len(ranked) // KEPT))]
        if number + 1 == rounds:
            return ranked[0]
        alive = kept if plans[0] in kept else [*kept, plans[0]]
    return alive[0]
