"""Two sets counted in the same bins: which bins differ, by how much altogether, and what chance alone would show.

a, b are counts per bin (K,) of two sets of n and m clips.
"""

import numpy as np
from scipy.special import chdtrc, gammaln, ndtr, rel_entr

from evaluation.uncertainty import Z


def z_scores(a: np.ndarray, n: int, b: np.ndarray, m: int) -> np.ndarray:
    """The pooled two-proportion z, positive where b/m is larger than a/n; 0 where both shares are 0, or both are 1."""
    pooled = (a + b) / (n + m)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    return np.divide(b / m - a / n, error, out=np.zeros(error.shape), where=error > 0)


def p_values(z: np.ndarray) -> np.ndarray:
    """Two-sided, normal."""
    return 2 * ndtr(-np.abs(z))


def holm(p: np.ndarray, level: float = 0.05) -> np.ndarray:
    """Which hypotheses are rejected when all of them together may err with probability `level` (Holm 1979)."""
    order = np.argsort(p, kind="stable")
    passed = np.cumprod(p[order] <= level / np.arange(len(p), 0, -1)).astype(bool)
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order] = passed
    return rejected


def homogeneity(a: np.ndarray, b: np.ndarray) -> float:
    """p of the chi-square test that both sets have the same shares; bins that are empty in both say nothing."""
    counts = np.stack([a, b]).astype(np.float64)
    counts = counts[:, counts.sum(axis=0) > 0]
    expected = counts.sum(axis=1, keepdims=True) * counts.sum(axis=0) / counts.sum()
    freedom = counts.shape[1] - 1
    return float(chdtrc(freedom, (np.square(counts - expected) / expected).sum())) if freedom else 1.0


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Nats, between the shares p and q; 0 log 0 is 0."""
    middle = (p + q) / 2
    return float((rel_entr(p, middle) + rel_entr(q, middle)).sum() / 2)


def jensen_shannon_slope(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Its derivative by q, up to a constant; 0 where q is 0, because no clip lies there."""
    there = q > 0
    return np.log(q, where=there, out=np.zeros(len(q))) / 2 - np.log((p + q) / 2, where=there, out=np.zeros(len(q))) / 2


def expected_share(a: np.ndarray, n: int, b: np.ndarray, m: int) -> float:
    """The share of bins with |z| > 1.96 by chance alone: exact (hypergeometric), given how many clips each bin holds."""
    chances = []
    for total in (a + b).astype(np.int64):
        drawn = np.arange(max(0, total - n), min(total, m) + 1)
        logs = _log_choose(total, drawn) + _log_choose(n + m - total, m - drawn) - _log_choose(n + m, m)
        chances.append(np.exp(logs)[np.abs(z_scores(total - drawn, n, drawn, m)) > Z].sum())
    return float(np.mean(chances))


def _log_choose(n: int | np.ndarray, k: int | np.ndarray) -> np.ndarray:
    return np.asarray(gammaln(np.add(n, 1)) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1))


def chance_of_more(a: int, n: int, b: int, m: int) -> float:
    """p of Fisher's exact test, one-sided: that by chance `a` or more of n have what a + b of all n + m have."""
    marked = np.arange(a, min(n, a + b) + 1)
    logs = _log_choose(a + b, marked) + _log_choose(n + m - a - b, n - marked) - _log_choose(n + m, n)
    return min(1.0, float(np.exp(logs).sum()))
