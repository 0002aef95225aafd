"""FID: the Fréchet distance between two Gaussians fitted to features (Heusel et al. 2017, eq. 6).

    FID = |mu_r - mu_g|^2 + tr S_r + tr S_g - 2 tr (S_r S_g)^(1/2)

Differs from the paper: no matrix root, hence no imaginary part, and no epsilon on the diagonal; an interval. How it is
computed is in `evaluation/gaussian.py`.
The value is biased upward by about c / M, whatever the generator (Chong & Forsyth 2020): compare equal counts only.
The interval is about that mean: the bias is not in it. It is a fifth to two fifths too wide where generated and real
features have nearly the same distribution (the first order vanishes), or M is not well above D.
"""

from typing import Any

import numpy as np

from evaluation.gaussian import Gaussian
from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
USES = ("gaussian",)

FID = Metric(
    key="v1/fid",
    name="FID",
    version=VERSION,
    better="lower",
    needs=("features",),
    needs_reference=("features",),
    digits=3,
    doc="Distance between generated and training clips in the classifier's features; biased upward by about c/n.",
)
METRICS = (FID,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing of its own: the reference's mean and root are shared."""
    FID.require(reference, "reference")
    return {}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score]:
    """FID of the generated features."""
    FID.require(generated)
    gaussian: Gaussian = prepared["gaussian"]
    found, n, m = gaussian.distance, gaussian.count, gaussian.clips
    trace_r, trace_g = gaussian.traces
    warnings = gaussian.warnings
    return [
        FID.score(
            found.value,
            normal_interval(found.value, standard_error(found.influence)),
            "influence function, normal; reference held fixed; the bias is not in it",
            n_reference=n,
            n_generated=m,
            per_sample=found.influence,
            details={
                "dimensions": gaussian.dimensions,
                "mean_term": found.mean_term,
                "covariance_term": found.covariance_term,
                "mean_term_bias": float(trace_r / n + trace_g / m),
                **({"warnings": warnings} if warnings else {}),
            },
        )
    ]
