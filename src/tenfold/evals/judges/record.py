"""How a judge agrees with labels, and the bands chosen on a calibration split; kept as JSON beside what it judged.

A band is the narrowest one (it passes on the fewest) for which the share of right labels among what the stage settles
meets a target on the calibration split. Each later stage is calibrated on what the earlier ones passed on.
"""

# N items, L candidate lower ends, H candidate upper ends
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.evals.judges.judgement import ALWAYS_PASSES, EVEN, NEVER_PASSES, Band, is_positive
from tenfold.evals.statistics import kappa

MAX_ENDS = 400


class Agreement(Config):
    """A judge's labels against true ones. A rate without items is None."""

    num_items: int
    """Items with both labels."""
    true_positives: int
    """Judged positive, and are."""
    false_positives: int
    """Judged positive, and are not."""
    false_negatives: int
    """Judged negative, and are positive."""
    true_negatives: int
    """Judged negative, and are."""
    accuracy: float | None
    """Share of right labels."""
    kappa: float | None
    """Cohen's kappa."""
    sensitivity: float | None
    """Share of the positive that are judged so."""
    specificity: float | None
    """Share of the negative that are judged so."""

    @classmethod
    def of(cls, judged: Sequence[bool], labels: Sequence[bool]) -> Self:
        """Counts and rates of two lists of labels."""
        pairs = list(zip(map(bool, judged), map(bool, labels), strict=True))
        tp, fp, fn, tn = (pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False)))
        return cls(
            num_items=len(pairs),
            true_positives=tp,
            false_positives=fp,
            false_negatives=fn,
            true_negatives=tn,
            accuracy=_share(tp + tn, len(pairs)),
            kappa=kappa(*zip(*pairs, strict=True)) if pairs else None,
            sensitivity=_share(tp, tp + fn),
            specificity=_share(tn, tn + fp),
        )


class StageRecord(Config):
    """One stage on the calibration split."""

    stage: str
    """Its name."""
    agreement: Agreement
    """On all items that reached it and of which it said something."""
    band: Band
    """Where it passes on."""
    reached: int
    """Items that reached it."""
    settled: Agreement
    """On what it settles."""


class CalibrationRecord(Config):
    """A calibrated cascade."""

    target: float
    """The share of right labels that every stage but the last must reach among what it settles."""
    stages: tuple[StageRecord, ...]
    """In their order."""
    agreement: Agreement
    """Of the whole cascade on the calibration split."""

    @property
    def bands(self) -> dict[str, Band]:
        """The band of each stage, for `Cascade`."""
        return {stage.stage: stage.band for stage in self.stages}


def choose_band(probabilities: Sequence[float], labels: Sequence[bool], *, target: float, least_settled: int = 20) -> Band:
    """The band outside of which most items lie while at least `target` of them are right.

    Args:
        least_settled: with fewer settled than this, the stage passes everything on: the share would mean nothing.
    """
    p_N, label_N = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=bool)
    lows_L, highs_H = _ends(p_N[p_N <= EVEN], 0.0), _ends(p_N[p_N >= EVEN], 1.0)
    below_N, above_N = np.sort(p_N), np.sort(p_N)
    settled_L = np.searchsorted(below_N, lows_L, side="left")
    settled_H = len(p_N) - np.searchsorted(above_N, highs_H, side="right")
    right_L = np.searchsorted(np.sort(p_N[~label_N]), lows_L, side="left")
    right_H = label_N.sum() - np.searchsorted(np.sort(p_N[label_N]), highs_H, side="right")
    settled_LH, right_LH = settled_L[:, None] + settled_H, right_L[:, None] + right_H
    meets_LH = (right_LH >= target * settled_LH) & (settled_LH >= least_settled)
    if not meets_LH.any():
        return ALWAYS_PASSES
    best = np.argmax(np.where(meets_LH, settled_LH + right_LH / (len(p_N) + 1), -1.0))
    low, high = np.unravel_index(best, meets_LH.shape)
    return Band(float(lows_L[low]), float(highs_H[high]))


def calibrate(
    stages: Mapping[str, Sequence[float | None]], labels: Sequence[bool], *, target: float, least_settled: int = 20
) -> CalibrationRecord:
    """Chooses the stages' bands one after the other; the last stage settles whatever reaches it.

    Args:
        stages: each stage's probability of every item of the calibration split; None where it says nothing.

    Raises:
        ConfigError: there is no stage, or one has not a probability (or None) for each label.
    """
    odd = {name: len(probabilities) for name, probabilities in stages.items() if len(probabilities) != len(labels)}
    if odd or not stages:
        raise ConfigError(f"got {len(labels)} labels and stages of {odd or 'no'} entries; give each one entry per label")
    last = list(stages)[-1]
    open_items, judged = list(range(len(labels))), {}
    records = []
    for name, probabilities in stages.items():
        known = {i: p for i in open_items if (p := probabilities[i]) is not None}
        band = NEVER_PASSES
        if name != last:
            band = choose_band(list(known.values()), [labels[i] for i in known], target=target, least_settled=least_settled)
        settled = {i: p for i, p in known.items() if not band.holds(p)}
        records.append(_stage_record(name, known, settled, band, len(open_items), labels))
        judged.update(known)
        open_items = [i for i in open_items if i not in settled]
    return CalibrationRecord(target=target, stages=tuple(records), agreement=_agreement(judged, labels))


def _stage_record(
    name: str, known: Mapping[int, float], settled: Mapping[int, float], band: Band, reached: int, labels: Sequence[bool]
) -> StageRecord:
    return StageRecord(
        stage=name,
        agreement=_agreement(known, labels),
        band=band,
        reached=reached,
        settled=_agreement(settled, labels),
    )


def _agreement(probabilities: Mapping[int, float], labels: Sequence[bool]) -> Agreement:
    return Agreement.of([is_positive(p) for p in probabilities.values()], [labels[i] for i in probabilities])


def _ends(values: NDArray[np.float64], outer: float) -> NDArray[np.float64]:
    """Candidate ends of a band on one side: every value, thinned to quantiles where there are many."""
    distinct = np.unique(np.concatenate([values, [EVEN, outer]]))
    if len(distinct) <= MAX_ENDS:
        return distinct
    kept = np.unique(np.quantile(values, np.linspace(0, 1, MAX_ENDS), method="nearest"))
    return np.unique(np.concatenate([kept, [EVEN, outer]]))


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
