"""KID and KAD: how far apart two sets are in the mean of a kernel, squared (maximum mean discrepancy).

    MMD^2 = mean_(i≠j) k(x_i, x_j) + mean_(i≠j) k(y_i, y_j) - 2 mean_ij k(x_i, y_j)

over all pairs. KID (Bińkowski et al. 2018): k = (x'y / D + 1)^3. KAD (Chung et al. 2025): k = exp(-|x - y|^2 / 2s^2), s the
median distance between two reference clips. Both are unbiased, hence comparable at any count, and about as often negative as
positive where there is no difference; copies of the reference give less than 0. Shown in thousandths, as most tables show KID,
so that two decimals hold all digits that the interval gives; `mmd2` in the details is the plain number.

Differs from the papers: KID is their estimator on all clips at once, not the mean over random subsets, which has the same
expectation and is less certain; the published "± std" over subsets is no standard error. kadtk shows KAD in hundredths, and
takes the bandwidth of the generated set, where its paper takes the reference's, as we do: it is the same for all models.

The interval is that of a U-statistic given the reference (Hoeffding 1948): 4 zeta_1 / M + 2 delta_2 / M(M-1), with unbiased
estimates of both. Where the two sets are alike only the second part is left, which the jackknife would take twice; the estimate
of the first may then come out negative, of which no more than a quarter of the second part is given way to.
"""

import math
from typing import Any

import numpy as np

from evaluation.comparison import Comparison
from evaluation.metrics.base import Metric, Undefined
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
USES = ("comparison",)
SCALE = 1000
BETWEEN_FEATURES: dict[str, Any] = {
    "version": VERSION,
    "better": "lower",
    "needs": ("features",),
    "needs_reference": ("features",),
    "minimum": 6,  # the comparison knows five neighbours of every clip
    "unit": "×10⁻³",
    "headline": False,
}
KID = Metric(
    key="v1/kid",
    name="KID",
    doc="Distance between generated and training clips by a cubic kernel, times 1,000; unbiased, 0 is perfect.",
    **BETWEEN_FEATURES,
)
KAD = Metric(
    key="v1/kad",
    name="KAD",
    doc="Distance between generated and training clips by a Gaussian kernel, times 1,000; unbiased, 0 is perfect.",
    **BETWEEN_FEATURES,
)
METRICS = (KID, KAD)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing of its own: the reference's mean kernels and the bandwidth are the comparison's."""
    KID.require(reference, "reference")
    return {}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score | Undefined]:
    """KID and KAD; KAD is undefined where the bandwidth is 0."""
    KID.require(generated)
    comparison: Comparison = prepared["comparison"]
    own, across, seconds = comparison.own_kernels, comparison.across.kernels, comparison.second_order
    known, bandwidth = comparison.prepared, comparison.bandwidth
    kid = _score(KID, comparison, float(known["cubic"]), own.cubic, across.cubic, seconds[0], {})
    if not bandwidth:
        reason = "the bandwidth is 0: half of all pairs of reference clips have the same features; the reference is degenerate"
        return [kid, Undefined(KAD.key, reason)]
    details = {"bandwidth": bandwidth}
    return [kid, _score(KAD, comparison, float(known["gaussian"]), own.gaussian, across.gaussian, seconds[1], details)]


def _score(
    metric: Metric,
    comparison: Comparison,
    real: float,
    own: np.ndarray,
    across: np.ndarray,
    second_order: float,
    details: dict[str, float],
) -> Score:
    mmd2 = real + own.mean() - 2 * across.mean()
    influence = influences(own, across)
    se = math.sqrt(variance(influence, second_order))
    return metric.score(
        SCALE * mmd2,
        normal_interval(SCALE * mmd2, SCALE * se),
        "U-statistic variance of first and second order, normal; reference held fixed",
        n_reference=len(comparison.real),
        n_generated=len(own),
        per_sample=SCALE * influence,
        details={"mmd2": float(mmd2), **details, **({"warnings": comparison.warnings} if comparison.warnings else {})},
    )


def influences(own: np.ndarray, across: np.ndarray) -> np.ndarray:
    """(M,): exactly (M - 1) times what MMD^2 loses when that clip is left out, minus the mean.

    own, across: (M,) mean kernel of each generated clip with the other generated ones, and with the real ones
    """
    m = len(own)
    witness = own * ((m - 1) / (m - 2)) - across
    return 2 * (witness - witness.mean())


def variance(influence: np.ndarray, second_order: float) -> float:
    """Of MMD^2 given the reference; the first-order part is a difference of two estimates, and may be negative by chance."""
    m = len(influence)
    first_order = standard_error(influence) ** 2 - 4 * second_order / (m * (m - 2))
    degenerate = 2 * second_order / (m * (m - 1))
    return max(first_order, -degenerate / 4) + degenerate
