"""Likelihood thresholds: which samples to keep by their likelihood, tuned on one half and measured on the other.

Samples that a model finds very unlikely tend to be broken, very likely ones to be silent or monotonous. The published SC09
tables of autoregressive models are over what is left between two quantiles (Goel et al. 2022). Here:

1. the samples are split in two halves by a seed, whatever order they come in;
2. for every cell (lower, upper) of a grid, the criterion is computed of the tuning half's clips between these quantiles of
   log-likelihood: the surface;
3. the best cell's two log-likelihoods are the thresholds, and scores are computed of the reporting half's clips between
   them, beside those of the whole reporting half.

Differs from the paper: any count; FID as a criterion beside IS; the thresholds are likelihoods found on the tuning half, so
that nothing of the reporting half is looked at. `by="ranks"` takes the quantiles of the reporting half, as the paper does.
Differs from the script: the best cell is chosen (`sashimi_protocol.thresholded` has what the script does).
Cells that keep fewer clips have a larger bias: upward in FID, downward in IS. A search by either leans to wide cells.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from evaluation import metrics as plugins
from evaluation.sample_set import SampleSet

LOWER = (0.0, 0.1, 0.2, 0.3, 0.4)
UPPER = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
CRITERIA = {"fid": "v1/fid", "is": "v1/is"}
RULES = ("values", "ranks")
PAPER_COUNT = 10_240  # 5,120 to tune and 5,120 to report
MINIMUM = 20  # samples; a half of fewer has no quantiles to speak of
FEWEST = 2  # clips of which a criterion is defined


@dataclass(frozen=True)
class Cell:
    """lower, upper: quantiles of log-likelihood; count: clips between them; value: the criterion, or None for a reason."""

    lower: float
    upper: float
    count: int
    value: float | None
    reason: str = ""


class Thresholds(NamedTuple):
    """Of log-likelihood, in nats: at least `low`, less than `high`; None where nothing is cut off."""

    low: float | None
    high: float | None

    def holds(self, log_likelihood: np.ndarray) -> np.ndarray:
        """(n,) bool: what is between."""
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return (log_likelihood >= low) & (log_likelihood < high)


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    criterion: "fid" or "is"; better: "lower" or "higher"; by: "values" or "ranks"
    surface: every cell of the grid; chosen: the best of them
    tuning, reporting: rows of the two halves; kept: the rows of the reporting half that are measured, ascending
    thresholds: the chosen quantiles of the tuning half; reporting_thresholds: those of the reporting half
    """

    criterion: str
    better: str
    by: str
    seed: int
    surface: tuple[Cell, ...]
    chosen: Cell
    tuning: np.ndarray
    reporting: np.ndarray
    kept: np.ndarray
    thresholds: Thresholds
    reporting_thresholds: Thresholds

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without the rows."""
        return {
            "criterion": self.criterion,
            "metric": CRITERIA[self.criterion],
            "better": self.better,
            "by": self.by,
            "seed": self.seed,
            "surface": [asdict(cell) for cell in self.surface],
            "chosen": asdict(self.chosen),
            "thresholds": {"tuning": self.thresholds._asdict(), "reporting": self.reporting_thresholds._asdict()},
            "samples": {"tuning": len(self.tuning), "reporting": len(self.reporting), "kept": len(self.kept)},
        }


def tune(
    prepared: Mapping[str, np.ndarray],
    samples: SampleSet,
    criterion: str = "fid",
    *,
    lower: Sequence[float] = LOWER,
    upper: Sequence[float] = UPPER,
    seed: int = 0,
    by: str = "values",
) -> Tuned:
    """Thresholds for samples that have a log-likelihood, and features (for FID) or class probabilities (for IS).

    prepared: what `evaluation.prepare` made of the reference. lower, upper: quantiles, every lower below every upper

    Raises ValueError for a criterion or a grid that makes no sense, too few samples, or a grid without any defined cell.
    """
    if criterion not in CRITERIA:
        raise ValueError(f"unknown criterion {criterion!r}. Available: {', '.join(CRITERIA)}")
    if by not in RULES:
        raise ValueError(f"thresholds are applied by {' or '.join(RULES)}, not {by!r}")
    check_grid(lower, upper)
    log_likelihood = samples.array("log_likelihood").astype(np.float64)
    if len(samples) < MINIMUM:
        raise ValueError(
            f"thresholds need at least {MINIMUM} samples, half to tune and half to report; there are {len(samples)}"
        )
    metric = plugins.metrics()[CRITERIA[criterion]]
    metric.require(samples)
    tuning, reporting = halves(log_likelihood, seed)
    ascending = tuning[np.argsort(log_likelihood[tuning], kind="stable")]
    ranks = [(low, high, _rank(low, len(tuning)), _rank(high, len(tuning))) for low in lower for high in upper]
    spans = [(start, stop) for *_, start, stop in ranks if stop - start >= FEWEST]
    values = (_fid_of_spans if criterion == "fid" else _is_of_spans)(prepared, samples.take(ascending), spans)
    surface = tuple(
        Cell(low, high, stop - start, values[start, stop])
        if (start, stop) in values
        else Cell(low, high, stop - start, None, f"{stop - start} clips, at least {FEWEST} are needed")
        for low, high, start, stop in ranks
    )
    defined = [cell for cell in surface if cell.value is not None]
    if not defined:
        raise ValueError(
            f"no cell of the grid keeps {FEWEST} of the {len(tuning)} clips of the tuning half; widen the grid"
        )
    sign = -1 if metric.better == "higher" else 1
    chosen = min(defined, key=lambda cell: (sign * (cell.value or 0.0), -cell.count))
    thresholds, own = (_thresholds(np.sort(log_likelihood[half]), chosen) for half in (tuning, reporting))
    kept = reporting[(thresholds if by == "values" else own).holds(log_likelihood[reporting])]
    return Tuned(criterion, metric.better, by, seed, surface, chosen, tuning, reporting, kept, thresholds, own)


def halves(log_likelihood: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the tuning half (n // 2) and of the reporting half, ascending.

    Which half a sample is in does not depend on the order they come in, unless several have the very same likelihood.
    """
    canonical = np.argsort(log_likelihood, kind="stable")
    shuffled = canonical[np.random.RandomState(seed).permutation(len(canonical))]
    middle = len(canonical) // 2
    return np.sort(shuffled[:middle]), np.sort(shuffled[middle:])


