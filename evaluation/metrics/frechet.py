"""FID: the Fréchet distance between two Gaussians fitted to features (Heusel et al. 2017, eq. 6).

    FID = |mu_r - mu_g|^2 + tr S_r + tr S_g - 2 tr (S_r S_g)^(1/2)

With S_r = R'R, R from the QR decomposition of the centred reference, the last trace is the sum of the singular values
of Y_c R' / sqrt(M - 1): nothing is squared, so small singular values keep their digits, and a covariance that is not of
full rank needs no treatment.

Differs from the paper: no matrix root, hence no imaginary part, and no epsilon on the diagonal; an interval.
The value is biased upward by about c / M, whatever the generator (Chong & Forsyth 2020): compare equal counts only.
The interval is about that mean: the bias is not in it. It is a fifth to two fifths too wide where generated and real
features have nearly the same distribution (the first order vanishes), or M is not well above D.
The influence of y is 2 (mu_g - mu_r)'y_c + y_c'(I - T) y_c minus its mean, T = R'(R S_g R')^(-1/2) R.
"""

import numpy as np
import scipy.linalg

from evaluation.metrics.base import Metric
from evaluation.sample_set import SampleSet
from evaluation.score import Score
from evaluation.uncertainty import normal_interval, standard_error

VERSION = 1
BLOCK = 4096  # rows of the reference that are factored at a time: bounds memory, and fixes the order of the sums

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
    """mean (D,), root (min(N, D), D) with root' root = the reference's covariance, count ()."""
    FID.require(reference, "reference")
    features, mean, n = reference.array("features"), reference.mean, len(reference)
    root = np.empty((0, len(mean)))
    for start in range(0, n, BLOCK):
        rows = np.concatenate([root, features[start : start + BLOCK] - mean])
        (root,) = scipy.linalg.qr(rows, mode="r", overwrite_a=True, check_finite=False)
        root = root[: len(mean)]
    return {"mean": mean, "root": root / np.sqrt(n - 1), "count": np.array(n)}


def compute(prepared: dict[str, np.ndarray], generated: SampleSet) -> list[Score]:
    """FID of the generated features. Raises ValueError where their dimension is not the reference's."""
    FID.require(generated)
    mean, root, n = prepared["mean"], prepared["root"], int(prepared["count"])
    y = generated.centred
    m, d = y.shape
    if d != len(mean):
        raise ValueError(
            f"v1/fid: the reference has {len(mean)} features and the generated set {d}; use one classifier"
        )

    shift = generated.mean - mean
    u, s, _ = np.linalg.svd(y @ root.T / np.sqrt(m - 1), full_matrices=False)
    squares = np.einsum("ij,ij->i", y, y)
    trace_r, trace_g = np.sum(np.square(root)), squares.sum() / (m - 1)
    mean_term = float(shift @ shift)
    covariance_term = float(trace_r + trace_g - 2 * s.sum())

    # y'Ty for every y at once: Y_c R' = sqrt(m - 1) U S V', so the inverse root in T cancels against it.
    influence = 2 * (y @ shift) + squares - (m - 1) * (np.square(u) @ s)
    influence -= influence.mean()

    value = mean_term + covariance_term
    return [
        FID.score(
            value,
            normal_interval(value, standard_error(influence)),
            "influence function, normal; reference held fixed; the bias is not in it",
            n_reference=n,
            n_generated=m,
            per_sample=influence,
            details={
                "dimensions": d,
                "mean_term": mean_term,
                "covariance_term": covariance_term,
                "mean_term_bias": float(trace_r / n + trace_g / m),
                **_warnings(n, m, d, bool((y == y[0]).all())),
            },
        )
    ]


def _warnings(n: int, m: int, d: int, constant: bool) -> dict[str, list[str]]:
    """What a reader of this FID must be told."""
    warnings = []
    if m <= d:
        warnings.append(f"biased: {m} generated clips for {d} feature dimensions; the covariance is not of full rank")
    if n <= d:
        warnings.append(f"biased: {n} reference clips for {d} feature dimensions; the covariance is not of full rank")
    if constant:
        warnings.append("degenerate: all generated clips have the same features")
    return {"warnings": warnings} if warnings else {}
