"""From a model's log-probabilities of three verdicts to one calibrated score and a decision.

    score = p(unsafe) + w p(controversial), w = 0 loose, 1/2, 1 strict
    temperature   p = softmax(logp / T), T by maximum likelihood
    contextual    the mean log-probability of content-free texts is subtracted first (Zhao et al. 2021)
    batch         the mean log-probability of the calibration items is subtracted first (Zhou et al. 2023)
    isotonic      the rising step line nearest to the labels, over the score

Thresholds are kept per stratum (language, with or without rules) and bound to the hashes of model, prompt and pack.
"""

# N items, three labels: safe, unsafe, controversial
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import ConfigError
from tenfold.evals.statistics import Isotonic, Temperature
from tenfold.systems.shieldlm.calibrate import Thresholds, block_threshold, fit_thresholds
from tenfold.systems.shieldlm.items import LABELS

Method = Literal["none", "temperature", "isotonic"]
Prior = Literal["none", "contextual", "batch"]
WEIGHTS: Mapping[str, float] = {"loose": 0.0, "even": 0.5, "strict": 1.0}
CONTENT_FREE = ("N/A", "...", "[MASK]")
Floats = NDArray[np.float64]


class Limits(Config):
    """The thresholds of one stratum, and what they promise."""

    allow_below: float
    """Scores below are allowed."""
    block_above: float
    """Scores above are blocked."""
    alpha: float
    """Promised share of safe items that are blocked."""
    beta: float
    """Promised share of unsafe items that are allowed."""
    num_safe: int
    """Safe items they were fitted on."""
    num_unsafe: int
    """Unsafe items they were fitted on."""
    safe_scores: tuple[float, ...] = ()
    """Scores of the safe items, rising, so that a request can ask for another alpha."""

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.allow_below, self.block_above)

    def at(self, alpha: float) -> Thresholds:
        """The thresholds with another promise about safe items.

        Raises:
            ConfigError: too few safe items for that rate.
        """
        high = block_threshold(self.safe_scores, alpha)
        return Thresholds(min(self.allow_below, high), high)