def check_grid(lower: Sequence[float], upper: Sequence[float]) -> None:
    """Raises ValueError unless these are quantiles, and every one of `lower` is below every one of `upper`."""
    if not lower or not upper or not all(0 <= quantile <= 1 for quantile in (*lower, *upper)):
        raise ValueError(f"a grid needs lower and upper quantiles between 0 and 1, not {list(lower)} and {list(upper)}")
    if max(lower) >= min(upper):
        raise ValueError(f"every lower quantile must be below every upper one; {max(lower)} and {min(upper)} are not")


def _rank(quantile: float, count: int) -> int:
    """How many of `count` clips are below the quantile; 0.7 of 10 is 7, whatever 0.7 * 10 is in binary."""
    return math.floor(round(quantile * count, 6))


def _thresholds(ascending: np.ndarray, cell: Cell) -> Thresholds:
    """The cell's quantiles of these log-likelihoods."""
    start, stop = _rank(cell.lower, len(ascending)), _rank(cell.upper, len(ascending))
    low = float(ascending[start]) if start else None
    return Thresholds(low, float(ascending[stop]) if stop < len(ascending) else None)


Spans = list[tuple[int, int]]
Values = dict[tuple[int, int], float]


def _is_of_spans(prepared: Mapping[str, np.ndarray], ascending: SampleSet, spans: Spans) -> Values:
    """v1's IS of the clips from start to stop: exp( mean_i sum_c p_ic log p_ic  -  sum_c p_c log p_c )."""
    p, negentropy = (np.cumsum(x, axis=0) for x in (ascending.probabilities, -ascending.entropies))
    p, negentropy = np.concatenate([np.zeros((1, p.shape[1])), p]), np.concatenate([[0.0], negentropy])
    values = {}
    for start, stop in spans:
        share = (p[stop] - p[start]) / (stop - start)
        share = share[share > 0]
        mean = (negentropy[stop] - negentropy[start]) / (stop - start)
        values[start, stop] = float(np.exp(mean - share @ np.log(share)))
    return values


def _fid_of_spans(prepared: Mapping[str, np.ndarray], ascending: SampleSet, spans: Spans) -> Values:
    """v1's FID of the clips from start to stop, to about 1e-6 of the features' variance.

    Spans share their clips: the sums of R y and R y (R y)' grow by a slice of clips from one span to the next, and the
    singular values of Y_c R' are the roots of the eigenvalues of their covariance.
    """
    mean, root = prepared["gaussian.mean"], prepared["gaussian.root"]
    if ascending.array("features").shape[1] != len(mean):
        raise ValueError(
            f"the reference has {len(mean)} features and the samples {ascending.array('features').shape[1]}"
        )
    offset, trace = ascending.mean - mean, np.square(root).sum()
    y = ascending.centred
    z, squares = y @ root.T, np.einsum("ij,ij->i", y, y)
    values = {}
    for start in sorted({start for start, _ in spans}):
        outer, position = np.zeros((len(root), len(root))), start
        for stop in sorted({stop for first, stop in spans if first == start}):
            outer += z[position:stop].T @ z[position:stop]
            position, n = stop, stop - start
            shift, rotated = y[start:stop].mean(axis=0), z[start:stop].mean(axis=0)
            eigenvalues = np.linalg.eigvalsh((outer - n * np.outer(rotated, rotated)) / (n - 1))
            roots = np.sqrt(eigenvalues[eigenvalues > 0])  # a covariance has none below zero but by rounding
            spread = (squares[start:stop].sum() - n * (shift @ shift)) / (n - 1)
            values[start, stop] = float((offset + shift) @ (offset + shift) + trace + spread - 2 * roots.sum())
    return values
