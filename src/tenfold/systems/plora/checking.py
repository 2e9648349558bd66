"""The verb `verify`: does a run still hold what it says? Four checks, each against something written at another time.

chain       every stage file carries the checksum of the file before it
base        the model's weights have the checksums of those that were trained on
weights     base and stages, folded again, give the very bytes that the run computed with at its end
function    across each unload the model's logits are the same (modes full and exact, fp32)
"""

import json

from torch import Tensor

from tenfold.core.config import Config
from tenfold.core.errors import NumericalError
from tenfold.core.records import Metrics
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.plora.deltas import DeltaLedger, LedgerError
from tenfold.systems.plora.opened import OpenedModel, OpenedRun, logits, open_finished, probe_ids
from tenfold.systems.plora.storage import extra_term
from tenfold.systems.plora.training import COMPUTE

TOLERANCE = 1e-5
"""Largest change of a logit across an unload in fp32, as a share of the largest logit."""


class VerifyConfig(Config):
    """Check a finished run of plora train: its ledger, its base, its weights and its function."""

    run: str
    """Run of plora train: a folder, its name, or a unique beginning of its name."""


def verify(config: VerifyConfig, run: Run) -> Metrics:
    """All four checks.

    Raises:
        LedgerError: the chain is broken, or the base or the weights are others.
        NumericalError: an unload changed the function by more than rounding.
    """
    opened = open_finished(config.run, run)
    count = opened.ledger.verify()
    model = opened.load()
    equal = _refold(opened, model)
    gaps = _gaps(opened, model)
    largest = max(gaps, default=0.0)
    if opened.config.dtype == "fp32" and largest > TOLERANCE:
        raise NumericalError(
            f"{opened.name}: the unload of stage {gaps.index(largest) + 1} changed a logit by {largest:.1e} of the largest, "
            f"rounding explains {TOLERANCE:.0e}"
        )
    return {
        "run": opened.name,
        "stages_in_chain": count,
        "base_matrices_equal": len(model.pairs),
        "refolded_matrices_equal": equal,
        "logit_gap_by_stage": gaps,
        "max_relative_logit_gap": largest if gaps else None,
        "mode": opened.config.unload.mode,
    }


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    gap = metrics["max_relative_logit_gap"]
    function = (
        f"not checked: mode {metrics['mode']} changes it on purpose"
        if gap is None
        else f"a logit changes by at most {gap:.1e} of the largest"
    )
    return (
        f"chain: {metrics['stages_in_chain']} stages, unbroken\n"
        f"base: {metrics['base_matrices_equal']} matrices as they were\n"
        f"weights: {metrics['refolded_matrices_equal']} matrices folded again, equal bit for bit\n"
        f"function across unloads: {function}"
    )


def _refold(opened: OpenedRun, model: OpenedModel) -> int:
    """How many matrices were folded again; all are equal."""
    path = opened.folder / COMPUTE
    if not path.exists():
        raise LedgerError(
            f"{opened.folder} has no {COMPUTE}: the run has not finished; finish it with `plora train --resume`"
        )
    known: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    model.fold(opened.ledger, {})
    found = model.base.checksums(model.pairs)
    other = [name for name in known if found.get(name) != known[name]]
    if other:
        raise LedgerError(
            f"{opened.folder}: {len(other)} of {len(known)} matrices, folded again, differ from those of the run "
            f"(the first is {other[0]}); another ledger, or a machine that multiplies differently"
        )
    return len(found)


def _gaps(opened: OpenedRun, model: OpenedModel) -> list[float]:
    """For each stage the largest change of a logit at its unload, as a share of the largest logit; none in mode paper."""
    if opened.config.unload.mode == "paper":
        return []
    ids = probe_ids(opened)
    numbers = range(1, len(opened.ledger) + 1)
    return [_gap(opened, model, ids, number) for number in track(list(numbers), "Comparing")]


def _gap(opened: OpenedRun, model: OpenedModel, ids: Tensor, number: int) -> float:
    """Before: stages below `number` folded, the whole pair live. After: stage `number` folded too, the rest live."""
    share = opened.config.unload.momentum
    before = _logits(opened, model, ids, number, folded=number - 1, live=1 / share)
    after = _logits(opened, model, ids, number, folded=number, live=(1 - share) / share)
    return float((before - after).abs().max() / before.abs().max())


def _logits(opened: OpenedRun, model: OpenedModel, ids: Tensor, number: int, *, folded: int, live: float) -> Tensor:
    """With the first stages folded, and `live` times the piece of stage `number` as a low-rank term beside them.

    Experts have no layer of their own to stand beside, so their term is added to the weight.
    """
    later = frozenset(range(folded + 1, len(opened.ledger) + 1))
    pieces = {pair.name: opened.ledger.stage_pieces(number, pair.name) for pair in model.pairs}
    terms = {name: (a, b * live) for name, some in pieces.items() for a, b in some}
    in_weights = {pair.name: terms[pair.name] for pair in model.pairs if pair.expert is not None and pair.name in terms}
    model.fold(DeltaLedger(opened.ledger.folder, dropped=later), in_weights)
    hooks = [
        pair.base.register_forward_hook(extra_term(*terms[pair.name]))
        for pair in model.pairs
        if pair.name in terms and pair.name not in in_weights
    ]
    try:
        return logits(model.model, ids)
    finally:
        for hook in hooks:
            hook.remove()
