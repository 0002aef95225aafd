"""How sure we are: intervals, differences between two models, and the spread over training seeds.

Standard errors come from influence functions (the infinitesimal jackknife; Efron 1982, ch. 6): the influence of clip i
is n times the derivative of the value by its weight, and SE^2 = sum influence^2 / (n (n - 1)). It costs one pass where
a bootstrap costs a thousand, and does not share the bootstrap's extra upward bias in FID.

They describe which clips the generator happened to draw, with the reference held fixed: the benchmark's reference is
one fixed set of files, the same for every model. What training again would change is another matter: `summarize_seeds`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from evaluation.score import Score

CONFIDENCE = 0.95
Z = float(ndtri(0.5 + CONFIDENCE / 2))


class Interval(NamedTuple):
    """95 % interval and standard error, in the unit of the value."""

    low: float
    high: float
    standard_error: float


def standard_error(influence: np.ndarray) -> float:
    """Of a value whose clips have these influences, (n,), n >= 2, on it."""
    n = len(influence)
    return math.sqrt(float(np.sum(np.square(influence))) / (n * (n - 1)))


def normal_interval(value: float, se: float) -> Interval:
    """value ± 1.96 SE. Not cut off at the edge of the metric's range: that would hide that the value is noise."""
    return Interval(value - Z * se, value + Z * se, se)


def log_interval(value: float, log_se: float, quantile: float = Z) -> Interval:
    """exp(log value ± quantile SE), for a positive value whose logarithm has the standard error `log_se`."""
    factor = math.exp(quantile * log_se)
    return Interval(value / factor, value * factor, value * log_se)


def split_interval(values: np.ndarray) -> Interval:
    """Of the mean of positive values from k disjoint splits: Student's t with k - 1 degrees, on the log scale."""
    k = len(values)
    mean = float(np.mean(values))
    return log_interval(mean, float(np.std(values, ddof=1)) / math.sqrt(k) / mean, float(stdtrit(k - 1, 0.975)))


def proportion_interval(count: float, n: float) -> Interval:
    """Wilson's interval (1927) of the share count / n. Within [0, 1], and of some width also where all are alike.

    Its half-width counts as 1.96 standard errors: the usual one is 0 where none, or all, of the clips have what is counted.
    """
    share, shrink = count / n, 1 + Z**2 / n
    centre = (share + Z**2 / (2 * n)) / shrink
    half = Z / shrink * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At 0 and 1 the exact bound is 0 and 1, and rounding would miss it by 1e-17.
    low, high = (0.0 if count == 0 else centre - half), (1.0 if count == n else centre + half)
    return Interval(low, high, half / Z)


@dataclass(frozen=True)
class Difference:
    """a - b of two models' scores: value, 95 % interval, standard error, and how it was computed."""

    key: str
    value: float
    low: float
    high: float
    standard_error: float
    method: str

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero; where it does not, nobody has won."""
        return self.low > 0 or self.high < 0


def difference(a: Score, b: Score) -> Difference:
    """a - b for two models measured against the same reference.

    Generators draw independently, so given the reference their errors add up. A score over real clips alone (NLL:
    n_generated = 0) is paired: both models were asked about the same clips, and what is hard in them cancels.

    Raises ValueError where the two are not comparable: another metric, version, reference count or likelihood space,
    or paired scores without their `per_sample`.
    """
    for name in ("key", "version", "n_reference"):
        if getattr(a, name) != getattr(b, name):
            raise ValueError(
                f"not comparable: {name} is {getattr(a, name)!r} for one and {getattr(b, name)!r} for the other"
            )
    spaces = [score.details.get("likelihood_space", "") for score in (a, b)]
    if spaces[0] != spaces[1]:
        raise ValueError(f"likelihoods over different spaces cannot be compared: {spaces[0]!r} and {spaces[1]!r}")
    if a.n_generated or b.n_generated:
        se = math.hypot(*(own_error(score.standard_error, score.details) for score in (a, b)))
        method = "independent samples, same reference"
    else:
        if a.per_sample is None or b.per_sample is None or len(a.per_sample) != len(b.per_sample):
            raise ValueError(f"a paired difference of {a.key} needs both scores' per_sample over the same clips")
        se, method = standard_error(a.per_sample - b.per_sample), "paired by clip"
    value = a.value - b.value
    return Difference(a.key, value, value - Z * se, value + Z * se, se, method)


def own_error(error: float, details: Mapping[str, Any]) -> float:
    """The standard error without the part that two models share, as the score tells it: that of the real clips of both."""
    shared = details.get("shared_standard_error", 0.0)
    return math.sqrt(max(0.0, error**2 - shared**2))


@dataclass(frozen=True)
class Spread:
    """One metric over several training seeds of one model: mean, standard deviation (None for one seed), range."""

    key: str
    mean: float
    sd: float | None
    low: float
    high: float
    count: int


def summarize_seeds(scores: Sequence[Score]) -> Spread:
    """The spread of one metric over training seeds, one score each. Raises ValueError for none, or mixed metrics."""
    kinds = {(score.key, score.version) for score in scores}
    if len(kinds) != 1:
        raise ValueError(f"a spread is over several seeds of one metric in one version, not over {sorted(kinds)}")
    values = np.array([score.value for score in scores])
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(scores[0].key, float(values.mean()), sd, float(values.min()), float(values.max()), len(values))


def bootstrap(statistic: Callable[[np.ndarray], float], count: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """(draws,) values of statistic(rows), each over `count` rows drawn with replacement. Slow: what tests check by."""
    return np.array([statistic(rng.integers(count, size=count)) for _ in range(draws)])
