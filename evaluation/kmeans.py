"""k-means of reference features: cells that are found once per reference, kept, and the same on every machine.

Seeded by k-means++ (Arthur & Vassilvitskii 2007), then Lloyd's iteration. Where there are more than 64 features, in the 64
leading principal components of the reference, as dgm-eval does for C_T: a sixteenth of the work for 1,024, and what is left
out is mostly noise.

The seeds are drawn from the points in the order of their norms, and sums run in that order. So the cells depend neither on
the order of the clips nor on the number of threads, up to the rounding of distances that are equal but for it.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse

from evaluation.distances import DOUBT, by_content

COMPONENTS = 64
ITERATIONS = 300
SETTLED = 1000  # Lloyd ends when no more than one point in so many changes its cell: cells need not be optimal
BLOCK = 4096  # rows that are made float64 at a time


class Space(NamedTuple):
    """Where cells are looked for: coordinates are (features - mean) @ basis; mean (D,), basis (D, d)."""

    mean: np.ndarray
    basis: np.ndarray

    def points(self, features: np.ndarray) -> np.ndarray:
        """(n, d) float64. Raises ValueError where the features are of another dimension."""
        if features.shape[1] != len(self.mean):
            raise ValueError(
                f"the reference has {len(self.mean)} features and the generated set {features.shape[1]}; use one classifier"
            )
        blocks = range(0, len(features), BLOCK)
        return np.concatenate([(features[i : i + BLOCK] - self.mean) @ self.basis for i in blocks])


class Cells(NamedTuple):
    """centres (k, d), the fullest cell first; labels (n,), the cell of each point that they were found from."""

    centres: np.ndarray
    labels: np.ndarray


def space(features: np.ndarray, components: int = COMPONENTS) -> Space:
    """The leading principal components of features (n, D); all of the features, unrotated, where D is no larger."""
    mean, dimensions = features.mean(axis=0, dtype=np.float64), features.shape[1]
    if dimensions <= components:
        return Space(mean, np.eye(dimensions))
    scatter = np.zeros((dimensions, dimensions))
    for start in range(0, len(features), BLOCK):
        rows = features[start : start + BLOCK] - mean
        scatter += rows.T @ rows
    _, basis = scipy.linalg.eigh(scatter, subset_by_index=[dimensions - components, dimensions - 1])
    return Space(mean, basis)


def kmeans(points: np.ndarray, k: int, seed: int, restarts: int = 1) -> Cells:
    """At most k cells of points (n, d): fewer where fewer points differ. The best of `restarts`, by the sum of squares.

    The points are to be centred: the order in which seeds are drawn from them is that of their norms.
    """
    order = by_content(points, squares(points))
    ordered = points[order]
    found = []
    for restart in range(restarts):
        centres = lloyd(ordered, seeds(ordered, k, np.random.default_rng([seed, restart])))
        labels = nearest(ordered, centres)
        found.append((squares(ordered - centres[labels]).sum(), restart, centres, labels))
    _, _, centres, labels = min(found, key=lambda entry: entry[:2])
    sizes = np.bincount(labels, minlength=len(centres))
    by_size = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    renamed = np.empty(len(centres), dtype=np.int64)
    renamed[by_size] = np.arange(len(by_size))
    result = np.empty(len(points), dtype=np.int64)
    result[order] = renamed[labels]
    return Cells(centres[by_size], result)


def seeds(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++: each further centre is a point drawn with probability proportional to its squared distance to the others."""
    norms = squares(points)
    chosen = [int(rng.integers(len(points)))]
    closest = np.full(len(points), np.inf)
    while True:
        point = chosen[-1]
        scale = norms + norms[point]
        squared = scale - 2 * (points @ points[point])
        closest = np.minimum(closest, np.where(squared < DOUBT * scale, 0.0, squared))  # a copy is at distance zero
        total = np.cumsum(closest)
        if len(chosen) == k or not total[-1]:
            return points[chosen]
        chosen.append(int(np.searchsorted(total, rng.random() * total[-1], side="right")))


def lloyd(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Every centre to the mean of its points, until hardly one changes its cell. The centre of an empty cell stays."""
    n, k = len(points), len(centres)
    labels, before = np.full(n, -1), np.full(n, -1)
    for _ in range(ITERATIONS):
        for start in range(0, n, BLOCK):
            squared = points[start : start + BLOCK] @ (-2 * centres.T)
            squared += squares(centres)
            labels[start : start + BLOCK] = squared.argmin(axis=1)
        if np.count_nonzero(labels != before) <= n // SETTLED:
            break
        before, sizes = labels.copy(), np.bincount(labels, minlength=k)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        sums = scipy.sparse.csr_array((np.ones(n), np.argsort(labels, kind="stable"), ends), shape=(k, n)) @ points
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    return centres


def nearest(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(n,) the nearest centre of each point, the first of equal ones; near a border from the differences themselves."""
    squared = squares(centres) - 2 * (points @ centres.T)
    labels = squared.argmin(axis=1)
    if len(centres) > 1:
        first, second = np.partition(squared, 1, axis=1)[:, :2].T
        for row in np.flatnonzero(second - first < DOUBT * (squares(points) + squares(centres).max())):
            labels[row] = squares(centres - points[row]).argmin()
    return labels


def by_nearness(points: np.ndarray, centres: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Of each cell the indices of its points, the one nearest to the centre first."""
    order = np.lexsort((squares(points - centres[labels]), labels))
    return np.split(order, np.cumsum(np.bincount(labels, minlength=len(centres)))[:-1])


def squares(rows: np.ndarray) -> np.ndarray:
    """(n,) squared norms."""
    return np.einsum("ij,ij->i", rows, rows)
