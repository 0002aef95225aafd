"""Protocol `sashimi`: the numbers of the SaShiMi release's scripts (Goel et al. 2022), with their defects, as formulas.

Published SC09 tables rest on these; `docs/metrics.md` says how each of them misleads, and v1 has the measure that was
meant. Written from the described behaviour of state-spaces/s4 (main, e757cef) and checked against numbers that it produced.

Probabilities are a float32 softmax and their sums are in float32, as there, since those sums decide the last digits.
Outcomes that the script prints are returned as they are: `nan` for IS where a class has no probability at all in either
half, `inf` for mIS where a float32 probability is exactly zero.

Differs from the script: the global random state is left alone (the same streams come from generators of our own); FID has
no imaginary part, which the script prints where a covariance is not of full rank; and none of its errors become `inf`.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import bdtr, ndtr, rel_entr

PAIRS = 10_000  # of clips, drawn for mIS
BINS = 50  # of NDB
LEVEL = 0.05  # of NDB's test of one bin
SEED = 0
LOWER = np.arange(0.0, 0.5, 0.1)
UPPER = np.arange(0.6, 1.0, 0.05)  # its rounding decides what int(upper * n) cuts


def float32(probabilities: np.ndarray) -> np.ndarray:
    """What the script's softmax holds, in which a probability below 1e-45 is zero."""
    return probabilities.astype(np.float32)


def inception(probabilities: np.ndarray) -> float:
    """IS over the wrong axis: exp of the mean over classes of KL(column of the first half, normalized || second half's).

    probabilities: (n, C). The second half enters as its mean, the same for every clip, so that normalized it is uniform:
    only where a class has no probability in it does it matter, and the outcome is nan.
    """
    first, second = inception_halves(probabilities)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergences = _column_divergences(first, np.broadcast_to(second.mean(axis=0), first.shape))
        return float(np.exp(divergences.mean()))


