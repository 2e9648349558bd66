"""Statistics of evaluations, on numpy alone: intervals, paired tests, rates corrected for a judge's errors.

Files: `estimate` (a value with its interval), `ratios` (geometric means), `bootstrap` (resampling whole clusters),
`paired` (two systems on the same items), `harm` (non-inferiority), `proportions` (rates from few or imperfect
labels), `sample_sizes`, `calibration` (probabilities that mean what they say), `columns` (refuses missing values).
"""

from tenfold.evals.statistics.bootstrap import cluster_bootstrap, cluster_mean, cluster_ratio
from tenfold.evals.statistics.calibration import (
    Bin,
    Calibration,
    Isotonic,
    Platt,
    Temperature,
    expected_calibration_error,
    read_calibration,
    reliability,
)
from tenfold.evals.statistics.estimate import Estimate
from tenfold.evals.statistics.harm import NonInferiority, non_inferiority, tango_lower, tango_upper
from tenfold.evals.statistics.paired import holm, mcnemar, sign_flip
from tenfold.evals.statistics.proportions import kappa, prediction_powered, rogan_gladen, wilson
from tenfold.evals.statistics.ratios import NUM_RESAMPLES, SINGLES, geometric_mean, geometric_mean_ratio
from tenfold.evals.statistics.sample_sizes import (
    design_effect,
    items_for_half_width,
    items_for_mcnemar,
    items_for_non_inferiority,
)

__all__ = [
    "NUM_RESAMPLES",
    "SINGLES",
    "Bin",
    "Calibration",
    "Estimate",
    "Isotonic",
    "NonInferiority",
    "Platt",
    "Temperature",
    "cluster_bootstrap",
    "cluster_mean",
    "cluster_ratio",
    "design_effect",
    "expected_calibration_error",
    "geometric_mean",
    "geometric_mean_ratio",
    "holm",
    "items_for_half_width",
    "items_for_mcnemar",
    "items_for_non_inferiority",
    "kappa",
    "mcnemar",
    "non_inferiority",
    "prediction_powered",
    "read_calibration",
    "reliability",
    "rogan_gladen",
    "sign_flip",
    "tango_lower",
    "tango_upper",
    "wilson",
]
