"""What the Fréchet distances share: the Gaussian fitted to a reference, and its distance from one fitted to generated clips.

    |mu_r - mu_g|^2 + tr S_r + tr S_g - 2 tr (S_r S_g)^(1/2)

With S_r = R'R, R from the QR decomposition of the centred reference, the last trace is the sum of the singular values
of Y_c R' / sqrt(M - 1): nothing is squared, so small singular values keep their digits, and a covariance that is not of
full rank needs no treatment. A metric file that says `USES = ("gaussian",)` gets a `Gaussian` as `prepared["gaussian"]`.
"""

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info, threadpool_limits

from evaluation.sample_set import SampleSet

BLOCK = 4096  # rows of the reference that are factored at a time: bounds memory, and fixes the order of the sums


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """mean (D,), root (min(N, D), D) with root' root = the reference's covariance, count (); of N >= 2 clips."""
    features, mean, n = reference.array("features"), reference.mean, len(reference)
    root = np.empty((0, len(mean)))
    for start in range(0, n, BLOCK):
        rows = np.concatenate([root, features[start : start + BLOCK] - mean])
        (root,) = scipy.linalg.qr(rows, mode="r", overwrite_a=True, check_finite=False)
        root = root[: len(mean)]
    return {"mean": mean, "root": root / np.sqrt(n - 1), "count": np.array(n)}


@dataclass(frozen=True)
class Distance:
    """mean_term + covariance_term; influence: (M,), of each generated clip on their sum."""

    mean_term: float
    covariance_term: float
    influence: np.ndarray

    @property
    def value(self) -> float:
        """The Fréchet distance, squared as everybody reports it."""
        return self.mean_term + self.covariance_term


class Gaussian:
    """Generated features against a prepared reference, of `count` clips. Raises ValueError where their dimensions differ."""

    def __init__(self, prepared: Mapping[str, np.ndarray], generated: SampleSet) -> None:
        self.mean, self.root, self.count = prepared["mean"], prepared["root"], int(prepared["count"])
        self.generated = generated
        self.clips, self.dimensions = generated.centred.shape
        if self.dimensions != len(self.mean):
            raise ValueError(
                f"the reference has {len(self.mean)} features and the generated set {self.dimensions}; use one classifier"
            )

    @cached_property
    def shift(self) -> np.ndarray:
        """(D,) the generated mean minus the reference's."""
        return self.generated.mean - self.mean

    @cached_property
    def squares(self) -> np.ndarray:
        """(M,) squared distance of each generated clip from their mean."""
        y = self.generated.centred
        return np.einsum("ij,ij->i", y, y)

    @cached_property
    def traces(self) -> tuple[float, float]:
        """tr S_r, tr S_g."""
        return np.sum(np.square(self.root)), self.squares.sum() / (self.clips - 1)

    @cached_property
    def decomposition(self) -> tuple[np.ndarray, np.ndarray]:
        """u (M, k) and s (k,), descending, of Y_c R' / sqrt(M - 1) = u diag(s) v'."""
        y = self.generated.centred
        u, s, _ = np.linalg.svd(y @ self.root.T / np.sqrt(self.clips - 1), full_matrices=False)
        return u, s

    @cached_property
    def distance(self) -> Distance:
        """The distance. The influence of y is 2 (mu_g - mu_r)'y_c + y_c'(I - T) y_c minus its mean."""
        y, (u, s), (trace_r, trace_g) = self.generated.centred, self.decomposition, self.traces
        # T = R'(R S_g R')^(-1/2) R, for every y at once: Y_c R' = sqrt(M - 1) u s v', so the inverse root cancels.
        influence = 2 * (y @ self.shift) + self.squares - (self.clips - 1) * (np.square(u) @ s)
        influence -= influence.mean()
        return Distance(float(self.shift @ self.shift), float(trace_r + trace_g - 2 * s.sum()), influence)

    @property
    def warnings(self) -> list[str]:
        """What a reader of the distance must be told."""
        m, n, d, y = self.clips, self.count, self.dimensions, self.generated.centred
        warnings = []
        if m <= d:
            warnings.append(
                f"biased: {m} generated clips for {d} feature dimensions; the covariance is not of full rank"
            )
        if n <= d:
            warnings.append(
                f"biased: {n} reference clips for {d} feature dimensions; the covariance is not of full rank"
            )
        if (y == y[0]).all():
            warnings.append("degenerate: all generated clips have the same features")
        return warnings


def subset_distances(gaussian: Gaussian, orders: Sequence[np.ndarray], sizes: np.ndarray) -> np.ndarray:
    """(orders, sizes) the distance of the first clips in each order, as many as each size says; sizes ascend to M."""
    m, y, squares, shift = gaussian.clips, gaussian.generated.centred, gaussian.squares, gaussian.shift
    (u, s), (trace_r, _), parts, whole = gaussian.decomposition, gaussian.traces, sizes[:-1], gaussian.distance.value
    rank = np.count_nonzero(s > s[0] * max(u.shape) * np.finfo(np.float64).eps)
    z = u[:, :rank] * (s[:rank] * math.sqrt(m - 1))  # Y_c R' up to a rotation

    def of_one(order: np.ndarray) -> np.ndarray:
        inside = (np.argsort(order) < parts[:, None]).astype(np.float64)
        means = inside @ y / parts[:, None]
        spreads = (inside @ squares - parts * np.square(means).sum(axis=1)) / (parts - 1)
        roots = nuclear_norms(z, order, parts) / np.sqrt(parts - 1)
        return np.append(np.square(shift + means).sum(axis=1) + trace_r + spreads - 2 * roots, whole)

    # Orders side by side are faster than the threads of BLAS, and the number of threads then changes nothing.
    threads = max((found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"), default=1)
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(min(threads, len(orders))) as pool:
        return np.array(list(pool.map(of_one, orders)))


def nuclear_norms(z: np.ndarray, order: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(sizes,) the sum of the singular values of z[order[:m]], centred, for ascending m: by the smaller Gram matrix."""
    total = np.zeros(z.shape[1])
    few = sizes[sizes <= len(total)]
    start = few[-1] if len(few) else 0
    rows = contrasts(z[order[:start]], 0, total)
    inner, outer = rows @ rows.T, rows.T @ rows
    found = [_root_sum(inner[1:m, 1:m]) for m in few]  # the first contrast is zero
    total += z[order[:start]].sum(axis=0)
    for m in sizes[len(few) :]:
        block = z[order[start:m]]
        rows = contrasts(block, start, total)
        outer += rows.T @ rows
        total += block.sum(axis=0)
        start = m
        found.append(_root_sum(outer))
    return np.array(found)


def contrasts(z: np.ndarray, before: int, total: np.ndarray) -> np.ndarray:
    """Each row minus the mean of all rows before it, scaled (Helmert's): so the first m of them have the scatter of the
    first m rows around their mean. `before`: how many rows precede z, `total`: their sum.
    """
    i = np.arange(before, before + len(z))[:, None]
    sums = np.cumsum(z, axis=0)
    sums -= z
    sums += total
    return (z - sums / np.maximum(i, 1)) * np.sqrt(i / (i + 1))


def _root_sum(gram: np.ndarray) -> float:
    """The sum of the square roots of a Gram matrix's eigenvalues, of which none is negative but by rounding."""
    return float(np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0)).sum())
