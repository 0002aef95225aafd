"""How diverse clips are by the spectrum of their cosines, and when they are so little diverse that a reader must be told.

`collapse` gives an alarm where either

- Vendi - 1, the diversity beyond that of a single clip, is less than a tenth of the real clips'; or
- near copies exceed those of real clips by a quarter of all clips and three standard errors. A near copy is a clip that lies
  closer to another one of its set than a tenth of the median distance between nearest neighbours in a part of the reference.

The first is what a single class gives, or noise; Vendi's standard error is a few percent, so that chance does not come near.
The second is for what Vendi hardly sees: if every second clip is the same, it falls no lower than for a generator of another
sound that has merely not learned well. Of real clips next to none are near copies, and of samples of weak generators neither.
"""

import math

import numpy as np

from evaluation.comparison import Comparison

NEAR, REPEATED, COLLAPSED = 0.1, 0.25, 0.1


def without_direction(comparison: Comparison) -> str:
    """Why there are no cosines; "" where there are."""
    for side, points in (("generated", comparison.generated), ("reference", comparison.real)):
        if count := int(np.count_nonzero(points.squares == 0)):
            return f"{count} clips have features that are all zero, which have no direction ({side} side)"
    return ""


def spectrum(features: np.ndarray) -> np.ndarray:
    """The eigenvalues of K / n that are not 0 but for rounding, ascending, K the (n, n) cosines; they sum to 1."""
    return _positive(np.linalg.eigvalsh(_smaller_gram(_directions(features))), len(features))


def decompose(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The spectrum, and (n,) the influence of each clip on its entropy: -z' log(Z'Z/n) z minus the mean, z = y / |y|."""
    z = _directions(features)
    n, d = z.shape
    values, vectors = np.linalg.eigh(_smaller_gram(z))
    shares = _positive(values, n)
    vectors = vectors[:, -len(shares) :]
    along = np.square(z @ vectors) if d < n else n * shares * np.square(vectors)  # (z_i'v_a)^2, v_a those of Z'Z
    influence = -(along @ np.log(shares))
    return shares, influence - influence.mean()


def vendi(shares: np.ndarray, q: float = 1) -> float:
    """exp of the Rényi entropy of order q of a spectrum."""
    if q == 1:
        return float(np.exp(-(shares @ np.log(shares))))
    return float(1 / shares.max() if q == math.inf else np.sum(shares**q) ** (1 / (1 - q)))


def _directions(features: np.ndarray) -> np.ndarray:
    z = features.astype(np.float64)
    z /= np.sqrt(np.einsum("ij,ij->i", z, z))[:, None]
    return z


def _smaller_gram(z: np.ndarray) -> np.ndarray:
    return (z.T @ z if z.shape[1] < len(z) else z @ z.T) / len(z)


def _positive(values: np.ndarray, n: int) -> np.ndarray:
    return values[values > max(n, len(values)) * np.finfo(np.float64).eps * values[-1]]


def near_copies(comparison: Comparison) -> tuple[float, float]:
    """The share of near copies among the generated clips, and among real clips in parts of the reference."""
    real = np.concatenate([near.distance[:, 0] for near in comparison.part_neighbours])
    limit = NEAR * np.median(real)
    return float((comparison.own.distance[:, 0] < limit).mean()), float((real < limit).mean())


def collapse(value: float, target: float, copies: float, real_copies: float, m: int) -> str:
    """What a reader must be told of m clips; "" where there is nothing to tell."""
    if copies > real_copies + REPEATED + 3 * math.sqrt(real_copies * (1 - real_copies) / m):
        return f"repeats itself: {copies:.0%} of the clips are nearly the same as another one (of real clips {real_copies:.0%})"
    if value - 1 < COLLAPSED * (target - 1):
        digits = 2 if f"{value:.2f}" != f"{target:.2f}" else 5  # where all cosines are near 1, both are
        told = (
            f"its clips are as diverse as {value:.{digits}f} different ones, as many real clips as {target:.{digits}f}"
        )
        return f"has collapsed: {told}"
    return ""
