"""FID-infinity: FID extrapolated to infinitely many generated clips (Chong & Forsyth 2020, "Effectively unbiased FID").

    FID_m ~ FID_infinity + slope / m;   the intercept of a line through FID at 15 sizes m from M/4 to M, by least squares

At each size FID is the mean over 20 random subsets without replacement, nested along 20 permutations of the clips. (With
replacement, subsets have the bias of the whole set in common, and the intercept is hardly better than FID.)

Differs from the paper: sizes are at regular intervals of 1/m, in which the line is fitted, not of m; 20 permutations, not
one; the order of the clips does not matter; an interval.
What is left of FID's bias is negative: 3 to 8 % of it for normal distributions with M ten times D, a third to a half with
M twice D, since FID is not linear in 1/m where m is no larger than D. Where subsets are that small, there is a warning.
The standard error joins FID's, whose influence function is the same to first order, and the scatter over permutations; where
subsets are that small, half of what the extrapolation corrects as well.
The singular values are the roots of eigenvalues of Gram matrices: FID of a subset is exact to about 1e-12, and to 1e-7 of it
where clips occur more than once.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from evaluation.gaussian import Gaussian, subset_distances
from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
USES = ("gaussian",)
SIZES, PERMUTATIONS, SMALLEST = 15, 20, 1 / 4
SHUFFLE = 2020  # numpy's legacy generator: its stream is frozen
FID_INFINITY = Metric(
    key="v1/fid/infinity",
    name="FID-infinity",
    version=VERSION,
    better="lower",
    needs=("features",),
    needs_reference=("features",),
    minimum=60,  # fewer have no 15 different sizes
    digits=3,
    headline=False,
    doc="FID extrapolated to infinitely many generated clips, so that their number does not matter.",
)
METRICS = (FID_INFINITY,)


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """Nothing of its own: the reference's mean and root are shared."""
    FID_INFINITY.require(reference, "reference")
    return {}


def compute(prepared: dict[str, Any], generated: SampleSet) -> list[Score]:
    """FID-infinity of the generated features."""
    FID_INFINITY.require(generated)
    gaussian: Gaussian = prepared["gaussian"]
    sizes = subset_sizes(gaussian.clips)
    distances = subset_distances(gaussian, shuffled(generated), sizes)
    line = fit(sizes, distances.mean(axis=0))
    scatter = (distances @ line.weights).std(ddof=1) / math.sqrt(PERMUTATIONS)
    errors = [standard_error(gaussian.distance.influence), scatter]
    warnings = gaussian.warnings
    if sizes[0] <= gaussian.dimensions:
        errors.append(abs(distances[:, -1].mean() - line.intercept) / 2)
        warnings.append(
            f"biased: subsets from {sizes[0]} clips on, for {gaussian.dimensions} feature dimensions, where FID is not "
            "linear in 1/n; the extrapolation may miss by half of what it corrects"
        )
    return [
        FID_INFINITY.score(
            line.intercept,
            normal_interval(line.intercept, math.hypot(*errors)),
            f"influence function of FID and scatter over {PERMUTATIONS} permutations, normal; reference held fixed",
            n_reference=gaussian.count,
            n_generated=gaussian.clips,
            details={
                "dimensions": gaussian.dimensions,
                "permutations": PERMUTATIONS,
                "sizes": sizes.tolist(),
                "fid": distances.mean(axis=0).tolist(),
                "fid_standard_deviation": distances.std(axis=0, ddof=1).tolist(),
                "slope": line.slope,
                "r_squared": line.r_squared,
                "standard_error_of_permutations": float(scatter),
                **({"warnings": warnings} if warnings else {}),
            },
        )
    ]


def subset_sizes(m: int, count: int = SIZES, smallest: float = SMALLEST) -> np.ndarray:
    """(count,) from smallest * m to m, ascending, at regular intervals of 1/size up to rounding."""
    return np.rint(m / np.linspace(1 / smallest, 1, count)).astype(np.int64)


class Line(NamedTuple):
    """intercept = weights @ values; r_squared is None where the values are all the same."""

    intercept: float
    slope: float
    r_squared: float | None
    weights: np.ndarray


def fit(sizes: np.ndarray, values: np.ndarray) -> Line:
    """The line through values at 1 / sizes, by least squares."""
    x = 1 / sizes
    apart = x - x.mean()
    slopes = apart / (apart @ apart)
    weights = 1 / len(x) - x.mean() * slopes
    intercept, slope = float(weights @ values), float(slopes @ values)
    missed, total = np.square(values - intercept - slope * x).sum(), np.square(values - values.mean()).sum()
    return Line(intercept, slope, float(1 - missed / total) if total else None, weights)


def shuffled(samples: SampleSet, permutations: int = PERMUTATIONS) -> list[np.ndarray]:
    """Permutations of the clips, the same whatever order they come in."""
    rows = np.ascontiguousarray(samples.features64)
    by_content = np.argsort(rows.view(f"V{rows.strides[0]}")[:, 0], kind="stable")
    rng = np.random.RandomState(SHUFFLE)
    return [rng.permutation(by_content) for _ in range(permutations)]
