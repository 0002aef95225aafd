"""Distances between features, measured once for every metric that looks at neighbours or kernels.

A tiled pass over the products x'y of two sets yields each clip's nearest neighbours, the balls around the other side's clips
that it lies in, and its mean kernel values; `evaluation/comparison.py` says which metric reads what. Memory holds tiles only.

Everything is float64. Squared distances as |x|^2 + |y|^2 - 2 x'y lose digits where two clips are nearly the same, so whatever
they decide there (a neighbour's distance, on which side of a ball's border a clip lies) is computed again from the difference
x - y: a copy is at distance 0 exactly, and nothing depends on the size of tiles or on the order of the clips.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

SPARE = 3  # candidates beyond the k nearest, so that rounding cannot push one of them out
ROWS, COLUMNS = 512, 2048  # a tile: 8 MiB
DOUBT = 1e-9  # of |x|^2 + |y|^2: a squared distance this close to a limit may lie on either side of it
BRACKET = 0.02  # the median is looked for among distances between these quantiles around it, estimated ...
FEW = 1024  # ... from so many clips


@dataclass(frozen=True)
class Neighbours:
    """The k nearest clips of another set, or of the same one without the clip itself: index and distance, (n, k), ascending."""

    index: np.ndarray
    distance: np.ndarray


class Points:
    """Feature vectors (n, D) with their squared norms. Rows become float64 when they are needed."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features
        self.squares = np.concatenate([np.einsum("ij,ij->i", rows, rows) for _, rows in self.blocks(COLUMNS)])

    def __len__(self) -> int:
        return len(self.features)

    def blocks(self, size: int, first: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
        """The rows from `first` on, `size` at a time."""
        for start in range(first, len(self.features), size):
            part = slice(start, min(start + size, len(self.features)))
            yield part, self.features[part].astype(np.float64)

    def by_content(self) -> np.ndarray:
        """(n,) the rows in an order that depends on what they hold alone: by norm, and by values where norms are equal."""
        return by_content(self.features, self.squares)

    def distance(self, rows: np.ndarray, other: "Points", columns: np.ndarray) -> np.ndarray:
        """|x - y| of the pairs (rows[i], columns[i]), from the differences."""
        result = np.empty(len(rows))
        for start in range(0, len(rows), COLUMNS):
            part = slice(start, start + COLUMNS)
            gap = self.features[rows[part]].astype(np.float64) - other.features[columns[part]]
            result[part] = np.sqrt(np.einsum("ij,ij->i", gap, gap))
        return result


def by_content(features: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """See `Points.by_content`."""
    order = np.argsort(squares, kind="stable")
    equal = squares[order[1:]] == squares[order[:-1]]
    tied = np.flatnonzero(np.append(equal, False) | np.append(False, equal))
    if len(tied):
        rows = order[tied]
        order[tied] = rows[np.lexsort((*features[rows].T[::-1], squares[rows]))]
    return order


@dataclass(frozen=True)
class Tile:
    """Part of the pairs of two sets: which rows and columns, their products x'y and squared distances, (rows, columns)."""

    rows: slice
    columns: slice
    products: np.ndarray
    squared: np.ndarray

    @property
    def transposed(self) -> "Tile":
        """The same pairs seen from the other side."""
        return Tile(self.columns, self.rows, self.products.T, self.squared.T)


def check_dimensions(real: Points, generated: Points) -> None:
    """Raises ValueError where they differ."""
    wide, narrow = real.features.shape[1], generated.features.shape[1]
    if wide != narrow:
        raise ValueError(f"the reference has {wide} features and the generated set {narrow}; use one classifier")


def between(rows: Points, columns: Points) -> Iterator[Tile]:
    """All pairs of two sets. Raises ValueError where their dimensions differ."""
    check_dimensions(columns, rows)
    for down, y in columns.blocks(COLUMNS):
        for across, x in rows.blocks(ROWS):
            products = x @ y.T
            yield Tile(across, down, products, _squared(rows.squares[across], columns.squares[down], products))


def within(points: Points) -> Iterator[tuple[Tile, bool]]:
    """Every pair of a set: tiles above the diagonal, each also standing for its transposed, and (True) those on it."""
    for across, x in points.blocks(ROWS):
        for down, y in points.blocks(ROWS, across.start):
            products = x @ y.T
            squared = _squared(points.squares[across], points.squares[down], products)
            yield Tile(across, down, products, squared), down.start == across.start


def _squared(rows: np.ndarray, columns: np.ndarray, products: np.ndarray) -> np.ndarray:
    squared = products * -2.0
    squared += rows[:, None]
    squared += columns
    return squared


class NearestSoFar:
    """The k nearest of each row over the tiles that were added; of `kept` candidates, by squared distances as they come."""

    def __init__(self, count: int, k: int, kept: int = 0) -> None:
        self.k, self.kept = k, max(kept, k + SPARE)
        self.squared = np.full((count, self.kept), np.inf)
        self.index = np.full((count, self.kept), -1)

    def add(self, tile: Tile) -> None:
        """Take the tile's pairs into account; an infinite squared distance is no pair."""
        worst = self.squared[tile.rows].max(axis=1)
        better = np.flatnonzero((tile.squared < worst[:, None]).any(axis=1))
        if not len(better):
            return
        found = tile.squared[better]
        nearest = np.argpartition(found, min(self.kept, found.shape[1]) - 1, axis=1)[:, : self.kept]
        rows = better + tile.rows.start
        squared = np.concatenate([self.squared[rows], np.take_along_axis(found, nearest, 1)], axis=1)
        index = np.concatenate([self.index[rows], nearest + tile.columns.start], axis=1)
        nearest = np.argpartition(squared, self.kept - 1, axis=1)[:, : self.kept]
        self.squared[rows] = np.take_along_axis(squared, nearest, 1)
        self.index[rows] = np.take_along_axis(index, nearest, 1)

    def finish(self, rows: Points, columns: Points) -> Neighbours:
        """With exact distances; neighbours at the same distance by norm. Raises ValueError where there are fewer than k."""
        squared, index = (values[:, : self.k + SPARE] for values in self.candidates)
        there = np.isfinite(squared)
        if (there.sum(axis=1) < self.k).any():
            raise ValueError(f"{self.k} neighbours were asked for, of {there.sum(axis=1).min()} clips")
        distance = np.full(squared.shape, np.inf)
        at = np.nonzero(there)
        distance[at] = rows.distance(at[0], columns, index[at])
        order = np.lexsort((index, columns.squares[index], distance), axis=1)[:, : self.k]
        return Neighbours(np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1))

    @property
    def candidates(self) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances, ascending but for rounding, and indices, (count, kept); infinite where there are fewer."""
        order = np.argsort(self.squared, axis=1, kind="stable")
        return np.take_along_axis(self.squared, order, 1), np.take_along_axis(self.index, order, 1)


Decide = Callable[[np.ndarray], np.ndarray]


def closer(squared: np.ndarray, limit: np.ndarray, slack: float, decide: Decide) -> np.ndarray:
    """Which squared distances are below their limits, strictly; where rounding might matter, decide(indices) says so.

    All are (pairs,); slack: DOUBT times |x|^2 + |y|^2, or more.
    """
    below = squared < limit - slack
    doubtful = np.flatnonzero(~below & (squared < limit + slack))
    below[doubtful] = decide(doubtful)
    return below


class Median:
    """The median distance over all pairs of a set, exactly, from one pass: what is far from it is only counted."""

    def __init__(self, points: Points, bracket: float = BRACKET) -> None:
        self.low, self.high, self.below = -np.inf, np.inf, 0
        self.pairs = len(points) * (len(points) - 1) // 2
        self.found: list[np.ndarray] = []
        if len(points) > FEW and bracket < 0.5:
            few = Points(points.features[np.linspace(0, len(points) - 1, FEW).round().astype(int)])
            squared = [tile.squared if not same else _upper(tile.squared) for tile, same in within(few)]
            low, high = np.quantile(
                np.concatenate([values.ravel() for values in squared]), [0.5 - bracket, 0.5 + bracket]
            )
            self.low, self.high = float(low), float(high)

    def add(self, squared: np.ndarray) -> None:
        """Squared distances of further pairs, each pair once, in any shape."""
        self.below += int(np.count_nonzero(squared < self.low))
        self.found.append(squared[(squared >= self.low) & (squared <= self.high)])

    def value(self) -> float | None:
        """None where the median is not in the bracket."""
        found = np.concatenate(self.found)
        middle = np.array([(self.pairs - 1) // 2, self.pairs // 2]) - self.below
        if middle[0] < 0 or middle[1] >= len(found):
            return None
        found.partition(middle)
        return float(np.sqrt(np.maximum(found[middle], 0.0)).mean())


def _upper(square: np.ndarray) -> np.ndarray:
    """The entries above the diagonal."""
    return square[np.triu_indices(len(square), 1)]


def median_distance(points: Points, first: Median) -> float:
    """Of all pairs: what `first` found in a pass that was made anyway, or after a pass of its own."""
    median, bracket = first, BRACKET
    while (value := median.value()) is None:
        bracket = min(0.5, 5 * bracket)
        median = Median(points, bracket)
        for tile, same in within(points):
            median.add(_upper(tile.squared) if same else tile.squared)
    return value