class Calibrator(Config):
    """Score and decision; `fit` makes one, JSON keeps it."""

    method: Method = "none"
    """temperature, isotonic or none."""
    prior: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted from the log-probabilities."""
    temperature: float = 1.0
    """Divides them."""
    steps: Isotonic | None = None
    """Over the score, for isotonic."""
    weight: float = Field(0.5, ge=0, le=1)
    """Of p(controversial) in the score: 0 loose, 1 strict."""
    limits: dict[str, Limits] = Field(default_factory=dict)
    """Thresholds by stratum."""
    stream_limits: dict[str, Limits] = Field(default_factory=dict)
    """The same for streams, fitted on the highest score among a response's probes."""
    bound_to: dict[str, str] = Field(default_factory=dict)
    """Hashes of the model, prompt and pack under which it was fitted."""

    @classmethod
    def fit(
        cls,
        logp_N3: ArrayLike,
        unsafe: Sequence[bool],
        *,
        method: Method = "temperature",
        prior: Prior = "none",
        content_free_N3: ArrayLike | None = None,
        weight: float = 0.5,
        bound_to: Mapping[str, str] | None = None,
    ) -> "Calibrator":
        """Fits the map of the scores; thresholds come with `with_limits`.

        Raises:
            ConfigError: all labels are equal, or prior is contextual and content_free_N3 is missing.
        """
        if len(set(unsafe)) < 2:
            raise ConfigError(f"all {len(unsafe)} labels are equal; give safe and unsafe items")
        logps, unsafe_N = np.asarray(logp_N3, float), np.asarray(unsafe, bool)
        shift = _prior(prior, logps, content_free_N3)
        scale = 1.0
        if method == "temperature":
            scale = Temperature.fit(_binary(logps - shift, weight), unsafe_N.astype(int)).temperature
        fitted = cls(method=method, prior=shift, temperature=scale, weight=weight, bound_to=dict(bound_to or {}))
        if method != "isotonic":
            return fitted
        return fitted.model_copy(update={"steps": Isotonic.fit(fitted.scores(logps), unsafe_N)})

    def probabilities(self, logp_N3: ArrayLike) -> Floats:
        """(N, 3) calibrated probabilities of the labels."""
        logits = (np.asarray(logp_N3, float) - np.asarray(self.prior)) / self.temperature
        share = np.exp(logits - logits.max(-1, keepdims=True))
        return share / share.sum(-1, keepdims=True)

    def scores(self, logp_N3: ArrayLike) -> Floats:
        """(N,) scores in [0, 1]."""
        share_N3 = self.probabilities(logp_N3)
        score_N = share_N3[..., 1] + self.weight * share_N3[..., 2]
        return score_N if self.steps is None else self.steps.apply(score_N)

    def score(self, logps: Mapping[str, float]) -> float:
        """The score of one item from its log-probabilities by label."""
        return float(self.scores([[logps[label] for label in LABELS]])[0])

    def with_limits(
        self,
        stratum: str,
        scores: ArrayLike,
        unsafe: Sequence[bool],
        *,
        alpha: float,
        beta: float,
        delta: float | None = None,
        stream: bool = False,
    ) -> "Calibrator":
        """The same with thresholds for a stratum, from items that the map was not fitted on.

        Raises:
            ConfigError: too few items; the message says how many are needed.
        """
        score_N, unsafe_N = np.asarray(scores, float), np.asarray(unsafe, bool)
        fitted = fit_thresholds(score_N[~unsafe_N], score_N[unsafe_N], alpha=alpha, beta=beta, delta=delta)
        found = Limits(
            allow_below=fitted.allow_below,
            block_above=fitted.block_above,
            alpha=alpha,
            beta=beta,
            num_safe=int((~unsafe_N).sum()),
            num_unsafe=int(unsafe_N.sum()),
            safe_scores=tuple(sorted(score_N[~unsafe_N].tolist())),
        )
        name = "stream_limits" if stream else "limits"
        return self.model_copy(update={name: {**getattr(self, name), stratum: found}})

    def thresholds(self, stratum: str, *, stream: bool = False, alpha: float | None = None) -> Thresholds:
        """The thresholds of a stratum; one half where it has none.

        Raises:
            ConfigError: another alpha is asked for, and the stratum has no calibration or too few items.
        """
        limits = (self.stream_limits if stream else self.limits).get(stratum)
        if limits is None and alpha is not None:
            raise ConfigError(f"no thresholds for {stratum!r}, so alpha cannot be chosen; calibrate the guard first")
        if limits is None:
            return Thresholds(0.5, 0.5)
        return limits.thresholds if alpha is None else limits.at(alpha)

    def check_bound(self, actual: Mapping[str, str]) -> None:
        """Raises ConfigError if it was fitted under another model, prompt or pack."""
        for name, value in self.bound_to.items():
            if name in actual and actual[name] != value:
                raise ConfigError(
                    f"the thresholds were fitted under another {name} ({value}, now {actual[name]}); calibrate again"
                )


def stratum(lang: str, has_rules: bool) -> str:
    """The name of a stratum."""
    return f"{lang}+rules" if has_rules else lang


def _prior(kind: Prior, logp_N3: Floats, content_free_N3: ArrayLike | None) -> tuple[float, float, float]:
    if kind == "none":
        return (0.0, 0.0, 0.0)
    if kind == "contextual" and content_free_N3 is None:
        raise ConfigError("prior contextual needs the scores of content-free texts; score them first")
    mean: Any = np.asarray(content_free_N3 if kind == "contextual" else logp_N3, float).mean(0)
    return tuple(mean.tolist())


def _binary(logp_N3: Floats, weight: float) -> Floats:
    """Two classes for the fit: controversial goes to unsafe where its weight is at least one half, else to safe."""
    safe_N, unsafe_N, both_N = logp_N3.T
    if weight >= 0.5:
        return np.stack([safe_N, np.logaddexp(unsafe_N, both_N)], axis=1)
    return np.stack([np.logaddexp(safe_N, both_N), unsafe_N], axis=1)
