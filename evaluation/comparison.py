"""What the neighbour- and kernel-based metrics share of one reference and one generated set.

A metric file that says `USES = ("comparison",)` gets a `Comparison` as `prepared["comparison"]`. Of the reference, what it
needs is computed once (`prepare`) and kept with its features; of the generated set, when a metric first asks, in one pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from evaluation.balls import REACH, Balls, Halves
from evaluation.copying import Copies, copies
from evaluation.distances import (
    DOUBT,
    Median,
    NearestSoFar,
    Neighbours,
    Points,
    Tile,
    between,
    check_dimensions,
    closer,
    median_distance,
    within,
)
from evaluation.sample_set import SampleSet

K = 5  # neighbours that are known of every clip
BALLS = (3, 5)  # the k of balls: Kynkäänniemi et al. 2019 say 3, Naeem et al. 2020 say 5
DRAWS = 4  # random parts of the reference that say what real clips give at a generated set's count


class Kernels(NamedTuple):
    """Mean kernel values. cubic: (x'y / D + 1)^3 (KID); gaussian: exp(-|x - y|^2 / (2 s^2)), s the bandwidth (KAD)."""

    cubic: np.ndarray
    gaussian: np.ndarray


def prepare(reference: SampleSet) -> dict[str, np.ndarray]:
    """What a comparison needs of a reference of more than K clips with features.

    features (N, D), as given; nearest and radii (N, K): index of and distance to the nearest others; bandwidth: the median
    distance; cubic, gaussian: mean kernel values over all pairs of different clips;
    held_out_nearest, held_out_distance (T, K): of the held-out clips, where there are any, to those of the reference
    """
    points = Points(reference.array("features"))
    near, median, cubic = NearestSoFar(len(points), K), Median(points), 0.0
    for tile, diagonal in within(points):
        if diagonal:
            np.fill_diagonal(tile.squared, np.inf)
        near.add(tile)
        values = _cubic(tile.products, points.features.shape[1])
        if diagonal:
            upper = np.triu_indices(len(values), 1)
            median.add(tile.squared[upper])
            cubic += values[upper].sum()
        else:
            near.add(tile.transposed)
            median.add(tile.squared)
            cubic += values.sum()
    neighbours = near.finish(points, points)
    bandwidth = median_distance(points, median)
    pairs = len(points) * (len(points) - 1) / 2
    prepared = {
        "features": points.features,
        "nearest": neighbours.index,
        "radii": neighbours.distance,
        "bandwidth": np.array(bandwidth),
        "cubic": np.array(cubic / pairs),
        "gaussian": np.array(mean_gaussian(points, bandwidth)),
    }
    if reference.held_out is not None and reference.held_out.features is not None:
        held_out = Points(reference.held_out.features)
        near = NearestSoFar(len(held_out), K)
        for tile in between(held_out, points):
            near.add(tile)
        neighbours = near.finish(held_out, points)
        prepared |= {"held_out_nearest": neighbours.index, "held_out_distance": neighbours.distance}
    return prepared


def _cubic(products: np.ndarray, dimensions: int) -> np.ndarray:
    base = products / dimensions
    base += 1.0
    return base * base * base


def _gaussian(squared: np.ndarray, bandwidth: float) -> np.ndarray:
    """exp(-d^2 / (2 s^2)); with s = 0 the limit: 1 for copies, else 0."""
    if not bandwidth:
        return (squared <= 0).astype(np.float64)
    scaled = squared * (-0.5 / bandwidth**2)
    return np.exp(np.minimum(scaled, 0.0, out=scaled), out=scaled)


def mean_gaussian(points: Points, bandwidth: float) -> float:
    """Mean Gaussian kernel over all pairs of different clips."""
    total = 0.0
    for tile, diagonal in within(points):
        values = _gaussian(tile.squared, bandwidth)
        total += values[np.triu_indices(len(values), 1)].sum() if diagonal else values.sum()
    return total / (len(points) * (len(points) - 1) / 2)


class Pairs(NamedTuple):
    """Some pairs of a generated and a real clip: their indices and squared distances, (pairs,)."""

    generated: np.ndarray
    real: np.ndarray
    squared: np.ndarray

    @classmethod
    def below(cls, tile: Tile, limit: np.ndarray) -> "Pairs":
        """Those of a tile whose squared distance is below a limit, which broadcasts."""
        rows, columns = np.nonzero(tile.squared < limit)
        return cls(rows + tile.rows.start, columns + tile.columns.start, tile.squared[rows, columns])


@dataclass(frozen=True)
class Across:
    """What the pass over generated and real clips finds.

    balls: by k; halves: for the scatter of recall with the largest k; kernels: means over the real clips, (M,)
    """

    nearest: Neighbours
    balls: Mapping[int, Balls]
    halves: Halves
    kernels: Kernels


class Comparison:
    """Generated features against a prepared reference. Raises ValueError where their dimensions differ."""

    def __init__(self, prepared: Mapping[str, np.ndarray], generated: SampleSet) -> None:
        self.prepared = prepared
        self.generated = Points(generated.array("features"))
        self.real = Points(prepared["features"])
        self.bandwidth = float(prepared["bandwidth"])
        check_dimensions(self.real, self.generated)

    @cached_property
    def copies(self) -> Copies:
        """How many generated clips are copies of real ones; only where held-out clips were prepared."""
        return copies(self.across.nearest, self.prepared["held_out_distance"], self.radii)

    @property
    def radii(self) -> np.ndarray:
        """(N, K): each real clip's distance to its nearest others."""
        return self.prepared["radii"]

    @property
    def warnings(self) -> list[str]:
        """What a reader of any measure of these generated clips must be told."""
        alike = bool((self.generated.features == self.generated.features[0]).all())
        return ["degenerate: all generated clips have the same features"] if alike else []

    @cached_property
    def own(self) -> Neighbours:
        """Of each generated clip among the other generated ones, (M, K)."""
        return self._within[0].finish(self.generated, self.generated)

    @cached_property
    def own_kernels(self) -> Kernels:
        """Means over the other generated clips, (M,)."""
        return self._within[1]

    @cached_property
    def _within(self) -> tuple[NearestSoFar, Kernels]:
        points, m = self.generated, len(self.generated)
        near, sums = NearestSoFar(m, K, min(REACH, m - 1)), Kernels(np.zeros(m), np.zeros(m))
        for tile, diagonal in within(points):
            values = self._kernels(tile, diagonal)
            if diagonal:
                np.fill_diagonal(tile.squared, np.inf)
            near.add(tile)
            if not diagonal:
                near.add(tile.transposed)
            for total, value in zip(sums, values, strict=True):
                total[tile.rows] += value.sum(axis=1)
                if not diagonal:
                    total[tile.columns] += value.sum(axis=0)
        return near, Kernels(*(total / (m - 1) for total in sums))

    def _kernels(self, tile: Tile, diagonal: bool = False) -> Kernels:
        """Of the tile's pairs; 0 on the diagonal."""
        values = Kernels(_cubic(tile.products, self.real.features.shape[1]), _gaussian(tile.squared, self.bandwidth))
        if diagonal:
            for value in values:
                np.fill_diagonal(value, 0.0)
        return values

    @cached_property
    def second_order(self) -> tuple[float, float]:
        """E k_c^2 of both kernels, k_c(y, y') being what neither clip explains alone: centred by rows and columns.

        Unbiased (Székely & Rizzo 2014, "U-centering"); of at least four generated clips.
        """
        m, squares = len(self.generated), [0.0, 0.0]
        for tile, diagonal in within(self.generated):
            for i, (value, means) in enumerate(zip(self._kernels(tile, diagonal), self.own_kernels, strict=True)):
                rows = means * ((m - 1) / (m - 2))
                value -= rows[tile.rows, None]
                value -= rows[tile.columns]
                value += means.sum() / (m - 2)
                if diagonal:
                    np.fill_diagonal(value, 0.0)
                squares[i] += float(np.vdot(value, value)) * (1 if diagonal else 2)
        return squares[0] / (m * (m - 3)), squares[1] / (m * (m - 3))

    @cached_property
    def across(self) -> Across:
        """The pass over all pairs of a generated and a real clip."""
        generated, real = self.generated, self.real
        m, n = len(generated), len(real)
        near, sums = NearestSoFar(m, K), Kernels(np.zeros(m), np.zeros(m))
        balls = {k: Balls.none(m, n) for k in BALLS}
        squared, nearest = self._within[0].candidates
        halves = Halves(squared, nearest, generated.by_content(), n, BALLS[-1])
        for tile in between(generated, real):
            near.add(tile)
            for total, value in zip(sums, self._kernels(tile), strict=True):
                total[tile.rows] += value.sum(axis=1)
            self._count(tile, balls, halves, squared[:, -1])
        return Across(near.finish(generated, real), balls, halves, Kernels(*(total / n for total in sums)))

    def _count(self, tile: Tile, balls: Mapping[int, Balls], halves: Halves, reach: np.ndarray) -> None:
        """Find the few pairs that lie in each other's balls. reach: (M,) squared radii of the largest generated balls."""
        slack = DOUBT * float(self.generated.squares[tile.rows].max() + self.real.squares[tile.columns].max())
        pairs = Pairs.below(tile, self.radii[tile.columns, BALLS[-1] - 1] ** 2 + slack)
        for k, counted in balls.items():
            hit = self._inside(pairs, self.radii[pairs.real, k - 1], slack)
            counted.add_real(pairs.generated[hit], pairs.real[hit])
        pairs = Pairs.below(tile, reach[tile.rows, None] + slack)
        for k, counted in balls.items():
            hit = self._inside(pairs, self.own.distance[pairs.generated, k - 1], slack)
            counted.add_generated(pairs.generated[hit], pairs.real[hit])
        halves.add(*pairs, slack)

    def _inside(self, pairs: Pairs, radius: np.ndarray, slack: float) -> np.ndarray:
        """Which pairs are closer than their radius, strictly and exactly."""

        def exactly(at: np.ndarray) -> np.ndarray:
            return self.generated.distance(pairs.generated[at], self.real, pairs.real[at]) < radius[at]

        return closer(pairs.squared, radius**2, slack, exactly)

    @cached_property
    def parts(self) -> list[np.ndarray]:
        """DRAWS random sets of M + 1 real clips; where there are not that many, one of all. The same whatever their order."""
        order, size = self.real.by_content(), len(self.generated) + 1
        if size >= len(order):
            return [order]
        return [order[np.random.default_rng([size, i]).permutation(len(order))[:size]] for i in range(DRAWS)]

    @cached_property
    def part_neighbours(self) -> list[Neighbours]:
        """Of each clip of a part among the others of that part."""
        found = []
        for part in self.parts:
            points = Points(self.real.features[part])
            near = NearestSoFar(len(points), K)
            for tile, diagonal in within(points):
                if diagonal:
                    np.fill_diagonal(tile.squared, np.inf)
                near.add(tile)
                if not diagonal:
                    near.add(tile.transposed)
            found.append(near.finish(points, points))
        return found
