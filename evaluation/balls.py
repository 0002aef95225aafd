"""Balls around clips, out to their k-th nearest neighbour: who lies in whose, what chance gives, and how sure that is.

Precision and density look at the real balls that a generated clip lies in, coverage at the real balls that hold a generated
clip, recall at the real clips that lie in a generated ball. The first two are means over generated clips. The others are not:
one more clip matters less where others are near, so the jackknife's standard error is up to twice too wide, and the
bootstrap is no way out: a clip that is drawn twice holds nothing new, and is its own nearest neighbour at distance 0.
"""

import math
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from evaluation.uncertainty import Interval, Z, normal_interval, proportion_interval, standard_error

SPLITS = 64  # of the generated clips into halves: one bit each
REACH = 32  # own neighbours that are looked at: with odds of 1 : 100,000 fewer than 5 of them are in a clip's own half
# P(Binomial(4, 1/2) >= 1, 2, 3, 4): the alternating series ends smoothly (Efron & Thisted 1976, section 5).
SMOOTH = (15 / 16, 11 / 16, 5 / 16, 1 / 16)


@dataclass(frozen=True)
class Balls:
    """Which clips lie in the balls around others, whose radius is the distance to their k-th nearest neighbour; strictly.

    around_real:      (M,) in how many real balls each generated clip lies
    real_holds:       (N,) how many generated clips each real ball holds
    real_holder:      (N,) the sum of their indices: where there is one only, which it is
    real_holders:     (N,) the sum of their codes, a number that two balls share if they hold the same clips, and only then
    around_generated: (N,) in how many generated balls each real clip lies
    generated_holder: (N,) the sum of the indices of those balls
    """

    around_real: np.ndarray
    real_holds: np.ndarray
    real_holder: np.ndarray
    real_holders: np.ndarray
    around_generated: np.ndarray
    generated_holder: np.ndarray

    @classmethod
    def none(cls, generated: int, real: int) -> "Balls":
        """Nothing counted yet."""
        sizes = {field.name: generated if field.name == "around_real" else real for field in fields(cls)}
        return cls(**{n: np.zeros(size, np.uint64 if n == "real_holders" else np.int64) for n, size in sizes.items()})

    @cached_property
    def codes(self) -> np.ndarray:
        """(M,) uint64, one for each generated clip; sums of different ones are equal with odds of 1 : 2^64."""
        return np.random.PCG64(len(self.around_real)).random_raw(len(self.around_real))

    def values(self, k: int) -> dict[str, float]:
        """Precision, recall, density and coverage."""
        return {
            "precision": float((self.around_real > 0).mean()),
            "recall": float((self.around_generated > 0).mean()),
            "density": float(self.around_real.mean() / k),
            "coverage": float((self.real_holds > 0).mean()),
        }

    def add_real(self, generated: np.ndarray, real: np.ndarray) -> None:
        """Count pairs: that generated clip lies in that real ball."""
        np.add.at(self.around_real, generated, 1)
        np.add.at(self.real_holds, real, 1)
        np.add.at(self.real_holder, real, generated)
        np.add.at(self.real_holders, real, self.codes[generated])

    def add_generated(self, generated: np.ndarray, real: np.ndarray) -> None:
        """Count pairs: that real clip lies in that generated ball."""
        np.add.at(self.around_generated, real, 1)
        np.add.at(self.generated_holder, real, generated)


def chance_coverage(real: int, generated: int, k: int) -> float:
    """Expected coverage where both sets are drawn alike: 1 - prod_(i<k) (N-1-i) / (N+M-1-i), whatever they are drawn from."""
    i = np.arange(k)
    return float(1 - np.prod((real - 1 - i) / (real + generated - 1 - i)))


def reached(nearest: np.ndarray, k: int) -> float:
    """Share of clips that are among the k nearest of another clip: leave-one-out, the share that lies in another's ball.

    nearest: (n, K >= k) indices. So much is expected of one more clip from the same source beside n - 1 others.
    """
    return len(np.unique(nearest[:, :k])) / len(nearest)


def coverage_influence(balls: Balls) -> np.ndarray:
    """(M,) of each generated clip on coverage, from the balls that it alone holds."""
    alone = np.bincount(balls.real_holder[balls.real_holds == 1], minlength=len(balls.around_real))
    return (alone - alone.mean()) * ((len(alone) - 1) / len(balls.real_holds))