def inception_halves(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clips that the script's IS looks at, n // 2 of them, and the others; in the order of its permutation."""
    p = _shuffled(probabilities)
    return p[: len(p) // 2], p[len(p) // 2 :]


def inception_influence(probabilities: np.ndarray) -> np.ndarray:
    """(n,) influence of each clip on log IS, averaging to zero; none of the second half. The formula is that of `inception`."""
    n = len(probabilities)
    order = np.random.RandomState(SEED).permutation(n)[: n // 2]
    p = probabilities[order].astype(np.float64)
    negentropy = rel_entr(p, 1.0)  # p log p
    mean, share = negentropy.mean(axis=0), p.mean(axis=0)
    influence = np.zeros(n)
    influence[order] = (((negentropy - p * (mean / share)) - p) / share + 1).mean(axis=1) * (n / len(order))
    return influence


def modified_inception(probabilities: np.ndarray) -> float:
    """mIS from 10,000 pairs of clips drawn with replacement, a clip with itself among them."""
    with np.errstate(over="ignore"):
        return float(np.exp(pair_divergences(probabilities).mean()))


def pair_divergences(probabilities: np.ndarray) -> np.ndarray:
    """(10000,) nats: KL(p_i || p_j) of the pairs that seed 0 draws."""
    i, j = pairs(len(probabilities)).T
    return _row_divergences(probabilities[i], probabilities[j])


def pairs(count: int, random: np.random.RandomState | None = None) -> np.ndarray:
    """(10000, 2) indices of clips."""
    return (random or np.random.RandomState(SEED)).randint(count, size=(PAIRS, 2))


def activation_maximization(train_marginal: np.ndarray, probabilities: np.ndarray) -> float:
    """AM, the one that is as it should be: KL(train marginal || generated marginal) + mean entropy of the clips."""
    with np.errstate(divide="ignore"):
        balance = _row_divergences(train_marginal, probabilities.mean(axis=0))
    rows = probabilities / probabilities.sum(axis=1, keepdims=True)
    return float(balance + (-rel_entr(rows, np.ones_like(rows)).sum(axis=1)).mean())


def fit_bins(features: np.ndarray) -> np.ndarray:
    """(50, D) centres of k-means as scikit-learn's defaults give them; in one thread, which decides the last digits."""
    from sklearn.cluster import KMeans  # here, since it takes as long to import as all the rest
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        centres: np.ndarray = KMeans(n_clusters=BINS, random_state=SEED).fit(features).cluster_centers_
    return centres


def bin_counts(features: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """(50,) how many clips are nearest to each centre."""
    wide = centres.astype(np.float64)
    distances = np.square(wide).sum(axis=1) - 2 * (features.astype(np.float64) @ wide.T)
    return np.bincount(distances.argmin(axis=1), minlength=len(centres))


def number_of_different_bins(reference: np.ndarray, generated: np.ndarray) -> float:
    """NDB / K: the share of bins that hold significantly more or fewer of one side; both arguments are counts (K,)."""
    n, m = reference.sum(), generated.sum()
    return float(proportions_differ(reference / n, n, generated / m, m).mean())


def proportions_differ(p: np.ndarray, n: int, q: np.ndarray, m: int, threshold: float | None = None) -> np.ndarray:
    """The pooled two-proportion z-test at 5 %, or for |z| > threshold; False where both shares are 0 or both are 1."""
    pooled = (p * n + q * m) / (n + m)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.abs((p - q) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m)))
        different: np.ndarray = 2 * ndtr(-z) < LEVEL if threshold is None else z > threshold
    return different


def standard_error_of_ndb(reference: np.ndarray, generated: np.ndarray) -> float:
    """Of NDB / K over draws of as many clips, were the shares those found: bins apart, each with its binomial law."""
    n, m = reference.sum(), generated.sum()
    possible = np.arange(m + 1)[:, None]
    same = ~proportions_differ(reference / n, n, possible / m, m)  # (m + 1, K), a run of counts in every column
    low, high = same.argmax(axis=0), m - same[::-1].argmax(axis=0)
    share = generated / m
    kept = np.where(same.any(axis=0), bdtr(high, m, share) - np.where(low > 0, bdtr(low - 1, m, share), 0), 0)
    return float(np.sqrt((kept * (1 - kept)).sum()) / len(reference))


class Thresholded(NamedTuple):
    """What the script makes of samples in ascending order of likelihood.

    lower, upper: the cell that it reports. kept: the rows that its scores are over.
    tuning, reporting: the rows of its halves, ascending. surface: (40, 3) lower, upper, its IS on the tuning half
    """

    lower: float
    upper: float
    kept: np.ndarray
    tuning: np.ndarray
    reporting: np.ndarray
    surface: np.ndarray


def thresholded(probabilities: np.ndarray, test_clips: int) -> Thresholded:
    """The script's `--threshold`, in which the last cell of the grid wins: 0.40 and 0.95, whatever the samples.

    The best value so far is never kept, so that every cell with an IS above zero replaces the one before it.
    probabilities: (n, C) in ascending order of likelihood. test_clips: how many real test clips were scored before, which
    decides where in the random stream the halves are drawn.
    """
    count = len(probabilities)
    random = np.random.RandomState(SEED)
    pairs(test_clips, random)  # mIS of the test clips, the last thing before the split that draws anything
    tuning = np.sort(random.choice(count, count // 2, replace=False))
    reporting = np.setdiff1d(np.arange(count), tuning)
    cells = [(low, high) for low in LOWER for high in UPPER]
    surface = np.array([(low, high, _inception_of(probabilities[tuning], low, high)) for low, high in cells])
    defined = np.flatnonzero(surface[:, 2] > 0)
    if not len(defined):
        raise ValueError(
            f"the published search finds no cell with a defined IS among {count} samples: it reports nothing"
        )
    low, high, _ = surface[defined[-1]]
    return Thresholded(low, high, reporting[_slice(len(tuning), low, high)], tuning, reporting, surface)


def _inception_of(probabilities: np.ndarray, low: float, high: float) -> float:
    part = probabilities[_slice(len(probabilities), low, high)]
    return inception(part) if len(part) > 1 else float("nan")


def _slice(count: int, low: float, high: float) -> slice:
    return slice(int(low * count), int(high * count))


def _shuffled(probabilities: np.ndarray) -> np.ndarray:
    return probabilities[np.random.RandomState(SEED).permutation(len(probabilities))]


def _column_divergences(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """(C,) KL divergences between columns, each normalized over the clips."""
    divergences: np.ndarray = rel_entr(p / p.sum(axis=0, keepdims=True), q / q.sum(axis=0, keepdims=True)).sum(axis=0)
    return divergences


def _row_divergences(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """KL divergences between rows, each normalized over the classes."""
    divergences: np.ndarray = rel_entr(p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)).sum(
        axis=-1
    )
    return divergences
