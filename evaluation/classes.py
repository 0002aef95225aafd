"""Measures class by class, and their mean over classes: what the per-class metrics share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from evaluation.sample_set import SampleSet
from evaluation.uncertainty import Interval

LEAST = 2  # clips that a class must have


def classes_of(samples: SampleSet) -> np.ndarray:
    """(n,) the class of each clip: its label where labels are known, else the most probable class (the first of equals).

    Raises ValueError where there is neither, or a label is negative.
    """
    if samples.labels is None and samples.log_probabilities is None:
        raise ValueError("no classes: there are neither labels nor class probabilities")
    if samples.labels is None:
        return np.argmax(samples.array("log_probabilities"), axis=1)
    if samples.labels.min() < 0:
        raise ValueError(
            f"labels are class indices from 0 on, and row {samples.labels.argmin()} has {samples.labels.min()}"
        )
    return samples.labels


class Part(NamedTuple):
    """The measure of one class: its number, value and interval, the clips (rows) that it is of, their influence on it."""

    number: int
    value: float
    interval: Interval
    rows: np.ndarray
    influence: np.ndarray
    details: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """What a table of classes shows."""
        low, high, error = (float(number) for number in self.interval)
        values = {"class": self.number, "value": self.value, "low": low, "high": high, "standard_error": error}
        return values | {"n_generated": len(self.rows)} | self.details


class Mean(NamedTuple):
    """The mean over classes, its standard error, and the (n,) influence of every clip on it."""

    value: float
    standard_error: float
    influence: np.ndarray


def mean_over(parts: Sequence[Part], n: int) -> Mean:
    """Every class counts the same. Which class a clip is of is taken as given, so that classes are independent samples."""
    influence = np.zeros(n)
    for part in parts:
        influence[part.rows] = part.influence * (n / (len(part.rows) * len(parts)))
    error = np.sqrt(sum(part.interval.standard_error**2 for part in parts)) / len(parts)
    return Mean(sum(part.value for part in parts) / len(parts), float(error), influence)


def left_out(absent: Sequence[dict[str, Any]], present: int) -> list[str]:
    """The warning that goes with classes without a value, each a dict with "class" and "reason"."""
    if not absent:
        return []
    which = "; ".join(f"class {entry['class']}: {entry['reason']}" for entry in absent)
    return [f"incomplete: the mean is over {present} of {present + len(absent)} classes ({which})"]
