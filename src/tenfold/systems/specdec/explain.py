"""The verbs `calibrate` and `explain`: what passes cost here, and which draft length that makes fastest."""

# alpha: acceptance, the same at every position; R(k): cost of a pass of k tokens in plain passes
from pydantic import Field

from tenfold.core.config import Config
from tenfold.core.errors import UserError
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.nn.models import Dtype
from tenfold.store import environment
from tenfold.store.runs import Run
from tenfold.systems.specdec import cost_model
from tenfold.systems.specdec.cost_model import CostModel

ALPHAS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)


class CalibrateConfig(Config):
    """Measure what passes of 1 to 16 tokens cost on this machine, and keep it."""

    model: str = "smollm2"
    """Model: smollm2, a folder, a .gguf file or a hub id."""
    dtype: Dtype = "auto"
    """Weights: auto (as stored), bf16 or fp32."""


class ExplainConfig(CalibrateConfig):
    """Show which draft length is fastest here for each acceptance, and why."""

    length: int = Field(default=256, ge=1)
    """Cached tokens: passes over longer texts cost more."""
    draft_cost: float = Field(default=0.0, ge=0)
    """Cost c of a drafted token in plain passes; look-up drafters have about 0."""


def calibrate(config: CalibrateConfig, run: Run) -> Metrics:
    """Measures and keeps the cost model.

    Raises:
        UserError: other programs are using the machine, so that times would mean nothing.
    """
    loaded = models.load(config.model, dtype=config.dtype)
    measured = cost_model.calibrate(loaded.engine, cost_model.identity(loaded))
    if environment.is_contended(measured.contention):
        used, accepted = measured.contention, environment.MOST_CONTENTION
        raise UserError(f"other programs used {used:.0%} of the machine; calibration accepts {accepted:.0%}, try later")
    cost_model.keep(measured)
    return measured.model_dump(mode="json") | {"kept_at": str(cost_model.kept_at(measured.identity))}


def describe_costs(metrics: Metrics) -> str:
    """R(k) by cached length, for a person."""
    lines = [metrics["identity"], "milliseconds of a pass, and R(k), by number of tokens:"]
    for length, row in zip(metrics["lengths"], metrics["pass_times"], strict=True):
        shown = [1, 2, 4, 6, 8, 12, 16]
        costs = "  ".join(f"{k}: {row[k - 1]:.1f} ({row[k - 1] / row[0]:.2f})" for k in shown)
        lines.append(f"{length:>6} cached  {costs}")
    return "\n".join(lines)


def explain(config: ExplainConfig, run: Run) -> Metrics:
    """The predicted speed-up of every draft length at several acceptances."""
    costs = cost_model.load_or_calibrate(models.load(config.model, dtype=config.dtype))
    table = {str(alpha): _row(costs, alpha, config) for alpha in ALPHAS}
    return {"identity": costs.identity, "length": config.length, "draft_cost": config.draft_cost, "predicted_speedup": table}


def predicted_speedup(costs: CostModel, alpha: float, num_draft: int, *, length: int, draft_cost: float = 0.0) -> float:
    """S = tau / (gamma c + R(gamma + 1)) with tau = 1 + alpha + ... + alpha^gamma (survey, section 5)."""
    expected_tokens = sum(alpha**position for position in range(num_draft + 1))
    return expected_tokens / (num_draft * draft_cost + costs.relative_cost(num_draft + 1, length))


def describe_choice(metrics: Metrics) -> str:
    """The best length per acceptance with its neighbours, for a person."""
    lines = [metrics["identity"], f"predicted speed-up over plain decoding at {metrics['length']} cached tokens:"]
    for alpha, row in metrics["predicted_speedup"].items():
        best = max(range(len(row)), key=row.__getitem__)
        shown = sorted({0, 1, 2, 3, 5, 7, 11, 15, best} & set(range(len(row))))
        values = "  ".join(f"{'*' if k == best else ''}{k}: {row[k]:.2f}" for k in shown)
        verdict = "drafting does not pay" if best == 0 else f"check {best}"
        lines.append(f"acceptance {alpha:<4}  {values}   -> {verdict}")
    return "\n".join(lines)


def _row(costs: CostModel, alpha: float, config: ExplainConfig) -> list[float]:
    lengths = range(costs.most_tokens)
    return [predicted_speedup(costs, alpha, k, length=config.length, draft_cost=config.draft_cost) for k in lengths]