def coverage_variance(balls: Balls) -> float:
    """Of coverage, given the real clips.

    With n_T the number of balls that hold exactly the clips T, N^2 Var has the expectation of

        sum_T (-1)^(|T|+1) n_T^2 - (balls that hold one clip)^2 / M

    up to 1/M: P(neither of two balls is hit) minus the product of both, summed over pairs of balls, expanded in the clips that
    they share. Its first term is the jackknife's. The series is cut after four terms, smoothly; at least a quarter of the
    jackknife's variance is kept, since the estimate itself is noisy where there are few clips.
    """
    ones = int(np.count_nonzero(balls.real_holds == 1))
    terms = []
    for size in range(1, len(SMOOTH) + 1):
        _, alike = np.unique(balls.real_holders[balls.real_holds == size], return_counts=True)
        terms.append(float(np.sum(np.square(alike, dtype=np.float64))))
    terms[0] -= ones**2 / len(balls.around_real)
    total = sum(weight * term * (-1) ** i for i, (weight, term) in enumerate(zip(SMOOTH, terms, strict=True)))
    return max(total, terms[0] / 4) / len(balls.real_holds) ** 2


def share_interval(share: float, variance: float, n: int) -> Interval:
    """Wilson's interval for a share of n clips that are not independent: for as many that are and scatter as much."""
    alike = share in (0, 1) or variance == 0
    independent = n if alike else share * (1 - share) / variance
    return proportion_interval(share * independent, independent)


def mean_interval(values: np.ndarray) -> Interval:
    """Of a mean of counts in units of their null's mean; as in Wilson's interval, of some width also where all are alike."""
    se = math.hypot(standard_error(values - values.mean()), Z / (2 * len(values)))
    return normal_interval(float(values.mean()), se)


class Halves:
    """The scatter of recall, from random halves A, B of the generated clips, 64 splits at a time.

    Given the real clips the two halves are independent, so (recall_A - recall_B)^2 / 2 has the expectation of the variance at
    M/2 clips. It consists of mean p(1-p) / N, p a real clip's chance to be reached, and of what neighbouring real clips
    share, which falls as 1/M. Half of the first part is therefore added to half of that variance:

        Var = mean over splits of ( (recall_A - recall_B)^2 + (share of real clips that one half alone reaches) / N ) / 4

    Which clips are in which half depends on their features alone, not on their order.
    """

    def __init__(self, squared: np.ndarray, nearest: np.ndarray, order: np.ndarray, real: int, k: int) -> None:
        """squared, nearest: (M, L) each generated clip's nearest others, ascending; order: (M,) the clips, sorted somehow."""
        count = len(nearest)
        first = np.random.default_rng(count).permuted(np.tile(np.arange(count) % 2 == 0, (SPLITS, 1)), axis=1)
        chosen = np.empty((count, SPLITS), dtype=bool)
        chosen[order] = first.T
        self.squared = squared
        self.sides = _pack(chosen)
        self.reached = np.zeros((2, real), dtype=np.uint64)
        # within[j, t]: the splits in which a clip farther from j than t of j's neighbours is still in j's ball
        fellows = np.zeros((count, SPLITS), dtype=np.int16)
        self.within = np.empty((count, nearest.shape[1] + 1), dtype=np.uint64)
        for t, neighbours in enumerate(nearest.T):
            self.within[:, t] = _pack(fellows < k)
            fellows += chosen[neighbours] == chosen
        self.within[:, -1] = _pack(fellows < k)

    def add(self, generated: np.ndarray, real: np.ndarray, squared: np.ndarray, slack: float) -> None:
        """Take pairs of that squared distance into account; pairs farther than the L-th neighbour may be left out.

        slack: squared distances that differ by less are equal, so that rounding decides nothing about a copy of a real clip
        """
        open_ = (self.reached[0] & self.reached[1])[real] != np.uint64(2**64 - 1)
        generated, real, squared = generated[open_], real[open_], squared[open_] + slack
        nearer = np.zeros(len(generated), dtype=np.int64)
        for neighbour in self.squared.T:
            nearer += neighbour[generated] <= squared
        splits, side = self.within[generated, nearer], self.sides[generated]
        np.bitwise_or.at(self.reached[0], real, splits & side)
        np.bitwise_or.at(self.reached[1], real, splits & ~side)

    def variance(self) -> float:
        """Of recall, given the real clips."""
        n = self.reached.shape[1]
        a, b = (np.unpackbits(side.view(np.uint8).reshape(n, -1), axis=1) for side in self.reached)
        gap = a.mean(axis=0) - b.mean(axis=0)
        return float(np.mean(np.square(gap) + (a != b).mean(axis=0) / n)) / 4


def _pack(bits: np.ndarray) -> np.ndarray:
    """(n, 64) booleans as (n,) uint64."""
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]
